"""``tinsmith serve``."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from tinsmith.runtime.commands.handover import Handover
from tinsmith.runtime.server.serving import Limits
from tinsmith.runtime.server.settings import TRANSPORTS, Capturing, ModelSource, ServerSettings

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["serve"]

_LIMITS = Limits()
_CAPTURING = Capturing(folder=Path())
_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="[NAME=]MODEL...")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to bind.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option("--token-file", "tokens", type=_FILE, help="Serve only who sends one of these tokens, one a line.")
@click.option("--certificate", type=_FILE, help="Serve HTTPS with this PEM file.")
@click.option("--key", type=_FILE, help="The PEM file of the certificate's private key.")
@click.option("--insecure", is_flag=True, help="Let others in without tokens and without HTTPS.")
@click.option("--trust", type=_FILE, multiple=True, help="Serve only bundles that this minisign key has signed.")
@click.option("--decryption-key", type=_FILE, help="The key of encrypted bundles.")
@click.option("--watch/--no-watch", default=True, show_default=True, help="Swap in a model whose file changes.")
@click.option("--audit", type=_FILE, help="Write loads, swaps and refusals to this hash-chained log.")
@click.option("--capture", "folder", type=_FILE, help="Keep a sample of what is asked in this folder.")
@click.option("--capture-samples", "samples", type=click.IntRange(1), default=_CAPTURING.samples, show_default=True,
              help="How many a model.")  # fmt: skip
@click.option("--capture-age", "age_h", type=click.FloatRange(0), default=_CAPTURING.age_h, show_default=True,
              help="Hours after which they are dropped.")  # fmt: skip
@click.option("--transport", type=click.Choice(TRANSPORTS), default="sockets", show_default=True,
              help="Our own HTTP server; or uvicorn, behind a proxy.")  # fmt: skip
@click.option("--max-connections", type=click.IntRange(1), default=128, show_default=True,
              help="At once; uvicorn has no such limit.")  # fmt: skip
@click.option("--instances", type=click.IntRange(1),
              help="Requests that a model runs at once, each in an interpreter; else the bundle's.")  # fmt: skip
@click.option("--queue", type=click.IntRange(0), default=_LIMITS.queue, show_default=True,
              help="Requests that may wait for it; one more is sent away with 429.")  # fmt: skip
@click.option("--deadline", "deadline_s", type=click.FloatRange(0.001), default=_LIMITS.deadline_s, show_default=True,
              help="Seconds from a request to its answer.")  # fmt: skip
@click.option("--time-limit", "time_limit_s", type=click.FloatRange(0.001), default=_LIMITS.time_limit_s,
              show_default=True, help="Seconds for one run; an interpreter that hangs is given up.")  # fmt: skip
@click.option("--max-batch", type=click.IntRange(1), default=_LIMITS.max_batch, show_default=True,
              help="Requests put together to one run; refuses models whose batch axis is not free.")  # fmt: skip
@click.option("--max-delay", "max_delay_ms", type=click.FloatRange(0), default=_LIMITS.max_delay_ms, show_default=True,
              help="Milliseconds that the first of a batch waits for others.")  # fmt: skip
@click.option("--finite", is_flag=True, help="Refuse NaN and infinity in requests.")
@click.option("--max-body", "max_body_bytes", type=click.IntRange(1), default=_LIMITS.max_body_bytes,
              show_default=True, help="Bytes of a request.")  # fmt: skip
@click.option("--print", "printed", type=click.Choice(["settings", "unit", "containerfile"]),
              help="Print what starts this very server elsewhere, and start nothing.")  # fmt: skip
def serve(models: tuple[str, ...], printed: str | None, folder: Path | None, **options: Any) -> None:
    """Serve models on the Open Inference Protocol.

    The status page is at /. A model is a bundle, or a bare .tflite or .onnx file; its address has the file's name, or
    NAME. A file that changes is verified, tried in a process of its own and swapped in while requests go on; a bad one
    leaves the old one alone.
    """
    keeping = {name: options.pop(name) for name in ("samples", "age_h")}
    limits = {field.name: options.pop(field.name) for field in dataclasses.fields(Limits)}
    settings = ServerSettings(
        models=tuple(_source(model) for model in models),
        capture=None if folder is None else Capturing(folder=folder, **keeping),
        limits=Limits(**limits),
        **options,
    )
    if printed is not None:
        sys.stdout.write(_printer(printed)(settings))
        return
    raise Handover(arguments=("-m", "tinsmith.runtime.server", "-"), stdin=json.dumps(settings.to_json()).encode())


def _source(said: str) -> ModelSource:
    """``NAME=PATH``, or a path whose file gives the name."""
    name, separator, path = said.partition("=")
    if separator and not Path(said).exists():
        return ModelSource(name=name, path=Path(path))
    return ModelSource(name=Path(said).stem, path=Path(said))


def _printer(what: str) -> Callable[[ServerSettings], str]:
    from tinsmith.runtime.server import packaging

    return {
        "settings": packaging.settings_text,
        "unit": packaging.unit,
        "containerfile": packaging.containerfile,
    }[what]
