"""Change a model's format: the dispatch, and the command's library call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from tinsmith.convert.delivery import Delivery, Job, Made, Workbench, deliver
from tinsmith.convert.formats import sources_of
from tinsmith.convert.parity import FLOAT16, FLOAT32
from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.files import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.convert.model import Model

__all__ = ["Target", "convert", "convert_model"]

Target = Literal["tflite", "onnx"]
_SUFFIXES: dict[str, Target] = {".tflite": "tflite", ".onnx": "onnx"}


def convert(
    model: Path,
    output: Path,
    *,
    precision: Literal["float32", "float16"] = "float32",
    batch: int | None = None,
    **settings: Any,
) -> Delivery:
    """Turn a model into TFLite or ONNX, and prove it equal.

    Args:
        model: A model of any of the five formats; it is never changed.
        output: The artifact; ends in .tflite or .onnx. Its manifest is written beside it.
        precision: Of the weights.
        batch: Fixes the batch axis at this length; None leaves it as free as the model has it.
        **settings: ``data``, ``seed``, ``allow``, ``time_limit_s`` and ``device`` of ``Job.of``.

    Raises:
        TinsmithError: As the exit codes say; nothing is written then.
    """
    if output.suffix not in _SUFFIXES:
        raise UsageError(f"{output} names no artifact", hint="end --output in .tflite or .onnx")
    target = _SUFFIXES[output.suffix]
    job = Job.of(model, output, **settings)
    if job.source.format == target and precision == "float32":
        raise UsageError(
            f"{model} is {target} already", hint=f"to make it smaller: tinsmith compress {model} -r int8 -o {output}"
        )

    def make(bench: Workbench) -> Made:
        made = job.source.path
        if job.source.format != target:
            made = bench.place(f"float32.{target}")
            convert_model(job.source, target, made, batch=batch, allow_unsafe=bench.allow_unsafe)
        half = precision == "float16"
        step = {"kind": "convert", "target": target, "batch": batch, "precision": precision}
        path = _halved(made, target, bench) if half else made
        return Made(path=path, tolerance=FLOAT16 if half else FLOAT32, steps=[step])

    return deliver(job, make)


def convert_model(
    model: Model, target: Target, output: Path, *, batch: int | None = None, allow_unsafe: bool = False
) -> None:
    """Write ``model`` as a float32 artifact; proves nothing.

    Args:
        model: In a format other than ``target``.
        target: The artifact's format.
        output: A path in a work folder.
        batch: Fixes the batch axis at this length; None leaves it as free as the model has it.
        allow_unsafe: Load Keras models whose ``Lambda`` layers run code of their author.

    Raises:
        ModelError: The model can't be loaded, or holds something that the target can't run.
        HostError: A package or program that this conversion needs is missing.
        UsageError: There is no such conversion.
    """
    if model.format not in sources_of(target):
        raise UsageError(f"{model.path} is {target} already")
    write_bytes(output, _content(model, target, batch, allow_unsafe=allow_unsafe))


def _content(model: Model, target: Target, batch: int | None, *, allow_unsafe: bool) -> bytes:
    if model.format == "onnx":
        from tinsmith.convert.onnx2tf import onnx_to_tflite

        return onnx_to_tflite(model.path, batch=batch)
    if model.format == "tflite":
        from tinsmith.convert.onnx_target import tflite_to_onnx

        _refuse_batch(batch)
        return tflite_to_onnx(model.path)
    from tinsmith.convert.loading import load_trained
    from tinsmith.convert.onnx_target import trained_to_onnx
    from tinsmith.convert.tflite_target import trained_to_tflite

    trained = load_trained(model, allow_unsafe=allow_unsafe)
    return (trained_to_tflite if target == "tflite" else trained_to_onnx)(trained, batch=batch)


def _refuse_batch(batch: int | None) -> None:
    if batch is not None:
        raise UsageError(
            "the batch axis of a .tflite file can't be changed on the way to ONNX",
            hint="fix it where the .tflite is made, or leave out --batch",
        )


def _halved(path: Path, target: Target, bench: Workbench) -> Path:
    from tinsmith.convert.quantization import Float16, Plan, choose_quantizer

    output = bench.place(f"float16.{target}")
    choose_quantizer(target).quantize(path, output, Plan(scheme=Float16()))
    return output
