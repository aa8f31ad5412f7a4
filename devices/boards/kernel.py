"""The kernel of Debian for the board ``vm``, and the archive that it starts from: modules, busybox and a script."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tinsmith.devices.boards.cpio import Member, archive
from tinsmith.devices.boards.systems import System, locked, script_text, unpack
from tinsmith.runtime.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["ARCHIVE", "KERNEL", "is_kernel_made", "kernel_made"]

KERNEL = "vmlinuz"
ARCHIVE = "initrd.gz"

_BOOT = "machine-boot.sh"
_SYSTEM = System(name="kernel", packages=("busybox-static", "linux-image-arm64"), scripts=(("init", _BOOT),))
# for QEMU's machine `virt`; what ext4 asks the kernel's cryptography for stands in no list of what it depends on
_MODULES = ("virtio_pci", "virtio_mmio", "virtio_blk", "virtio_net", "virtio-rng", "crc32c_generic", "ext4")
_DEPENDS = b"\0depends="


def kernel_made() -> Path:
    """The folder of both, which is made where it is not there; half a minute the first time.

    Raises:
        HostError: As ``made``, or the kernel has not what it needs.
    """
    folder = _SYSTEM.folder
    with locked(folder) as is_there:
        if not is_there:
            home = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            try:
                _make(home).rename(folder)
            finally:
                shutil.rmtree(home, ignore_errors=True)
    return folder


def is_kernel_made() -> bool:
    """Whether it is there."""
    return _SYSTEM.folder.exists()


def _make(home: Path) -> Path:
    root, ready = home / "root", home / "ready"
    root.mkdir()
    ready.mkdir()
    unpack(_SYSTEM, root)
    kernels = sorted((root / "boot").glob("vmlinuz-*"))
    if not kernels:
        raise HostError("the kernel that was unpacked for virtual boards holds no vmlinuz")
    shutil.copyfile(kernels[-1], ready / KERNEL)
    modules = _in_order({_plain(file.name): file for file in (root / "lib/modules").rglob("*.ko")})
    busybox = next(file for file in (root / "bin/busybox", root / "usr/bin/busybox") if file.exists())
    (ready / ARCHIVE).write_bytes(_archive(busybox, modules))
    return ready


def _archive(busybox: Path, modules: list[Path]) -> bytes:
    order = "".join(f"{module.name}\n" for module in modules)
    return archive(
        [
            Member(path=PurePosixPath("init"), content=script_text(_BOOT).encode(), mode=0o755),
            Member(path=PurePosixPath("bin/busybox"), content=busybox.read_bytes(), mode=0o755),
            Member(path=PurePosixPath("modules/order"), content=order.encode()),
            *(Member(path=PurePosixPath("modules", m.name), content=m.read_bytes()) for m in modules),
        ],
        folders=("dev", "proc", "root"),
    )


def _in_order(files: Mapping[str, Path]) -> list[Path]:
    """The modules, each behind those that it depends on; one that is not there is part of the kernel itself."""
    found: dict[str, Path] = {}
    for name in _MODULES:
        for needed in _needed(_plain(name), files):
            found.setdefault(needed, files[needed])
    return list(found.values())


def _needed(name: str, files: Mapping[str, Path]) -> Iterator[str]:
    if name in files:
        for depended in _depended(files[name].read_bytes()):
            yield from _needed(_plain(depended), files)
        yield name


def _depended(module: bytes) -> list[str]:
    """What a module says of itself that it depends on."""
    _, found, rest = module.partition(_DEPENDS)
    return rest.partition(b"\0")[0].decode().split(",") if found else []


def _plain(name: str) -> str:
    """Modules are files with dashes, and known with underscores (modprobe(8))."""
    return name.removesuffix(".ko").replace("-", "_")
