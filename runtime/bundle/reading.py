"""Open a bundle that anyone may have made: everything is verified before any of it is used."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, BinaryIO

from tinsmith.runtime.bundle.arrays import read_npy
from tinsmith.runtime.bundle.container import read_chunks, read_entries
from tinsmith.runtime.bundle.golden import Golden
from tinsmith.runtime.bundle.manifest import LABELS, MANIFEST, REFERENCE, SIGNATURE, read_manifest
from tinsmith.runtime.bundle.trust import check_trust
from tinsmith.runtime.errors import DataError, ModelLoadError, VerificationError
from tinsmith.runtime.fields import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.runtime.bundle.container import Entry
    from tinsmith.runtime.bundle.manifest import GoldenParts, Manifest
    from tinsmith.runtime.bundle.minisign import PublicKey
    from tinsmith.runtime.bundle.trust import Trust
    from tinsmith.runtime.monitor.reference import Reference
    from tinsmith.runtime.postprocessing import Postprocessing
    from tinsmith.runtime.preprocessing import Preprocessing
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["Bundle", "is_bundle", "open_bundle"]

_MOST_MANIFEST_BYTES = 16 << 20
_MOST_SIGNATURE_BYTES = 8192
_MOST_INSIDE_BYTES = 256 << 20
_HINT = "get the bundle again from where it was made"


class Bundle:
    """A bundle, verified from its first byte to its last; use it as a context manager, or close it.

    Its parts are hashed again whenever they are read, so that a file that is changed in the meantime is noticed.

    Attributes:
        path: Of the file.
        manifest: What it says of itself.
        sha256: Of its manifest, which names the bundle with all its parts and settings.
        signed_by: The trusted key that signed it; None where unsigned ones are allowed.
        key_id: Of the signature that it carries, verified or not; empty where it carries none.
    """

    def __init__(self, path: Path, stream: BinaryIO, trust: Trust) -> None:
        self.path = path
        self._stream = stream
        self._entries = {entry.name: entry for entry in read_entries(stream)}
        names = list(self._entries)
        content = self._small(MANIFEST, _MOST_MANIFEST_BYTES) if names[:1] == [MANIFEST] else None
        if content is None:
            raise DataError(f"{path} is no bundle: it does not begin with {MANIFEST}", hint=_HINT)
        signature = self._small(SIGNATURE, _MOST_SIGNATURE_BYTES) if SIGNATURE in self._entries else None
        self.signed_by: PublicKey | None = check_trust(content, signature, trust)
        self.key_id = "" if signature is None else _key_id(signature)
        self.manifest: Manifest = read_manifest(content)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._parts = {part.name: part for part in self.manifest.parts}
        self._check_order([MANIFEST] if signature is None else [MANIFEST, SIGNATURE])

    def verify(self) -> None:
        """Hold every part against the manifest; raises ``VerificationError``. ``open_bundle`` has done so already."""
        for part in self.manifest.parts:
            for _ in self.chunks(part.name):
                pass

    def chunks(self, name: str) -> Iterator[bytes]:
        """A part, some bytes at a time; they are verified only when the last of them was taken.

        Raises:
            VerificationError: Its size or its sha256 is not what the manifest says; raised behind the last chunk.
        """
        part = self._parts[name]
        digest = hashlib.sha256()
        for chunk in read_chunks(self._stream, self._entries[name]):
            digest.update(chunk)
            yield chunk
        if digest.hexdigest() != part.sha256:
            raise VerificationError(f"{self.path}: {name} is not what the manifest says: sha256 differs", hint=_HINT)

    def read(self, name: str) -> bytes:
        """A whole part; raises as ``chunks``, and ``DataError`` for one too large to be held in memory."""
        if self._parts[name].size_bytes > _MOST_INSIDE_BYTES:
            raise self._wrong(f"{name} has {self._parts[name].size_bytes:,} bytes")
        return b"".join(self.chunks(name))

    def golden(self) -> Golden | None:
        """The golden inputs and outputs, None where there are none; imports numpy.

        Raises:
            DataError: They are not samples of this artifact.
        """
        said = self.manifest.golden
        if said is None:
            return None
        inputs = self._specs(self.manifest.artifact.inputs, said.inputs, whole=True)
        return Golden(
            inputs={spec.name: self._array(part, spec, said) for spec, part in inputs},
            outputs={
                engine: {spec.name: self._array(part, spec, said) for spec, part in self._outputs(parts)}
                for engine, parts in said.outputs.items()
            },
            tolerance=said.tolerance,
        )

    def reference(self) -> Reference | None:
        """What inputs and outputs looked like when the bundle was made; None where it says nothing.

        Raises:
            DataError: It is damaged.
        """
        from tinsmith.runtime.monitor.reference import Reference

        if REFERENCE not in self._parts:
            return None
        document = parse_json(self.read(REFERENCE), of=REFERENCE)
        try:
            return Reference.from_json(document)
        except ModelLoadError as error:
            raise self._wrong(f"{REFERENCE}: {error.message}") from error

    def labels(self) -> tuple[str, ...]:
        """The names of the classes by their numbers; empty where nobody said them."""
        if LABELS not in self._parts:
            return ()
        found = parse_json(self.read(LABELS), of=LABELS)
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise self._wrong(f"{LABELS} is no list of names")
        return tuple(found)

    def preprocessing(self) -> Preprocessing | None:
        """What turns a file or text into what the model is fed; None where nobody said. Imports numpy.

        Raises:
            DataError: It holds an operation that this tinsmith does not know, or a setting that can't be.
        """
        from tinsmith.runtime.preprocessing import Preprocessing

        said = self.manifest.preprocessing
        return None if said is None else Preprocessing.from_json(said)

    def postprocessing(self) -> Postprocessing | None:
        """What turns outputs into an answer; None where nobody said. Imports numpy; raises as ``preprocessing``."""
        from tinsmith.runtime.postprocessing import Postprocessing

        said = self.manifest.postprocessing
        return None if said is None else Postprocessing.from_json(said)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _check_order(self, before: Sequence[str]) -> None:
        """The file holds what the manifest lists, in that order, and nothing else."""
        there, listed = list(self._entries), [*before, *self._parts]
        if missing := [name for name in listed if name not in self._entries]:
            raise VerificationError(f"{self.path}: {missing[0]} is missing from the bundle", hint=_HINT)
        if extra := [name for name in there if name not in listed]:
            raise VerificationError(f"{self.path}: the manifest does not know {extra[0]!r}", hint=_HINT)
        if there != listed:
            raise VerificationError(f"{self.path}: its parts are in another order than the manifest's", hint=_HINT)
        for part in self.manifest.parts:
            size = self._entries[part.name].size_bytes
            if size != part.size_bytes:
                said = f"{part.name} has {size:,} bytes, and the manifest says {part.size_bytes:,}"
                raise VerificationError(f"{self.path}: {said}", hint=_HINT)

    def _small(self, name: str, most: int) -> bytes:
        entry: Entry = self._entries[name]
        if entry.size_bytes > most:
            raise self._wrong(f"{name} has {entry.size_bytes:,} bytes, and {most:,} is the most")
        return b"".join(read_chunks(self._stream, entry))

    def _outputs(self, parts: Mapping[str, str]) -> list[tuple[TensorSpec, str]]:
        return self._specs(self.manifest.artifact.outputs, parts, whole=False)

    def _specs(
        self, specs: Sequence[TensorSpec], parts: Mapping[str, str], *, whole: bool
    ) -> list[tuple[TensorSpec, str]]:
        known = {spec.name: spec for spec in specs}
        if not parts.keys() <= known.keys() or (whole and len(parts) != len(known)) or not parts:
            raise self._wrong(f"its golden samples are of {sorted(parts)}, and its artifact has {sorted(known)}")
        return [(known[name], part) for name, part in parts.items()]

    def _array(self, part: str, spec: TensorSpec, said: GoldenParts) -> NDArray[np.generic]:
        return read_npy(self.read(part), spec, samples=said.samples, part=part)

    def _wrong(self, said: str) -> DataError:
        return DataError(f"{self.path}: {said}", hint=_HINT)


def open_bundle(path: Path, *, trust: Trust, newer_than: int | None = None) -> Bundle:
    """Open a bundle, and verify all of it.

    Args:
        path: The file.
        trust: Whose bundles are used.
        newer_than: The version that is in use; only later ones are opened. None opens any.

    Raises:
        DataError: It is no bundle, damaged, or of a newer schema.
        VerificationError: It is not signed by who is trusted, stale, or not what was signed.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read the bundle {path}: {error.strerror}", hint="check the path") from error
    try:
        bundle = Bundle(path, stream, trust)
        _refuse_stale(bundle, newer_than)
        bundle.verify()
    except OSError as error:
        stream.close()
        raise DataError(f"cannot read the bundle {path}: {error.strerror}", hint="check the disk") from error
    except BaseException:
        stream.close()
        raise
    return bundle


def is_bundle(path: Path) -> bool:
    """Whether a file begins as bundles do; nothing is verified."""
    try:
        with path.open("rb") as stream:
            head = stream.read(30 + len(MANIFEST))
    except OSError:
        return False
    return head[:4] == b"PK\3\4" and head[30:] == MANIFEST.encode()


def _refuse_stale(bundle: Bundle, newer_than: int | None) -> None:
    version = bundle.manifest.version
    if newer_than is not None and version <= newer_than:
        raise VerificationError(
            f"{bundle.path} is version {version} of {bundle.manifest.name}, and version {newer_than} is in use",
            hint="make a newer one: tinsmith bundle ... --version N",
        )


def _key_id(signature: bytes) -> str:
    from tinsmith.runtime.bundle.minisign import Signature, key_name

    return key_name(Signature.from_bytes(signature).key_id)
