"""Headless Chromium, driven over the WebDriver protocol (W3C)."""

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request

import pytest

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1000,1400",
)  # fmt: skip
PATIENCE_S = 60

needs_chromium = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="chromium and chromedriver are not installed",
)


class Browser:
    """One session of chromedriver's."""

    def __init__(self, port, profile):
        self._base = f"http://127.0.0.1:{port}/session"
        wanted = {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": [*FLAGS, f"--user-data-dir={profile}"]},
        }
        made = self._ask("", {"capabilities": {"alwaysMatch": wanted}})
        self._base += f"/{made['sessionId']}"

    def _ask(self, path, body=None, method=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._base + path, data, {"Content-Type": "application/json"}, method=method or ("POST" if data else "GET")
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)["value"]

    def open(self, url):
        self._ask("/url", {"url": url})

    def run(self, script, *arguments):
        return self._ask("/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script):
        """Until a script gives something that counts as true; the page itself waits, and not we."""
        until = f"""const done = arguments[arguments.length - 1], began = Date.now();
        (function look() {{ const found = (() => {{ {script} }})();
        if (found || Date.now() - began > {PATIENCE_S * 1000 - 5000}) done(found); else setTimeout(look, 50); }})();"""
        self._ask("/timeouts", {"script": PATIENCE_S * 1000})
        return self._ask("/execute/async", {"script": until, "args": []})

    def fill(self, css, text):
        (element,) = self._ask("/element", {"using": "css selector", "value": css}).values()
        self._ask(f"/element/{element}/value", {"text": text})

    def errors(self):
        return [entry["message"] for entry in self._ask("/se/log", {"type": "browser"}) if entry["level"] == "SEVERE"]

    def resize(self, width, height):
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self._ask("/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": screen})

    def picture(self, path):
        path.write_bytes(base64.b64decode(self._ask("/screenshot")))

    def close(self):
        with contextlib.suppress(urllib.error.URLError):
            self._ask("", method="DELETE")


@contextlib.contextmanager
def opened_browser(profile):
    """A browser with a profile of its own, in a folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        while "started successfully" not in driver.stdout.readline():
            assert driver.poll() is None
        opened = Browser(port, profile)
        yield opened
        opened.close()
    finally:
        driver.kill()
        driver.communicate()
