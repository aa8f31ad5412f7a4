"""Make a bundle: an artifact, and with it all that a device needs to serve it and to check that it does so rightly."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.convert.bundle_plan import BundleJob, plan_bundle
from tinsmith.convert.external_data import data_files
from tinsmith.convert.golden_samples import build_reference, real_numbers, run_golden, take_samples
from tinsmith.convert.inspection import requirements_of
from tinsmith.convert.measured import read_reports
from tinsmith.runtime.artifact import Artifact, DataFile, Lineage, manifest_path, read_artifact
from tinsmith.runtime.bundle.arrays import npy_bytes
from tinsmith.runtime.bundle.manifest import (
    ARTIFACT_FOLDER,
    LABELS,
    REFERENCE,
    GoldenParts,
    Manifest,
)
from tinsmith.runtime.bundle.minisign import key_name
from tinsmith.runtime.bundle.reading import open_bundle
from tinsmith.runtime.bundle.trust import AllowUnsigned, TrustedKeys
from tinsmith.runtime.bundle.unpacking import unpack
from tinsmith.runtime.bundle.writing import write_bundle
from tinsmith.runtime.files import sha256_of, staged_file
from tinsmith.runtime.preflight import check_operators, refuse_unless_runs
from tinsmith.runtime.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.convert.bundle_plan import Plan
    from tinsmith.convert.data import Dataset
    from tinsmith.convert.golden_samples import GoldenRun, Taken
    from tinsmith.runtime.bundle.reading import Bundle
    from tinsmith.runtime.bundle.writing import Content
    from tinsmith.runtime.postprocessing import Postprocessing

__all__ = ["Bundled", "bundle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """A bundle in its place.

    Attributes:
        path: The file.
        manifest: What it says of itself.
        sha256: Of the manifest, which names the bundle.
        file_sha256: Of the file, by which devices know it.
        size_bytes: Of the file.
        signed_by: The id of the key; empty where it is not signed.
        notes: What a reader should not miss, for people.
    """

    path: Path
    manifest: Manifest
    sha256: str
    file_sha256: str
    size_bytes: int
    signed_by: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "file_sha256": self.file_sha256,
            "size_bytes": self.size_bytes,
            "signed_by": self.signed_by or None,
            "notes": list(self.notes),
            "manifest": self.manifest.to_json(),
        }


def bundle(artifact: Path, output: Path, **settings: Any) -> Bundled:
    """Make a bundle, and verify it before it takes its place.

    Args:
        artifact: A .tflite or .onnx file.
        output: The bundle; ends in .tin.
        **settings: The other attributes of ``BundleJob``.

    Raises:
        UsageError: The output is no .tin file, or a setting does not fit the artifact or the device.
        DataError: The samples, a report or the postprocessing do not fit.
        OutputError: The output can't be written.
        ModelError: The artifact can't be loaded or run, or the device can't run it.
        VerificationError: The artifact is not what its manifest says, or answers differently each time.
    """
    job = BundleJob(artifact=artifact, output=output, **settings)
    plan = plan_bundle(job)
    with Sandbox(time_limit_s=job.time_limit_s) as sandbox:
        draft = _draft(plan, _described(plan, sandbox))
        manifest, contents, notes = _filled(plan, draft, sandbox)
    return _written(job, manifest, contents, notes)


def _described(plan: Plan, sandbox: Sandbox) -> Artifact:
    """What the manifest beside the artifact says, or what the artifact itself does."""
    path, format_ = plan.job.artifact, plan.format
    if manifest_path(path).exists():
        return read_artifact(path)
    opened, required = sandbox.open(path), requirements_of(path)
    sha256 = sha256_of(path)
    return Artifact(
        path=path,
        format=format_,
        sha256=sha256,
        size_bytes=path.stat().st_size,
        inputs=opened.inputs,
        outputs=opened.outputs,
        operators=required.operators,
        lineage=Lineage(source=path.name, source_format=format_, source_sha256=sha256, steps=()),
        data=_beside(path) if format_ == "onnx" else (),
        needs=required.needs,
        activation_bytes=required.activation_bytes,
    )


def _beside(path: Path) -> tuple[DataFile, ...]:
    home = path.parent.resolve()
    return tuple(
        DataFile(name=file.relative_to(home).as_posix(), sha256=sha256_of(file), size_bytes=file.stat().st_size)
        for file in data_files(path)
    )


def _draft(plan: Plan, artifact: Artifact) -> Manifest:
    """All that follows without running anything; raises ``UnsupportedOperatorError`` where the device can't run it."""
    if plan.profile.kind != "host":
        found = check_operators(artifact.format, artifact.operators, plan.profile, needs=artifact.needs)
        refuse_unless_runs(found, artifact.path.name)
    measured = read_reports(plan.job.reports, artifact, plan.settings)
    stated = {key: value for key, value in asdict(plan.job.promise).items() if value}
    return Manifest(
        name=plan.name,
        version=plan.version,
        artifact=artifact,
        parts=(),
        settings=plan.settings,
        metrics={**measured.metrics, **plan.job.scores},
        promise=replace(measured.promise, **stated),
    )


