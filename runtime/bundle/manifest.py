"""What a bundle says of itself: the first part of its zip file, ``manifest.json``, which is what is signed."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.artifact import artifact_of
from tinsmith.runtime.bundle.container import check_name
from tinsmith.runtime.engines import ENGINES
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.fields import Fields, fields_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.runtime.artifact import Artifact

__all__ = [
    "ARTIFACT_FOLDER",
    "CIPHER",
    "LABELS",
    "MANIFEST",
    "REFERENCE",
    "SIGNATURE",
    "Encryption",
    "GoldenParts",
    "Manifest",
    "Part",
    "Promise",
    "Settings",
    "check_bundle_name",
    "manifest_bytes",
    "read_manifest",
]

_MOST_AT_ONCE = 1024
_SCHEMA = 1
MANIFEST, SIGNATURE = "manifest.json", "manifest.json.minisig"
REFERENCE, LABELS = "reference.json", "labels.json"
ARTIFACT_FOLDER = "artifact/"
CIPHER = "AES-256-GCM"
_NONCE_BYTES, _KEY_ID_BYTES = 12, 8
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a bundle.

    Attributes:
        name: Its path in the bundle, with slashes.
        sha256: Of its content as it lies there, encrypted or not.
        size_bytes: Of the same.
    """

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the artifact is meant to be run.

    Attributes:
        device: The profile that this was resolved from.
        engine: As ``--engine`` takes it.
        accelerator: ``cpu``, or names in the order to try them.
        threads: For one run; at most 1,024, for who makes a bundle is not to fill its device's table of processes.
        instances: Interpreters, which run at once; at most 1,024.

    Raises:
        DataError: One of these is larger.
    """

    device: str
    engine: str
    accelerator: str = "cpu"
    threads: int = 1
    instances: int = 1

    def __post_init__(self) -> None:
        for what in ("threads", "instances"):
            if getattr(self, what) > _MOST_AT_ONCE:
                raise DataError(
                    f"a bundle can't have {what} = {getattr(self, what)}; {_MOST_AT_ONCE:,} are the most",
                    hint=f"give a smaller --{what}",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """How long a run may take on the device; the monitor holds what it sees against it.

    Attributes:
        p50_ms: Half of the runs take no longer; None where nobody promised it.
        p90_ms: Nine of ten take no longer.
        source: Who says so: ``stated``, or what measured it.
    """

    p50_ms: float | None = None
    p90_ms: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenParts:
    """Where golden inputs and outputs lie in the bundle, each stacked along the samples in one .npy.

    Attributes:
        samples: How many.
        origin: Where they come from, for people.
        inputs: The part's name by the input's.
        outputs: By engine, the part's name by the output's.
        tolerance: By engine and output: the largest difference allowed, in stored units.
        versions: Of the engines that gave the outputs.
    """

    samples: int
    origin: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, Mapping[str, str]]
    tolerance: Mapping[str, Mapping[str, float]]
    versions: Mapping[str, str]

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of all its parts."""
        return (*self.inputs.values(), *(part for engine in self.outputs.values() for part in engine.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """How the artifact was encrypted; the key is never in the bundle.

    Attributes:
        cipher: ``AES-256-GCM``; the tag stands behind the content.
        key_id: Names the key without telling anything of it, as hex digits.
        nonces: By part, as hex digits.
    """

    cipher: str
    key_id: str
    nonces: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All that a bundle says of itself.

    Attributes:
        name: What devices know it by; whoever serves it may give it another.
        version: Rises with every bundle of that name; devices refuse to go back.
        artifact: What is served; its sha256 is that of the file when it is not encrypted.
        parts: Every other file of the bundle, in the order in which they lie there.
        settings: How to run it.
        preprocessing: As ``Preprocessing.to_json`` gives it; None where nobody said.
        postprocessing: As ``Postprocessing.to_json`` gives it; None where nobody said.
        metrics: What was measured, by name, such as ``accuracy``.
        promise: How long a run may take.
        golden: Where golden inputs and outputs lie; None where there are none.
        encryption: How the artifact was encrypted; None where it was not.
    """

    name: str
    version: int
    artifact: Artifact
    parts: tuple[Part, ...]
    settings: Settings
    preprocessing: tuple[Mapping[str, Any], ...] | None = None
    postprocessing: tuple[Mapping[str, Any], ...] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    promise: Promise = field(default_factory=Promise)
    golden: GoldenParts | None = None
    encryption: Encryption | None = None

    @property
    def artifact_part(self) -> str:
        """The name of the part that holds the artifact."""
        return ARTIFACT_FOLDER + self.artifact.path.name

    @property
    def artifact_parts(self) -> dict[str, tuple[str, int]]:
        """Sha256 and size of the artifact's files when they are not encrypted, by the name of the part."""
        beside = {ARTIFACT_FOLDER + file.name: (file.sha256, file.size_bytes) for file in self.artifact.data}
        return {self.artifact_part: (self.artifact.sha256, self.artifact.size_bytes), **beside}

    def to_json(self) -> dict[str, Any]:
        """The document."""
        return {
            "schema": _SCHEMA,
            "name": self.name,
            "version": self.version,
            "artifact": self.artifact.to_json(),
            "parts": [asdict(part) for part in self.parts],
            "settings": asdict(self.settings),
            "preprocessing": self.preprocessing,
            "postprocessing": self.postprocessing,
            "metrics": dict(self.metrics),
            "promise": asdict(self.promise),
            "golden": None if self.golden is None else asdict(self.golden),
            "encryption": None if self.encryption is None else asdict(self.encryption),
        }


def check_bundle_name(name: str) -> None:
    """Hold a name to what can stand in an address and in a path.

    Raises:
        DataError: It can't.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise DataError(
            f"{name!r} is no name for a bundle: it takes up to 128 letters, digits, dots, dashes and underscores",
            hint="give another one: --name cats",
        )


def manifest_bytes(manifest: Manifest) -> bytes:
    """The content of ``manifest.json``; the same manifest gives the same bytes."""
    return (json.dumps(manifest.to_json(), indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def read_manifest(content: bytes) -> Manifest:
    """Read what ``manifest_bytes`` wrote, every field held to its type.

    Raises:
        DataError: It is damaged, of a newer schema, or contradicts itself.
    """
    fields = fields_of(content, of=MANIFEST)
    fields.schema(_SCHEMA)
    manifest = Manifest(
        name=fields.text("name"),
        version=fields.count("version"),
        artifact=_artifact(fields.table("artifact")),
        parts=tuple(_part(part) for part in fields.many("parts")),
        settings=_settings(fields.table("settings")),
        preprocessing=None if fields.null("preprocessing") else fields.objects("preprocessing"),
        postprocessing=None if fields.null("postprocessing") else fields.objects("postprocessing"),
        metrics=fields.table("metrics").each(Fields.finite),
        promise=_promise(fields.table("promise")),
        golden=None if (golden := fields.maybe("golden")) is None else _golden(golden),
        encryption=None if (encryption := fields.maybe("encryption")) is None else _encryption(encryption),
    )
    fields.end()
    check_bundle_name(manifest.name)
    _check_parts(manifest, fields)
    return manifest


def _artifact(fields: Fields) -> Artifact:
    name = fields.text("file")
    check_name(name)
    if "/" in name:
        raise fields.wrong(f"says that the artifact lies in {name!r}")
    return artifact_of(Path(name), fields)


def _part(fields: Fields) -> Part:
    part = Part(
        name=fields.text("name"), sha256=fields.sha256("sha256"), size_bytes=fields.count("size_bytes", least=0)
    )
    fields.end()
    check_name(part.name)
    return part


def _settings(fields: Fields) -> Settings:
    settings = Settings(
        device=fields.text("device"),
        engine=fields.one_of("engine", tuple(choice.name for choice in ENGINES)),
        accelerator=fields.text("accelerator"),
        threads=fields.count("threads"),
        instances=fields.count("instances"),
    )
    fields.end()
    return settings


def _promise(fields: Fields) -> Promise:
    found = {key: None if fields.null(key) else fields.number(key, least=0) for key in ("p50_ms", "p90_ms")}
    promise = Promise(**found, source=fields.word("source"))
    fields.end()
    return promise


def _golden(fields: Fields) -> GoldenParts:
    golden = GoldenParts(
        samples=fields.count("samples"),
        origin=fields.word("origin"),
        inputs=fields.table("inputs").each(Fields.text),
        outputs=fields.table("outputs").each(_texts),
        tolerance=fields.table("tolerance").each(_numbers),
        versions=fields.table("versions").each(Fields.word),
    )
    fields.end()
    _check_golden(golden, fields)
    return golden


def _check_golden(golden: GoldenParts, fields: Fields) -> None:
    if not golden.outputs or golden.outputs.keys() != golden.tolerance.keys():
        raise fields.wrong("does not say a tolerance for each engine that has golden outputs")
    for engine, outputs in golden.outputs.items():
        tolerances = golden.tolerance[engine]
        if outputs.keys() != tolerances.keys() or any(not 0 <= t < math.inf for t in tolerances.values()):
            raise fields.wrong(f"does not say a tolerance from 0 on for each golden output of {engine}")


def _encryption(fields: Fields) -> Encryption:
    encryption = Encryption(
        cipher=fields.one_of("cipher", (CIPHER,)),
        key_id=fields.hexadecimal("key_id", nbytes=_KEY_ID_BYTES).hex(),
        nonces=fields.table("nonces").each(_nonce),
    )
    fields.end()
    return encryption


def _texts(fields: Fields, key: str) -> dict[str, str]:
    return fields.table(key).each(Fields.text)


def _numbers(fields: Fields, key: str) -> dict[str, float]:
    return fields.table(key).each(Fields.finite)


def _nonce(fields: Fields, key: str) -> str:
    return fields.hexadecimal(key, nbytes=_NONCE_BYTES).hex()


def _check_parts(manifest: Manifest, fields: Fields) -> None:
    """Whatever the manifest speaks of is a part, every part is spoken of, and the artifact's sizes and hashes agree."""
    spoken = {
        **dict.fromkeys(manifest.artifact_parts),
        **dict.fromkeys(manifest.golden.parts if manifest.golden else ()),
    }
    there = {part.name: part for part in manifest.parts}
    if len(there) != len(manifest.parts):
        raise fields.wrong("names a part twice")
    strange = (spoken.keys() - there.keys()) or (there.keys() - spoken.keys() - {REFERENCE, LABELS})
    if strange:
        raise fields.wrong(f"is at odds with itself over the part {min(strange)!r}")
    if manifest.encryption is None:
        for name, facts in manifest.artifact_parts.items():
            if (there[name].sha256, there[name].size_bytes) != facts:
                raise fields.wrong(f"says two things of {name!r}")
    elif manifest.encryption.nonces.keys() != manifest.artifact_parts.keys():
        raise fields.wrong("does not say a nonce for every file of the artifact")
