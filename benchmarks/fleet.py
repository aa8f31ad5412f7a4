"""Fifty boards at once, five of them faulty: the rest is flashed, the faulty ones are listed, memory stays bounded.

The boards are folders behind an SSH server of this machine, each with an agent that really runs, so all of them share
its cores: nothing here is said about time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figure import Figure

_BOARDS = 50
_MODEL_BYTES = 10 << 20
_MOST_MIB = 300
_SMALL_DISK = "size=4m"
_LIMIT_S = 600
# By board, what is wrong with it, and the result and the code that must be listed.
_FAULTY = {
    "b07": ("does not answer", "later", "unreachable"),
    "b17": ("disk full", "failed", "no-room"),
    "b27": ("trusts another key", "failed", "verification"),
    "b37": ("tampered with on the way", "failed", "verification"),
    "b47": ("has had a newer version", "failed", "verification"),
}
# Runs a command line, and says how much memory this process itself has needed. `resource` would not do: its maximum
# outlives an exec, so it would be that of whoever started this.
_MEASURED = """
import re, sys
from pathlib import Path
from tinsmith.__main__ import run
code = run(sys.argv[1:])
sys.stderr.write(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""


def figures():
    if os.geteuid():
        yield Figure(name="boards at once", value=None, bar=0, seen="a small disk is mounted by root alone")
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as held:
        yield from _Fleet(Path(folder)).figures(held)


class _Fleet:
    """An inventory of boards, and the bundles that go to them."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {
            **os.environ, "TINSMITH_DEVICES": str(folder / "devices.toml"),
            "XDG_STATE_HOME": str(folder / "state"), "XDG_CACHE_HOME": str(folder / "cache"),
        }  # fmt: skip

    def figures(self, held):
        self.make_bundles()
        self.make_boards(held)
        yield from self.judged(*self.roll_out(2, "--canary", "0"), "all at once")
        yield from self.judged(*self.roll_out(3, "--canary", "2", "--waves", "20%"), "a few weights changed, in waves")

    def make_bundles(self):
        """A model that is 10 MB long, because bytes behind the end of a .tflite do no harm; signed."""
        self.tinsmith("bundle", "--new-key", self.folder / "mine")
        self.tinsmith("bundle", "--new-key", self.folder / "other")
        content = (Path(__file__).parents[1] / "tests/golden/dense.tflite").read_bytes() + os.urandom(_MODEL_BYTES)
        changed = content[:-5000] + os.urandom(5000)
        for version, model in ((2, content), (3, changed), (9, content)):
            path = self.folder / "dense.tflite"
            path.write_bytes(model)
            self.tinsmith("bundle", path, "-o", self.folder / f"{version}.tin", "--name", "dense", "--version", version,
                          "--key", self.folder / "mine.key")  # fmt: skip

    def make_boards(self, held):
        where = self.serve(held)
        text = []
        for number in range(_BOARDS):
            base = self.folder / (name := f"b{number:02}")
            address = "ssh://nobody@127.0.0.1:1" if name == "b07" else where.format(base=base)
            text += [f"[devices.{name}]", 'profile = "local"', f'address = "{address}"', 'groups = ["all"]']
            base.mkdir()
            if name == "b17":
                self.fill(base, held)
            self.set_up(base, "other" if name == "b27" else "mine")
        (self.folder / "devices.toml").write_text("\n".join(text))
        self.tinsmith("flash", self.folder / "9.tin", "-d", "b47", "--window", 0)

    def serve(self, held):
        """Start the SSH server; gives the address of a board, but for its folder."""
        command = [sys.executable, "-m", "benchmarks.fleet", self.folder]
        server = held.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        held.callback(server.terminate)
        port, host_key = server.stdout.readline().split()
        return f"ssh://board@127.0.0.1:{port}{{base}}?key={self.folder}/id&hostkey={host_key}"

    def set_up(self, base, key):
        (base / "trusted").mkdir()
        (base / "trusted/key.pub").write_bytes((self.folder / f"{key}.pub").read_bytes())
        python = base / "venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)

    def fill(self, base, held):
        """A disk that is too small."""
        subprocess.run(["mount", "-t", "tmpfs", "-o", _SMALL_DISK, "tmpfs", base], check=True)
        held.callback(subprocess.run, ["umount", base], check=True)

    def roll_out(self, version, *waves):
        arguments = ["flash", self.folder / f"{version}.tin", "-d", "all", "--window", "0", "--parallel", str(_BOARDS),
                     *waves, "--max-failures", "30%", "--format", "json"]  # fmt: skip
        ran = self.run(["-c", _MEASURED, *arguments])
        return json.loads(ran.stdout), int(ran.stderr.split()[-1]) / 1024

    def judged(self, document, peak_mib, what):
        wrong, seen = [], []
        for one in document["devices"]:
            error = one["error"] or {"code": "", "message": ""}
            found = (one["result"], error["code"])
            if found != (_FAULTY[one["device"]][1:] if one["device"] in _FAULTY else ("done", "")):
                wrong.append(f"{one['device']}: {found} {error['message']}")
            elif error["message"]:
                seen.append(error["message"])
        sent = [one["sent_bytes"] for one in document["devices"] if one["result"] == "done"]
        said = f"{len(sent)} done, {min(sent, default=0):,} to {max(sent, default=0):,} bytes each"
        yield Figure(name=f"{what}: boards of {_BOARDS} that are not as they must be", value=len(wrong), bar=0,
                     seen=f"[{said}; {'; '.join(wrong or seen)}]")  # fmt: skip
        yield Figure(name=f"{what}: memory of this host", value=round(peak_mib, 1), bar=_MOST_MIB, unit=" MiB")

    def tinsmith(self, *arguments):
        ran = self.run(["-m", "tinsmith", *arguments])
        if ran.returncode:
            raise RuntimeError(ran.stderr.decode() + ran.stdout.decode())

    def run(self, arguments):
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, check=False, env=self.environment)


async def _serve(folder):
    """An SSH server in front of all boards, which runs what it is asked to as this user."""
    import asyncssh

    class Tampering(asyncssh.SFTPServer):
        def write(self, file_obj, offset, data):
            inside = b"/b37/" in os.fsencode(file_obj.name) and offset <= 40_000 < offset + len(data)
            return super().write(file_obj, offset, data[::-1] if inside else data)

    async def run(process):
        pipe = asyncio.subprocess.PIPE
        started = await asyncio.create_subprocess_exec(
            "sh", "-c", process.command, stdin=pipe, stdout=pipe, stderr=pipe
        )
        stdout, stderr = await started.communicate(await process.stdin.read())
        process.stdout.write(stdout)
        process.stderr.write(stderr)
        process.exit(started.returncode)

    user, host = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    user.write_private_key(folder / "id")
    keys = asyncssh.import_authorized_keys(user.export_public_key().decode())
    server = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[host], authorized_client_keys=keys,
                                   process_factory=run, sftp_factory=Tampering, encoding=None)  # fmt: skip
    print(server.get_port(), host.get_fingerprint(), flush=True)
    await asyncio.sleep(_LIMIT_S)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
