"""What a bundle is asked to be, and what follows from that before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tinsmith.runtime.bundle.container import check_name
from tinsmith.runtime.bundle.manifest import Promise, Settings, check_bundle_name
from tinsmith.runtime.bundle.reading import open_bundle
from tinsmith.runtime.bundle.trust import AllowUnsigned
from tinsmith.runtime.engines import ENGINES, choose_engine
from tinsmith.runtime.errors import DataError, TinsmithError, UnsupportedOperatorError, UsageError
from tinsmith.runtime.files import check_writable
from tinsmith.runtime.profile import engines_of, load_profile
from tinsmith.runtime.seeds import check_seed
from tinsmith.runtime.session import artifact_format

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tinsmith.runtime.bundle.secret_key import SecretKey
    from tinsmith.runtime.postprocessing import Postprocessing
    from tinsmith.runtime.profile import Profile

__all__ = ["BundleJob", "Plan", "plan_bundle"]

_SUFFIX = ".tin"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleJob:
    """What the user asked for.

    Attributes:
        artifact: A .tflite or .onnx file; its manifest is read where it lies beside it.
        output: The bundle; ends in .tin.
        data: Samples for golden inputs and the drift reference, whose preprocessing and class names the device gets;
            None takes seeded random inputs.
        name: What devices know it by; None takes the output's name.
        version: From 1; None takes one more than that of the bundle at ``output``, or 1.
        device: The profile that settles how the artifact is run.
        engine: Its name; None takes the profile's preferred one.
        accelerator: ``cpu``, or names in the order to try them.
        threads: For one run; None takes the profile's.
        instances: Interpreters that run at once.
        postprocessing: What turns outputs into an answer; None takes what suits outputs and class names.
        reports: JSON of ``tinsmith evaluate`` and ``tinsmith benchmark`` about this artifact.
        scores: Metrics that the user states, by name.
        promise: Of latency, as the user states it; wins over what reports say.
        golden: Samples whose answers are kept.
        signing_key: Signs the bundle; None leaves it unsigned.
        encryption_key: Encrypts the artifact, 32 bytes; None leaves it in the clear.
        seed: Of the draw of samples.
        time_limit_s: For the artifact's load, and for each run.
    """

    artifact: Path
    output: Path
    data: str | Path | None = None
    name: str | None = None
    version: int | None = None
    device: str = "local"
    engine: str | None = None
    accelerator: str = "cpu"
    threads: int | None = None
    instances: int = 1
    postprocessing: Postprocessing | None = None
    reports: tuple[Path, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    promise: Promise = field(default_factory=Promise)
    golden: int = 8
    signing_key: SecretKey | None = None
    encryption_key: bytes | None = None
    seed: int = 0
    time_limit_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is settled before anything is loaded.

    Attributes:
        job: What the user asked for.
        format: Of the artifact: ``tflite`` or ``onnx``.
        name: Of the bundle.
        version: Of the bundle.
        profile: Of the device.
        settings: How the artifact is meant to be run there.
    """

    job: BundleJob
    format: str
    name: str
    version: int
    profile: Profile
    settings: Settings


def plan_bundle(job: BundleJob) -> Plan:
    """Settle what can be settled without loading anything, and refuse what can't be.

    Raises:
        UsageError: The output is no .tin file or something else's, the version falls, or a setting does not fit.
        DataError: The name is none for a bundle.
        OutputError: The output can't be written.
        ModelLoadError: The artifact is none.
        UnsupportedOperatorError: The device has no engine for it.
    """
    check_seed(job.seed)
    _check_output(job)
    name = job.output.stem if job.name is None else job.name
    check_bundle_name(name)
    format_ = artifact_format(job.artifact)
    _check_file_name(job.artifact.name)
    profile = load_profile(job.device)
    return Plan(
        job=job,
        format=format_,
        name=name,
        version=_version(job, name),
        profile=profile,
        settings=_settings(job, profile, format_),
    )


def _check_file_name(name: str) -> None:
    try:
        check_name(name)
    except DataError:
        raise UsageError(
            f"{name!r} is a name that not every device can give a file, and an artifact keeps its name in a bundle",
            hint="rename it, and the .json beside it, to letters, digits, dots, dashes and underscores",
        ) from None


def _check_output(job: BundleJob) -> None:
    if job.output.suffix != _SUFFIX:
        raise UsageError(f"{job.output} names no bundle", hint=f"end --output in {_SUFFIX}")
    check_writable(job.output)


def _settings(job: BundleJob, profile: Profile, format_: str) -> Settings:
    there = [engine.name for engine in engines_of(profile)]
    able = [choice.name for choice in ENGINES if format_ in choice.formats and choice.name in there]
    if profile.kind != "host" and not able:
        raise UnsupportedOperatorError(
            f"{profile.name} has no engine for .{format_} files",
            hint="`tinsmith formats` says what becomes which format",
        )
    preferred = next((name for name in there if name in able), None)
    engine = choose_engine(format_, job.engine or preferred).name
    if profile.kind != "host" and engine not in there:
        raise UsageError(f"{profile.name} has no engine {engine}", hint=f"choose one of {', '.join(able)}")
    wanted = {name.strip() for name in job.accelerator.split(",")}
    if profile.kind != "host" and not wanted <= set(profile.accelerator_names):
        raise UsageError(
            f"{profile.name} has no accelerator {', '.join(sorted(wanted - set(profile.accelerator_names)))}",
            hint=f"choose among {', '.join(profile.accelerator_names)}",
        )
    return Settings(
        device=profile.name,
        engine=engine,
        accelerator=job.accelerator,
        threads=job.threads or profile.threads,
        instances=job.instances,
    )


def _version(job: BundleJob, name: str) -> int:
    """The one that was asked for, or the next."""
    there = 0
    if job.output.exists():
        try:
            with open_bundle(job.output, trust=AllowUnsigned()) as before:
                there = before.manifest.version if before.manifest.name == name else 0
        except TinsmithError as error:
            raise UsageError(
                f"{job.output} is there and can't be read as a bundle: {error.message}",
                hint="name another file with --output, or move it away",
            ) from error
    if job.version is not None and job.version < there:
        raise UsageError(
            f"{job.output} holds version {there} of {name} already, and versions only rise",
            hint=f"leave out --version, which makes it {there + 1}",
        )
    return job.version or there + 1