def _filled(plan: Plan, draft: Manifest, sandbox: Sandbox) -> tuple[Manifest, dict[str, Content], tuple[str, ...]]:
    """Run the artifact, and add what comes of that."""
    job, artifact, settings = plan.job, draft.artifact, draft.settings
    dataset = _dataset(job, artifact)
    taken = take_samples(artifact.inputs, dataset, samples=job.golden, seed=job.seed)
    run = run_golden(artifact, sandbox, taken.golden, threads=settings.threads)
    contents: dict[str, Content] = {ARTIFACT_FOLDER + artifact.path.name: artifact.path}
    contents |= {ARTIFACT_FOLDER + file.name: artifact.path.parent / file.name for file in artifact.data}
    parts, arrays = _golden_parts(taken, run)
    contents |= arrays
    names = () if dataset is None else dataset.class_names
    if names:
        contents[LABELS] = _json(list(names))
    engine = settings.engine if settings.engine in run.versions else next(iter(run.versions))
    if taken.reference is not None:
        sandbox.open(artifact.path, engine=engine, threads=settings.threads)
        contents[REFERENCE] = _json(build_reference(sandbox, taken.reference).to_json())
    answering = _postprocessing(job, artifact, names, run.golden.outputs[engine])
    manifest = replace(
        draft,
        golden=parts,
        preprocessing=None if dataset is None else tuple(dataset.preprocessing.to_json()),
        postprocessing=tuple(answering.to_json()),
    )
    return manifest, contents, _notes(job, draft, run)


def _dataset(job: BundleJob, artifact: Artifact) -> Dataset | None:
    if job.data is None:
        return None
    from tinsmith.convert.data import open_dataset

    return open_dataset(job.data, artifact.inputs)


def _golden_parts(taken: Taken, run: GoldenRun) -> tuple[GoldenParts, dict[str, Content]]:
    """Where each array goes; by its number, because a tensor's name may be anything."""
    golden = run.golden
    inputs = {name: f"golden/inputs/{number}.npy" for number, name in enumerate(golden.inputs)}
    outputs = {
        engine: {name: f"golden/{engine}/{number}.npy" for number, name in enumerate(arrays)}
        for engine, arrays in golden.outputs.items()
    }
    contents: dict[str, Content] = {part: npy_bytes(golden.inputs[name]) for name, part in inputs.items()}
    for engine, parts in outputs.items():
        contents |= {part: npy_bytes(golden.outputs[engine][name]) for name, part in parts.items()}
    samples = len(next(iter(golden.inputs.values())))
    said = GoldenParts(
        samples=samples,
        origin=taken.origin,
        inputs=inputs,
        outputs=outputs,
        tolerance=golden.tolerance,
        versions=run.versions,
    )
    return said, contents


def _postprocessing(
    job: BundleJob, artifact: Artifact, names: tuple[str, ...], stored: Mapping[str, Any]
) -> Postprocessing:
    """What was asked for, or what suits; tried on every golden sample."""
    from tinsmith.runtime.postprocessing import default_postprocessing

    outputs = real_numbers(artifact.outputs, stored)
    chosen = job.postprocessing or default_postprocessing(artifact.outputs, names, outputs)
    for number in range(len(next(iter(outputs.values())))):
        chosen.apply({name: array[number] for name, array in outputs.items()})
    return chosen


def _notes(job: BundleJob, draft: Manifest, run: GoldenRun) -> tuple[str, ...]:
    notes = []
    if job.data is None:
        notes.append("no --data: golden inputs are random, and drift, labels and preprocessing are not known")
    if not manifest_path(job.artifact).exists():
        notes.append(f"{job.artifact.name} has no manifest beside it: what it was made from is not known")
    if draft.settings.engine in run.absent:
        others = ", ".join(run.versions)
        notes.append(f"{draft.settings.engine} is not installed here: its golden outputs are those of {others}")
    made_for = draft.artifact.lineage.device
    if made_for and made_for != job.device:
        notes.append(f"the artifact was made for {made_for}, and the bundle is for {job.device}")
    if job.signing_key is None:
        notes.append("not signed: a device takes it only where it is told to take unsigned bundles (--key signs it)")
    return tuple(notes)


def _written(job: BundleJob, manifest: Manifest, contents: Mapping[str, Content], notes: tuple[str, ...]) -> Bundled:
    """Write it aside, open it as a device would, and put it in its place."""
    key = job.signing_key
    trust = AllowUnsigned() if key is None else TrustedKeys(keys=(key.public,))
    with staged_file(job.output) as staged:
        write_bundle(staged, manifest, contents, signing_key=key, encryption_key=job.encryption_key)
        with open_bundle(staged, trust=trust) as made:
            whole, sha256 = made.manifest, made.sha256
            made.golden()
            if job.encryption_key is not None:
                _try_unpacking(made, job.encryption_key)
        size_bytes, file_sha256 = staged.stat().st_size, sha256_of(staged)
    return Bundled(
        path=job.output,
        manifest=whole,
        sha256=sha256,
        file_sha256=file_sha256,
        size_bytes=size_bytes,
        signed_by="" if key is None else key_name(key.id),
        notes=notes,
    )


def _try_unpacking(made: Bundle, key: bytes) -> None:
    """Decrypting must give what was encrypted; raises ``VerificationError``."""
    with tempfile.TemporaryDirectory(prefix="tinsmith-") as folder:
        unpack(made, Path(folder), key=key)


def _json(document: Any) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
