"""Making the new bundle: compress by the same recipe, prove, put together as the one that is served was."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tinsmith.compress.maintain.results import Bundled, Recompressed
from tinsmith.runtime.bundle.reading import open_bundle
from tinsmith.runtime.bundle.trust import AllowUnsigned
from tinsmith.runtime.bundle.unpacking import unpack
from tinsmith.runtime.errors import UsageError, VerificationError
from tinsmith.runtime.files import sha256_of, write_text

if TYPE_CHECKING:
    from tinsmith.compress.maintain.plan import MaintenancePlan
    from tinsmith.compress.maintain.results import Collected, Decision, Proven
    from tinsmith.compress.recipe import Recipe
    from tinsmith.runtime.bundle.manifest import Manifest
    from tinsmith.runtime.bundle.secret_key import SecretKey
    from tinsmith.runtime.postprocessing import Postprocessing

__all__ = ["Current", "Making", "Workshop", "read_current"]

_DATA = "data.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """The bundle that is kept good.

    Attributes:
        manifest: What it says of itself.
        postprocessing: What makes answers of its outputs; None where it says nothing.
    """

    manifest: Manifest
    postprocessing: Postprocessing | None


class Making(Protocol):
    """Makes artifact and bundle; asked again for the same, it makes the same."""

    def recompress(self, collected: Collected, folder: Path) -> Recompressed:
        """Compress the model by the plan's recipe; captured samples join those that ranges are found on."""
        ...

    def prove(self, made: Recompressed, collected: Collected, decision: Decision, folder: Path) -> Proven:
        """Hold the new artifact against the plan's budget, and against the one that is served."""
        ...

    def bundle(self, made: Recompressed, decision: Decision, folder: Path) -> Bundled:
        """Put it into a bundle, named and set up as the one that is served."""
        ...


def read_current(plan: MaintenancePlan) -> Current:
    """Read the bundle that is kept good, and find out whether one like it can be made.

    Raises:
        DataError: There is none, or it is damaged.
        UsageError: It is signed or encrypted, and the plan names no key.
    """
    with open_bundle(plan.bundle.current, trust=AllowUnsigned()) as found:
        current = Current(manifest=found.manifest, postprocessing=found.postprocessing())
        signed = bool(found.key_id)
    if signed and plan.bundle.key is None:
        raise UsageError(f"{plan.bundle.current} is signed, and the plan names no key", hint="name it: bundle.key")
    if current.manifest.encryption is not None and plan.bundle.encryption_key is None:
        raise UsageError(f"{plan.bundle.current} is encrypted", hint="name its key: bundle.encryption_key")
    return current


class Workshop:
    """Does it for real; see ``Making``.

    Args:
        plan: Of the loop.
        recipe: Of the plan, read.
        current: Its bundle.
    """

    def __init__(self, plan: MaintenancePlan, recipe: Recipe, current: Current) -> None:
        self._plan, self._recipe, self._current = plan, recipe, current

    def recompress(self, collected: Collected, folder: Path) -> Recompressed:
        """See ``Making``; raises as ``compress``, with the budget left to the proof."""
        from tinsmith.compress.compression import Training, compress

        artifact = self._current.manifest.artifact
        output = folder / artifact.path.name
        compress(
            self._plan.model,
            self._recipe,
            output,
            data=self._data(collected, folder),
            seed=self._plan.seed,
            metric=self._plan.metric,
            training=Training(resume=True),
            device=artifact.lineage.device or None,
        )
        return Recompressed(
            file=output.name,
            sha256=sha256_of(output),
            size_bytes=output.stat().st_size,
            was_sha256=artifact.sha256,
            was_bytes=artifact.size_bytes,
        )

    def prove(self, made: Recompressed, collected: Collected, decision: Decision, folder: Path) -> Proven:
        """See ``Making``.

        Raises:
            VerificationError: The artifact is another one than was made.
            DataError: The budget can't be held on these samples.
            ModelError: One of the models can't be run.
        """
        from tinsmith.compress.maintain.proving import Proof

        artifact = self._checked(made, folder)
        held = [folder / pulled.held_file for pulled in collected.devices if pulled.held_file]
        proof = Proof(self._plan, self._recipe, data=self._data(collected, folder), held=held)
        # an encrypted artifact lies there in the clear, and no longer than it is needed
        with tempfile.TemporaryDirectory(dir=folder, prefix=".served-") as home:
            served = self._served(Path(home))
            return proof.of(artifact, served, slow_alone=bool(decision.slow) and not decision.drifting)

    def bundle(self, made: Recompressed, decision: Decision, folder: Path) -> Bundled:
        """See ``Making``; raises as ``tinsmith.convert.bundling.bundle``."""
        from tinsmith.convert.bundling import bundle

        manifest, settings = self._current.manifest, self._current.manifest.settings
        output = folder / self._plan.bundle.current.name
        bundled = bundle(
            self._checked(made, folder),
            output,
            data=self._plan.data,
            name=manifest.name,
            version=decision.version,
            device=settings.device,
            engine=settings.engine,
            accelerator=settings.accelerator,
            threads=settings.threads,
            instances=settings.instances,
            postprocessing=self._current.postprocessing,
            promise=manifest.promise,
            signing_key=self._signing_key(),
            encryption_key=self._encryption_key(),
            seed=self._plan.seed,
        )
        self._refuse_other_samples(bundled.manifest)
        return Bundled(
            file=output.name,
            sha256=bundled.sha256,
            version=decision.version,
            size_bytes=bundled.size_bytes,
            signed_by=bundled.signed_by,
        )

    def _refuse_other_samples(self, made: Manifest) -> None:
        """Devices would do something else to their inputs than before."""
        before, now = self._current.manifest.preprocessing, made.preprocessing
        if before is not None and json.dumps(before) != json.dumps(now):
            raise UsageError(
                f"{self._plan.data} is preprocessed in another way than {self._plan.bundle.current} does it",
                hint="name the data that the bundle was made with; `tinsmith bundle --show` says what it does",
            )

    def _checked(self, made: Recompressed, folder: Path) -> Path:
        artifact = folder / made.file
        if not artifact.is_file() or sha256_of(artifact) != made.sha256:
            raise VerificationError(
                f"{artifact} is not what this round has made",
                hint="give the round up: tinsmith maintain PLAN --give-up",
            )
        return artifact

    def _data(self, collected: Collected, folder: Path) -> Path:
        """The plan's samples, and those of devices, as a data.yaml: by hand, `--data` takes it as well."""
        source = Path(self._plan.data)
        captured = [pulled.file for pulled in collected.devices if pulled.file]
        said = {"source": str(source.absolute()) if source.exists() else self._plan.data, "captured": captured}
        write_text(folder / _DATA, json.dumps(said, indent=1) + "\n")
        return folder / _DATA

    def _served(self, home: Path) -> Path:
        with open_bundle(self._plan.bundle.current, trust=AllowUnsigned()) as found:
            return unpack(found, home, key=self._encryption_key())

    def _signing_key(self) -> SecretKey | None:
        from tinsmith.runtime.bundle.secret_key import load_secret_key, read_password

        said = self._plan.bundle
        if said.key is None:
            return None
        return load_secret_key(said.key, None if said.password_file is None else read_password(said.password_file))

    def _encryption_key(self) -> bytes | None:
        from tinsmith.runtime.bundle.encryption import load_encryption_key

        path = self._plan.bundle.encryption_key
        return None if path is None else load_encryption_key(path)
