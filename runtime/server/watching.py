"""Hot swap by file change: looks at files from time to time, and says which have a new content that is whole."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from tinsmith.runtime.artifact import manifest_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["FileWatcher"]

_Stamp = tuple[tuple[int, int, int], ...]


class FileWatcher:
    """Polls modification times, sizes and inodes: that works on every file system, and needs no package.

    A file that is still being written is left alone until it has not changed for a while. One that turns out to be
    half written all the same is refused by whoever loads it, and looked at again when it goes on changing.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        changed: Callable[[str], object],
        *,
        settle_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """What lies there now counts as taken: make the watcher before the files are first read.

        Args:
            paths: By name.
            changed: Hears the name; is called in the watcher's thread, and must not raise.
            settle_s: How long a file must have been the same before it is taken.
            clock: Gives seconds, and never goes back.
        """
        self._changed = changed
        self._settle_s = settle_s
        self._clock = clock
        self._files = {name: _File(path) for name, path in paths.items()}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Look at every file once."""
        for name, file in self._files.items():
            if file.is_new(self._clock(), self._settle_s):
                self._changed(name)

    def start(self, *, interval_s: float = 1.0) -> None:
        """Keep looking in a thread of its own."""
        self._thread = threading.Thread(
            target=self._keep_looking, args=[interval_s], name="tinsmith-files", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End the thread, after the swap that it may be at."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _keep_looking(self, interval_s: float) -> None:
        while not self._stop.wait(interval_s):
            self.look()


class _File:
    """One path, with what was taken from it and what has been seen since."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = self._seen = _stamp(path)
        self._since_s = 0.0

    def is_new(self, now_s: float, settle_s: float) -> bool:
        stamp = _stamp(self._path)
        if stamp != self._seen:
            self._seen, self._since_s = stamp, now_s
            return False
        if stamp in {self._taken, ()} or now_s - self._since_s < settle_s:
            return False
        self._taken = stamp
        return True


def _stamp(path: Path) -> _Stamp:
    """Of the file and of a manifest beside it; empty while there is no file."""
    found = []
    for part in (path, manifest_path(path)):
        try:
            status = part.stat()
        except OSError:
            if part is path:
                return ()
            continue
        found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)
