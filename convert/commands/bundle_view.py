"""How bundles are shown to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinsmith.runtime.bundle.minisign import key_name
from tinsmith.runtime.bundle.naming import short_id
from tinsmith.runtime.commands.output import facts, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from tinsmith.convert.bundling import Bundled
    from tinsmith.runtime.bundle.manifest import Manifest, Promise
    from tinsmith.runtime.bundle.reading import Bundle

__all__ = ["bundled_view", "keys_view", "shown_document", "shown_view"]

_MOST_NAMED = 6


def bundled_view(made: Bundled) -> list[RenderableType | str]:
    """What was made."""
    signed = f"by {made.signed_by}" if made.signed_by else "no"
    shown = [
        ("bundle", f"{made.path} ({made.size_bytes:,} bytes)"),
        *_hashes(made.file_sha256, made.sha256),
        ("signed", signed),
        *_manifest_facts(made.manifest),
        *(("note", note) for note in made.notes),
    ]
    return [facts(shown)]


def shown_view(found: Bundle, file_sha256: str) -> list[RenderableType | str]:
    """What a bundle holds, all of which was verified."""
    shown = [
        ("bundle", f"{found.path} ({found.path.stat().st_size:,} bytes)"),
        *_hashes(file_sha256, found.sha256),
        ("signed", _signed(found)),
        *_manifest_facts(found.manifest),
        ("labels", _listed(found.labels())),
    ]
    parts = [[part.name, part.size_bytes, part.sha256[:16]] for part in found.manifest.parts]
    return [facts(shown), "", table(["part", "bytes", "sha256"], parts)]


def shown_document(found: Bundle, file_sha256: str) -> dict[str, Any]:
    """The same for machines; what can't be understood is an error here, before anything is printed."""
    found.golden()
    found.preprocessing()
    found.postprocessing()
    found.reference()
    return {
        "path": str(found.path),
        "sha256": found.sha256,
        "file_sha256": file_sha256,
        "size_bytes": found.path.stat().st_size,
        "signed_by": None if found.signed_by is None else key_name(found.signed_by.id),
        "signature": found.key_id or None,
        "labels": list(found.labels()),
        "manifest": found.manifest.to_json(),
    }


def keys_view(made: Mapping[str, str]) -> list[tuple[str, object]]:
    """Keys that were made, and what to do with each."""
    said = {
        "secret_key": ("secret key", "signs bundles: --key; keep it to yourself"),
        "public_key": ("public key", "checks them: --trust"),
        "id": ("id", ""),
        "line": ("as one line", ""),
        "encryption_key": ("encryption key", "give it to the device by another way than the bundle"),
    }
    shown: list[tuple[str, object]] = []
    for name, value in made.items():
        title, use = said[name]
        shown.append((title, f"{value} ({use})" if use else value))
    return shown


def _hashes(file: str, manifest: str) -> list[tuple[str, object]]:
    return [
        ("id", f"{short_id(file)}, as flash and status show it"),
        ("sha256", f"{file} (of the file)"),
        ("", f"{manifest} (of the manifest)"),
    ]


def _signed(found: Bundle) -> str:
    if found.signed_by is not None:
        return f"by {key_name(found.signed_by.id)}, which is trusted"
    return f"by {found.key_id}, not checked: name who is trusted with --trust" if found.key_id else "no"


def _manifest_facts(manifest: Manifest) -> list[tuple[str, object]]:
    artifact, settings, golden = manifest.artifact, manifest.settings, manifest.golden
    shown: list[tuple[str, object]] = [
        ("name", f"{manifest.name}, version {manifest.version}"),
        ("artifact", f"{artifact.path.name} ({artifact.total_bytes:,} bytes){_encrypted(manifest)}"),
        ("made from", _lineage(manifest)),
        (
            "runs on",
            f"{settings.device}: {settings.engine}, {settings.accelerator}, {settings.threads} thread(s), "
            f"{settings.instances} at once",
        ),
        ("preprocessing", _kinds(manifest.preprocessing)),
        ("postprocessing", _kinds(manifest.postprocessing)),
        *(("metric", f"{name} {value:.6g}") for name, value in sorted(manifest.metrics.items())),
        ("promise", _promised(manifest.promise)),
    ]
    if golden is None:
        return [*shown, ("golden", "none")]
    shown.append(("golden", f"{golden.origin}"))
    for engine, allowed in golden.tolerance.items():
        within = ", ".join(f"{name} ± {value:.3g}" for name, value in list(allowed.items())[:_MOST_NAMED])
        shown.append(("", f"{engine} {golden.versions.get(engine, '')}: {within}"))
    return shown


def _encrypted(manifest: Manifest) -> str:
    return "" if manifest.encryption is None else f", encrypted by the key {manifest.encryption.key_id}"


def _lineage(manifest: Manifest) -> str:
    lineage = manifest.artifact.lineage
    steps = " → ".join(str(step.get("kind", "?")) for step in lineage.steps)
    return f"{lineage.source}{f' ({steps})' if steps else ''}"


def _kinds(operations: Sequence[Mapping[str, Any]] | None) -> str:
    if operations is None:
        return "not known"
    return " → ".join(str(operation.get("kind", "?")) for operation in operations) or "none"


def _promised(promise: Promise) -> str:
    stated = {"p50": promise.p50_ms, "p90": promise.p90_ms}
    said = ", ".join(f"{name} {value:g} ms" for name, value in stated.items() if value is not None)
    return f"{said} ({promise.source})" if said else "none"


def _listed(labels: Sequence[str]) -> str:
    if not labels:
        return "none"
    more = f" and {len(labels) - _MOST_NAMED} more" if len(labels) > _MOST_NAMED else ""
    return ", ".join(labels[:_MOST_NAMED]) + more
