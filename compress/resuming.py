"""What a recipe that trains leaves beside its output until it is done, so that a killed run can go on."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.compress.passes.base import PassResult
from tinsmith.convert.model import Model
from tinsmith.runtime.errors import OutputError
from tinsmith.runtime.files import sha256_of, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["WorkFolder"]


logger = logging.getLogger(__name__)


class WorkFolder:
    """Models between the passes and checkpoints within them.

    A finished pass is taken from here when everything before it was the same: source, samples, seed and all steps.

    Args:
        output: The artifact that is being made; the folder stands beside it, named ``OUTPUT.work``.
        resume: Go on from what is there; else it is thrown away.
        run: Names source, samples and seed.
    """

    def __init__(self, output: Path, *, resume: bool, run: str) -> None:
        self.path = output.with_name(f"{output.name}.work")
        self._run = run
        if not resume:
            shutil.rmtree(self.path, ignore_errors=True)
        elif not self.path.exists():
            logger.info("there is no %s to go on from: starting at the beginning", self.path)
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError.from_os_error(self.path, error) from error

    @property
    def shelf(self) -> Path:
        """See ``Keeper``."""
        return self.path

    def checkpoints(self, steps: Sequence[Mapping[str, Any]]) -> Path:  # noqa: ARG002 - their names tell them apart
        """See ``Keeper``."""
        return self.path

    def result(self, steps: Sequence[Mapping[str, Any]], taken: Model, make: Callable[[], PassResult]) -> PassResult:  # noqa: ARG002 - it lies where it was
        """See ``Keeper``."""
        known = self.finished(steps)
        if known is None:
            known = make()
            self.keep(steps, known)
        return known

    def finished(self, steps: Sequence[Mapping[str, Any]]) -> PassResult | None:
        """What the last of ``steps`` gave; None where it has not finished, or other steps came before it."""
        try:
            said = json.loads(self._record(steps).read_text(encoding="utf-8"))
            whole = all(sha256_of(Path(said[name]["path"])) == said[name]["sha256"] for name in ("model", "stands_for"))
        except (OSError, ValueError, KeyError):
            return None
        if not whole:
            return None
        return PassResult(
            model=_model(said["model"]),
            modified=said["modified"],
            measured=said["measured"],
            stands_for=_model(said["stands_for"]),
        )

    def keep(self, steps: Sequence[Mapping[str, Any]], result: PassResult) -> None:
        """Note what the last of ``steps`` gave; its files lie in this folder already."""
        stands_for = result.stands_for or result.model
        said = {
            "model": _named(result.model),
            "stands_for": _named(stands_for),
            "modified": result.modified,
            "measured": dict(result.measured),
        }
        write_text(self._record(steps), json.dumps(said, indent=2))

    def clear(self) -> None:
        """Remove everything: the output is in its place."""
        shutil.rmtree(self.path, ignore_errors=True)

    def abandon(self) -> None:
        """Leave what a resumed run can use, and say so; remove the folder where there is nothing."""
        if any(self.path.glob("*.json")) or any(self.path.glob("*.npz")):
            logger.warning("what was done so far lies in %s; run it again with --resume to go on", self.path)
        else:
            self.clear()

    def _record(self, steps: Sequence[Mapping[str, Any]]) -> Path:
        named = json.dumps([self._run, *map(dict, steps)], sort_keys=True)
        return self.path / f"pass-{len(steps)}-{hashlib.sha256(named.encode()).hexdigest()[:16]}.json"


def _named(model: Model) -> dict[str, str]:
    return {"path": str(model.path), "format": model.format, "sha256": sha256_of(model.path)}


def _model(said: Mapping[str, Any]) -> Model:
    return Model(path=Path(said["path"]), format=said["format"])
