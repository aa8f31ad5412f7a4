"""Fetching what devices captured: checked like anything that comes from outside, and a fifth of it kept apart.

Captured samples are what people sent to a device. They lie in a folder that only the owner can read, and go away when
the round has ended, unless the plan keeps them.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.compress.maintain.observing import short_of
from tinsmith.compress.maintain.results import Collected, Pulled
from tinsmith.runtime.errors import DataError, DeviceError, OutputError, TinsmithError
from tinsmith.runtime.files import staged_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.compress.maintain.plan import MaintenancePlan
    from tinsmith.compress.maintain.ports import Collecting
    from tinsmith.compress.maintain.results import DeviceLook, Observed

    Feeds = Mapping[str, NDArray[np.generic]]

__all__ = ["CAPTURED", "collect", "forget"]

CAPTURED = "captured"
# A server keeps 16 MiB at most unless it is told otherwise.
_MOST_BYTES = 256 << 20
_SUFFIX = ".npz"
_BATCH = 256
# Every so manieth sample is not calibrated on, so that something is left to compare on.
_HELD_EVERY = 5
_OWNER_ONLY = 0o600


def collect(
    plan: MaintenancePlan, collecting: Collecting, observed: Observed, folder: Path, *, needed: bool
) -> Collected:
    """Fetch the captured samples of every device that has some.

    Args:
        plan: Of the loop.
        collecting: Who fetches.
        observed: What monitors said of captures.
        folder: Of the round.
        needed: Whether there is nothing to do without them.

    Raises:
        DeviceError: Fewer could be fetched than the plan's quorum.
        DataError: They are needed, and no device captures anything.
        OutputError: They can't be written.
    """
    having = [look for look in observed.answered if look.captured and look.capture_path]
    if not having and needed:
        raise DataError(
            "no device captures samples, and without new ones the same recipe makes the same artifact",
            hint="serve with --capture FOLDER (`capture` in a board's server.json), and wait for samples",
        )
    _make_private(folder / CAPTURED)
    found = Collected(devices=tuple(_pull(collecting, look, folder / CAPTURED) for look in having))
    fetched = [pulled for pulled in found.devices if not pulled.error]
    if short_of(len(fetched), len(having), quorum=plan.quorum):
        why = "; ".join(f"{pulled.device}: {pulled.error}" for pulled in found.devices if pulled.error)
        raise DeviceError(
            f"samples of {len(fetched)} of {len(having)} devices could be fetched, "
            f"and {plan.quorum:.0%} are asked for: {why}",
            hint="see that they can be reached, or lower the plan's quorum",
        )
    return found


def forget(folder: Path) -> None:
    """Delete what a round has fetched."""
    shutil.rmtree(folder / CAPTURED, ignore_errors=True)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError.from_os_error(folder, error) from error


def _pull(collecting: Collecting, look: DeviceLook, folder: Path) -> Pulled:
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as aside:
            return _split(look.device, _fetched(collecting, look, Path(aside)), folder)
    except OutputError:
        raise
    except TinsmithError as error:
        return Pulled(device=look.device, error=error.message, exit_code=error.exit_code)


def _fetched(collecting: Collecting, look: DeviceLook, aside: Path) -> Feeds:
    """All samples of one device as real numbers, samples on axis 0."""
    if not look.capture_path.endswith(_SUFFIX):
        raise DataError(f"{look.device} says that it captures to {look.capture_path!r}, which is no .npz file")
    fetched = aside / f"{look.device}{_SUFFIX}"
    collecting.pull(look.device, look.capture_path, fetched)
    _refuse_bombs(fetched)
    return _read(fetched)


def _refuse_bombs(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            size_bytes = sum(member.file_size for member in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path.name} is no .npz file: {error}", hint="look at the disk of that device") from error
    if size_bytes > _MOST_BYTES:
        raise DataError(f"{path.name} holds {size_bytes:,} bytes of samples, and {_MOST_BYTES:,} are the most")


def _read(path: Path) -> Feeds:
    import numpy as np

    from tinsmith.convert.data import open_dataset

    batches = [batch.feeds for batch in open_dataset(path, None).batches(_BATCH)]
    return {name: np.concatenate([feeds[name] for feeds in batches]) for name in batches[0]}


def _split(device: str, feeds: Feeds, folder: Path) -> Pulled:
    import numpy as np

    samples = len(next(iter(feeds.values())))
    held = np.arange(samples) % _HELD_EVERY == _HELD_EVERY - 1
    file, held_file = f"{device}{_SUFFIX}", f"{device}-held{_SUFFIX}"
    _write({name: array[~held] for name, array in feeds.items()}, folder / file)
    if held.any():
        _write({name: array[held] for name, array in feeds.items()}, folder / held_file)
    return Pulled(
        device=device,
        file=f"{CAPTURED}/{file}",
        samples=int((~held).sum()),
        held_file=f"{CAPTURED}/{held_file}" if held.any() else "",
        held=int(held.sum()),
    )


def _write(feeds: Feeds, path: Path) -> None:
    import numpy as np

    with staged_file(path, mode=_OWNER_ONLY) as staged, staged.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **feeds)
