"""Load by the program wrk."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
_SCRIPT = """
wrk.method = "POST"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
"""


@dataclass(frozen=True, kw_only=True)
class Load:
    """One request, sent again and again."""

    url: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Requests a second, and the time within which 99 of 100 were answered."""

    rate: float
    p99_ms: float


def wrk(load, *, clients, seconds, warm_s=1):
    """Send as fast as the answers come, over one kept connection a client; every answer must be a 2xx or 3xx."""
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder) / "body"
        body.write_bytes(load.body)
        script = Path(folder) / "post.lua"
        fields = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in load.headers.items())
        script.write_text(_SCRIPT.format(body=body) + fields)
        command = ["wrk", "-t1", f"-c{clients}", "--latency", "-s", str(script), load.url]
        _run([*command, f"-d{warm_s}"])
        return _read(_run([*command, f"-d{seconds}"]))


def _run(command):
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"not every request was answered: {said}")
    return said


def _read(said):
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s|m)", said)
    return Seen(rate=float(rate[1]), p99_ms=float(p99[1]) * _UNITS_MS[p99[2]])
