"""How every artifact comes about: open the source, make the file aside, prove it, put it in its place.

``convert`` and ``compress`` differ only in what they do in between.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.comparison import Comparison, Samples, compare_predictors, samples_for
from tinsmith.convert.data.roles import Roles
from tinsmith.convert.external_data import files_of
from tinsmith.convert.inspection import ends_of, operator_precisions, requirements_of
from tinsmith.convert.model import identify
from tinsmith.convert.parity import FLOAT32, INTEGER, PROOF_SAMPLES, Proof, Tolerance, batch_of, prove
from tinsmith.convert.placing import data_of, gathered, put, work_folder
from tinsmith.convert.predictors import SandboxedArtifact, opened_predictor, rename_feeds, run_samples
from tinsmith.convert.quantization.out_of_core import INSIDE_BYTES, data_path
from tinsmith.convert.room import why_too_large
from tinsmith.convert.suitability import suitability_of
from tinsmith.convert.tool_versions import tool_versions
from tinsmith.convert.writers import CONVERSION, writers_named
from tinsmith.runtime.artifact import Artifact, Lineage
from tinsmith.runtime.errors import UsageError, VerificationError
from tinsmith.runtime.files import check_room, check_writable, sha256_of
from tinsmith.runtime.preflight import refuse_unless_runs
from tinsmith.runtime.profile import cpu_of, load_profile
from tinsmith.runtime.sandbox import Sandbox
from tinsmith.runtime.seeds import check_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tinsmith.convert.data import Dataset
    from tinsmith.convert.model import Model
    from tinsmith.convert.predictors import Predictor
    from tinsmith.convert.suitability import Suitability
    from tinsmith.runtime.cpu import Cpu
    from tinsmith.runtime.profile import Profile
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["Allowances", "Delivery", "Job", "Made", "Proven", "Unrun", "Workbench", "deliver"]

logger = logging.getLogger(__name__)

# Of a large artifact that is run alone.
_ALONE_SAMPLES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowances:
    """Checks that the user has switched off by name.

    Attributes:
        unsafe_layers: Keras models may run code of their author (``Lambda`` layers).
        parity: The artifact's numbers may differ from its source's.
    """

    unsafe_layers: bool = False
    parity: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the user asked for.

    Attributes:
        source: The model; it is never changed.
        output: The artifact to write; its manifest goes beside it.
        data: Samples for calibration and proof, as ``open_dataset`` takes them; None where the user gave none.
        seed: Of all chance.
        allow: Checks to leave out.
        time_limit_s: For a model's load, and for each run.
        device: What the artifact is made for; None where the user named none.
    """

    source: Model
    output: Path
    data: str | Path | None = None
    seed: int = 0
    allow: Allowances = Allowances()
    time_limit_s: float = 60.0
    device: Profile | None = None

    def __post_init__(self) -> None:
        """Hold the seed to what all sources of chance take; raises ``UsageError``."""
        check_seed(self.seed)

    @classmethod
    def of(cls, source: Path, output: Path, *, device: str | None = None, **settings: Any) -> Job:
        """A job on a model that is still to be identified, for a profile that is still to be read.

        Raises:
            ModelLoadError: There is no model, or it is damaged.
            UsageError: There is no such profile, or a setting is wrong.
        """
        profile = None if device is None else load_profile(device)
        return cls(source=identify(source), output=output, device=profile, **settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """What the work in between has at hand.

    Attributes:
        folder: Everything is written below; the folder goes away afterwards.
        dataset: Samples; None where the user gave none.
        seed: Of all chance.
        allow_unsafe: Load Keras models whose ``Lambda`` layers run code of their author.
        device: What the artifact is made for; None where the user named none.
    """

    folder: Path
    dataset: Dataset | None
    seed: int
    allow_unsafe: bool = False
    device: Profile | None = None

    @property
    def cpu(self) -> Cpu | None:
        """The CPU that decides which integers are multiplied; None for the usual ones. Raises as ``cpu_of``."""
        return None if self.device is None else cpu_of(self.device)

    @property
    def roles(self) -> Roles | None:
        """Which of the samples are for what; None where there are none."""
        return None if self.dataset is None else Roles(self.dataset, seed=self.seed)

    def place(self, name: str) -> Path:
        """A path below the folder that nobody has used yet."""
        return self.folder / f"{sum(1 for _ in self.folder.iterdir())}-{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What the work in between gives.

    Attributes:
        path: The finished file.
        tolerance: How far the work may have moved the model's answers.
        steps: What was done, for the lineage.
        stands_for: The model whose answers it must give; None for the source's. Training makes other answers.
        writer: The step that wrote the file, where it is not the source.
    """

    path: Path
    tolerance: Tolerance
    steps: Sequence[Mapping[str, Any]]
    stands_for: Model | None = None
    writer: str = CONVERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrun:
    """An artifact whose source is too large to be run here, proven by whoever made it.

    Attributes:
        path: Where it lies until it is put in its place.
        why: For people.
    """

    path: Path
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """An artifact that has passed its proof, still open, before it is put in its place.

    Attributes:
        path: Where it lies until then.
        artifact: Answers as it.
        source: Answers as the model that went in.
    """

    path: Path
    artifact: SandboxedArtifact
    source: Predictor


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An artifact in its place, and the proof it passed.

    Attributes:
        artifact: As it was written.
        proof: Against the source, or against the trained model that the source became.
        suitability: How it suits the device that it was made for.
        from_source: How far its answers lie from the source's, where training has moved them; None otherwise.
    """

    artifact: Artifact
    proof: Proof
    suitability: Suitability
    from_source: Comparison | None = None

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        document = {
            "artifact": str(self.artifact.path),
            "manifest": self.artifact.to_json(),
            "proof": self.proof.to_json(),
            "suitability": self.suitability.to_json(),
        }
        return document if self.from_source is None else {**document, "from_source": self.from_source.to_json()}


def deliver(
    job: Job,
    make: Callable[[Workbench], Made],
    *,
    weigh: Callable[[Proven | Unrun], None] | None = None,
    streamed_bytes: int | None = None,
) -> Delivery:
    """Make an artifact, prove it against its source, and put it in its place with its manifest.

    Args:
        job: What the user asked for.
        make: Does the work below the workbench's folder, and gives the finished file.
        weigh: Looks at what came out before it is put in its place.
        streamed_bytes: How large the artifact gets, where ``make`` works weight by weight and proves each; a source
            that is too large to be run is not run then, and the proof says so. None where it must be run.

    Raises:
        UsageError: The output is the source, or lies in its folder.
        OutputError: The output can't be written, or the disk has no room; this is found out before the work begins.
        UnsupportedOperatorError: The device that it is made for can't run it.
        ModelError: The source can't be loaded, or a child process refused the artifact or timed out on it.
        StepDefectError: It died on it.
        VerificationError: The numbers differ.
    """
    _refuse_overwriting(job)
    check_writable(job.output)
    check_room(job.output, streamed_bytes or 0)
    if why := why_too_large(job.source) if streamed_bytes is not None else "":
        return _deliver_unrun(job, make, weigh, why)
    with contextlib.ExitStack() as stack:
        # The child that will load the artifact starts now: its imports overlap with the work.
        sandbox = stack.enter_context(Sandbox(time_limit_s=job.time_limit_s))
        folder = stack.enter_context(work_folder(job.output, streamed_bytes or 0))
        source = reference = stack.enter_context(
            opened_predictor(job.source, allow_unsafe=job.allow.unsafe_layers, time_limit_s=job.time_limit_s)
        )
        dataset = _dataset(job, reference.inputs)
        made = make(_workbench(job, folder, dataset))
        made = replace(made, path=gathered(made.path, job.output, folder))
        suitability = _suitable(made.path, job)
        bound = Tolerance(name="--force parity") if job.allow.parity else _reachable(made.tolerance, job.source)
        stack.enter_context(writers_named([job.source.path], {made.path: made.writer}))
        answering = stack.enter_context(SandboxedArtifact(made.path, sandbox))
        samples = samples_for(reference.inputs, dataset, limit=PROOF_SAMPLES, seed=job.seed)
        operators = operator_precisions(made.path)
        from_source = None
        if made.stands_for is not None:
            from_source = _from_source(reference, answering, samples)
            reference = stack.enter_context(opened_predictor(made.stands_for, allow_unsafe=job.allow.unsafe_layers))
            samples = Samples(feeds=rename_feeds(reference, samples.feeds), origin=samples.origin)
        proof = prove(reference, answering, samples, tolerance=bound, operators=operators)
        if weigh is not None:
            weigh(Proven(path=made.path, artifact=answering, source=source))
        artifact = _describe(job, made.path, (answering.inputs, answering.outputs), proof, _lineage(job, made, dataset))
        put(made.path, artifact)
    return Delivery(artifact=artifact, proof=proof, suitability=suitability, from_source=from_source)


def _workbench(job: Job, folder: Path, dataset: Dataset | None) -> Workbench:
    return Workbench(
        folder=folder,
        dataset=dataset,
        seed=job.seed,
        allow_unsafe=job.allow.unsafe_layers,
        device=job.device,
    )


def _suitable(made: Path, job: Job) -> Suitability:
    """Hold what was made against the device; raises as ``refuse_unless_runs``."""
    suitability = suitability_of(made, job.device)
    if suitability.preflight is not None:
        refuse_unless_runs(suitability.preflight, job.output.name)
    return suitability


def _deliver_unrun(
    job: Job, make: Callable[[Workbench], Made], weigh: Callable[[Proven | Unrun], None] | None, why: str
) -> Delivery:
    """As ``deliver``, of a source that is too large to be run: the artifact alone is, if it fits."""
    logger.warning("%s: weights are proven one by one, and not by running both", why)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(work_folder(job.output, INSIDE_BYTES + 1))
        ends = ends_of(job.source.path)
        dataset = _dataset(job, ends[0])
        made = make(_workbench(job, folder, dataset))
        made = replace(made, path=gathered(made.path, job.output, folder))
        suitability = _suitable(made.path, job)
        too_large = why_too_large(identify(made.path))
        proof = Proof(
            samples=0,
            origin=why,
            differences=(),
            agreement=None,
            batch=batch_of(ends[0]),
            operators=operator_precisions(made.path),
            unrun=f"weight by weight; {too_large or _run_alone(job, made, dataset)}",
        )
        if weigh is not None:
            weigh(Unrun(path=made.path, why=why))
        artifact = _describe(job, made.path, ends, proof, _lineage(job, made, dataset))
        put(made.path, artifact)
    return Delivery(artifact=artifact, proof=proof, suitability=suitability)


def _run_alone(job: Job, made: Made, dataset: Dataset | None) -> str:
    """Run an artifact without its source, and say so; raises ``VerificationError`` for answers that are no numbers."""
    with (
        writers_named([job.source.path], {made.path: made.writer}),
        SandboxedArtifact(made.path, Sandbox(time_limit_s=job.time_limit_s)) as artifact,
    ):
        samples = samples_for(artifact.inputs, dataset, limit=_ALONE_SAMPLES, seed=job.seed)
        answers = run_samples(artifact, samples.feeds)
    for spec, array in zip(artifact.outputs, answers, strict=True):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise VerificationError(f"the artifact answers NaN or infinity in {spec.name!r} on {samples.origin}")
    return f"the artifact alone was run on {len(samples)} samples, and all its answers are numbers"


def _refuse_overwriting(job: Job) -> None:
    """The source is never changed, also not when a user names it twice."""
    source, output = job.source.path.resolve(), job.output.resolve()
    changed = {output, data_path(output)} if output.suffix == ".onnx" else {output}
    if source in (output, *output.parents) or not changed.isdisjoint(files_of(job.source)):
        raise UsageError(
            f"the output {job.output} would change the source {job.source.path}",
            hint="name another file with --output; the source is never changed",
        )


def _dataset(job: Job, inputs: tuple[TensorSpec, ...]) -> Dataset | None:
    if job.data is None:
        return None
    from tinsmith.convert.data import open_dataset

    return open_dataset(job.data, inputs)


def _from_source(source: Predictor, artifact: Predictor, samples: Samples) -> Comparison | None:
    """How far training has moved the answers; None where it gave the model a new head."""
    if [spec.shape[1:] for spec in source.outputs] != [spec.shape[1:] for spec in artifact.outputs]:
        return None
    return compare_predictors(source, artifact, samples)[0]


def _reachable(tolerance: Tolerance, source: Model) -> Tolerance:
    """A source that rounds to integers itself is matched within its steps at best: other kernels round other ties."""
    if tolerance is not FLOAT32 or not source.is_artifact:
        return tolerance
    rounds = any("int8" in use.precision or "int16" in use.precision for use in operator_precisions(source.path))
    return INTEGER if rounds else tolerance


def _describe(
    job: Job,
    produced: Path,
    ends: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]],
    proof: Proof,
    lineage: Lineage,
) -> Artifact:
    required = requirements_of(produced)
    return Artifact(
        path=job.output,
        format=job.output.suffix.removeprefix("."),
        sha256=sha256_of(produced),
        size_bytes=produced.stat().st_size,
        inputs=ends[0],
        outputs=ends[1],
        operators=proof.operators,
        lineage=lineage,
        data=data_of(produced),
        needs=required.needs,
        activation_bytes=required.activation_bytes,
    )


def _lineage(job: Job, made: Made, dataset: Dataset | None) -> Lineage:
    return Lineage(
        source=job.source.path.name,
        source_format=job.source.format,
        source_sha256=sha256_of(*files_of(job.source)),
        steps=tuple(made.steps),
        seed=job.seed,
        data_sha256="" if dataset is None else dataset.sha256,
        tools=tool_versions(),
        device="" if job.device is None else job.device.name,
    )
