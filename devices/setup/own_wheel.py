"""Our own wheel for a board: the runtime alone, made of the installed package, the same bytes each time."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from importlib.resources import files
from typing import TYPE_CHECKING

from tinsmith.runtime._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable
    from pathlib import Path

__all__ = ["write_own_wheel"]

_INFO = f"tinsmith-{__version__}.dist-info"
_METADATA = f"""Metadata-Version: 2.1
Name: tinsmith
Version: {__version__}
Summary: The runtime of tinsmith, for a device
Requires-Python: >=3.10
"""
_WHEEL = """Wheel-Version: 1.0
Generator: tinsmith
Root-Is-Purelib: true
Tag: py3-none-any
"""
# The first moment that a zip can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_own_wheel(folder: Path) -> Path:
    """Write the wheel into a folder; the same version has the same bytes.

    Format: https://packaging.python.org/en/latest/specifications/binary-distribution-format
    """
    path = folder / f"tinsmith-{__version__}-py3-none-any.whl"
    content = dict(_modules())
    content[f"{_INFO}/METADATA"] = _METADATA.encode()
    content[f"{_INFO}/WHEEL"] = _WHEEL.encode()
    content[f"{_INFO}/RECORD"] = _record(content)
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, data, zipfile.ZIP_DEFLATED, 9)
    return path


def _modules() -> Iterator[tuple[str, bytes]]:
    package = files("tinsmith")
    yield "tinsmith/__init__.py", (package / "__init__.py").read_bytes()
    yield from sorted(_below(package / "runtime", "tinsmith/runtime"))


def _below(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    for inside in folder.iterdir():
        path = f"{name}/{inside.name}"
        if inside.is_dir():
            if inside.name != "__pycache__":
                yield from _below(inside, path)
        elif not inside.name.startswith("."):
            yield path, inside.read_bytes()


def _record(content: dict[str, bytes]) -> bytes:
    """Each file with its hash and size; the record itself comes last, and has none."""
    lines = [f"{name},sha256={_hash(data)},{len(data)}" for name, data in content.items()]
    return "\n".join([*lines, f"{_INFO}/RECORD,,", ""]).encode()


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
