"""Everything that a search has found, in SQLite: what stands there is never found out again.

A search that goes on after it was killed proposes the same trials in the same order, and takes from here what came of
those that were done. So it ends where it would have ended without the kill.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any

from tinsmith.compress.search.figures import Timed
from tinsmith.compress.search.trying import Outcome
from tinsmith.runtime.errors import DataError, OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

    from tinsmith.compress.search.trying import Job

__all__ = ["Store"]

_SCHEMA = """
create table if not exists about (run text not null);
create table if not exists found (kind text not null, name text not null, said text not null,
                                  primary key (kind, name)) without rowid;
"""


class Store:
    """One file.

    Args:
        path: The file; made where there is none.
        run: Names the source, the samples, the seed and all else that outcomes depend on.

    Raises:
        DataError: The file is another run's, or damaged.
        OutputError: It can't be written.
    """

    def __init__(self, path: Path, run: str) -> None:
        self._path = path
        try:
            self._open(run)
        except sqlite3.DatabaseError as error:
            raise _damaged(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def outcome(self, job: Job) -> Outcome | None:
        """What came of a job; None where nobody knows yet."""
        said = self._find("outcome", job.key)
        return None if said is None else Outcome.from_json(said)

    def keep_outcome(self, job: Job, outcome: Outcome) -> None:
        """Note what came of a job."""
        self._keep("outcome", job.key, outcome.to_json())

    def timed(self, sha256: str, device: str, threads: int) -> Timed | None:
        """What was measured of an artifact; None where nothing was."""
        said = self._find("timed", f"{sha256} {threads} {device}")
        return None if said is None else Timed(**said)

    def keep_timed(self, sha256: str, timed: Timed) -> None:
        """Note a measurement: each is taken once an artifact, so that everything is chosen by the same numbers."""
        self._keep("timed", f"{sha256} {timed.threads} {timed.device}", timed.to_json())

    def noted(self, name: str) -> Any | None:
        """Anything else, by its name; None where it was not noted."""
        return self._find("noted", name)

    def note(self, name: str, said: Any) -> None:
        """Note anything else that JSON takes."""
        self._keep("noted", name, said)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _open(self, run: str) -> None:
        # whoever calls it takes turns: measurements come from other threads
        self._database = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        try:
            self._database.execute("pragma journal_mode=wal")
            self._database.execute("pragma synchronous=full")
            self._database.executescript(_SCHEMA)
            self._own(run)
        except BaseException:
            self._database.close()
            raise

    def _own(self, run: str) -> None:
        known = self._database.execute("select run from about").fetchone()
        if known is None:
            self._database.execute("insert into about values (?)", (run,))
        elif known[0] != run:
            raise DataError(
                f"{self._path} belongs to a search on another model, on other samples, with another seed, or by other "
                "versions of tools",
                hint="name another --output",
            )

    def _find(self, kind: str, name: str) -> Any | None:
        try:
            row = self._database.execute("select said from found where kind = ? and name = ?", (kind, name)).fetchone()
            return None if row is None else json.loads(row[0])
        except (sqlite3.DatabaseError, ValueError) as error:
            raise DataError(f"{self._path} is damaged: {error}", hint="begin anew, with another --output") from error

    def _keep(self, kind: str, name: str, said: Any) -> None:
        try:
            self._database.execute("insert or replace into found values (?, ?, ?)", (kind, name, json.dumps(said)))
        except sqlite3.DatabaseError as error:
            raise OutputError(f"{self._path} can't be written: {error}", hint="is the disk full?") from error


def _damaged(path: Path, error: Exception) -> DataError | OutputError:
    with contextlib.suppress(OSError):
        if path.is_file() and path.read_bytes()[:6] != b"SQLite" and path.stat().st_size:
            return DataError(f"{path} is no record of a search: {error}", hint="name another --output")
    return OutputError(f"{path} can't be used: {error}", hint="is the folder writable, and is there room?")
