"""A model that a function of the user builds, and what is known of it before it is trained.

The function runs in a process of its own, as the user would run it: with the Keras that it imports itself, with names
and chance that depend on nothing that ran before, so that the same function gives the same bytes.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinsmith.convert.model import Model
from tinsmith.convert.references import find_function
from tinsmith.runtime import errors
from tinsmith.runtime.errors import ModelError, ModelLoadError, TinsmithError, UsageError, first_line
from tinsmith.runtime.tensors import TensorSpec

__all__ = ["Built", "build_apart", "main", "model_of"]

_GIVES = "let it take no arguments, and give a keras.Model that has an Input layer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A model that can be trained.

    Attributes:
        model: Where it lies.
        framework: ``keras`` or ``tf_keras``.
        inputs: What goes in.
        outputs: What comes out.
        parameters: How many numbers its weights have.
    """

    model: Model
    framework: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: int

    def to_json(self) -> dict[str, Any]:
        """For the wire and for reports."""
        return {
            "model": {"path": str(self.model.path), "format": self.model.format},
            "framework": self.framework,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "parameters": self.parameters,
        }

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Built:
        """The same again."""
        return cls(
            model=Model(path=Path(said["model"]["path"]), format=said["model"]["format"]),
            framework=said["framework"],
            inputs=tuple(map(TensorSpec.from_json, said["inputs"])),
            outputs=tuple(map(TensorSpec.from_json, said["outputs"])),
            parameters=said["parameters"],
        )


def build_apart(source: str, path: Path, *, seed: int, allow_unsafe: bool = False) -> Built:
    """Let a function build a model in a process of its own, and write it; a model's file is only looked at.

    Args:
        source: ``package.module:function``, or the path of a Keras model.
        path: Where a model that is built goes; ends in .keras.
        seed: Of the weights that are drawn.
        allow_unsafe: Load ``Lambda`` layers, whose code the author of a file wrote.

    Raises:
        UsageError: There is no such function, it failed, needs arguments, or gives no model.
        ModelError: The model can't be saved, or not be loaded again; or the process died.
    """
    reading, writing = os.pipe()
    asked = json.dumps({"source": source, "path": str(path), "seed": seed, "allow_unsafe": allow_unsafe})
    command = [sys.executable, "-m", "tinsmith.compress.training.building", str(writing)]
    with tempfile.TemporaryFile() as log, os.fdopen(reading, encoding="utf-8") as answers:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[writing])
        os.close(writing)
        try:
            # a child that ends before it reads says so by giving no answer
            with contextlib.suppress(BrokenPipeError):
                process.communicate(asked.encode())
            said = json.loads(answers.read() or "null")
        finally:
            process.kill()
            process.wait()
        if said is None:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines() or ["nothing"]
            raise ModelError(
                f"the process that runs {source} died (exit status {process.returncode}); it said last: {lines[-1]}",
                hint="run the function by itself to see why",
            )
    if "error" in said:
        raise getattr(errors, said["error"]).revive(said["message"], said["hint"])
    return Built.from_json(said["built"])


def main() -> None:
    """Read what is asked from stdin, and answer on the file descriptor that the argument names."""
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as stream:
        asked = json.loads(sys.stdin.read())
        try:
            answer: dict[str, Any] = {"built": _answer(asked).to_json()}
        except TinsmithError as error:
            answer = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
        json.dump(answer, stream)


def _answer(asked: dict[str, Any]) -> Built:
    from tinsmith.convert.loading import load_trained
    from tinsmith.convert.model import identify
    from tinsmith.convert.references import is_reference

    source = Path(asked["source"])
    if is_reference(asked["source"]) and not source.exists():
        return _build(asked)
    model = identify(source)
    if model.format not in ("keras", "hdf5"):
        raise UsageError(
            f"{source} is {model.format}, which can't be trained", hint="name a .keras or .h5 file, or module:function"
        )
    return _described(model, load_trained(model, allow_unsafe=asked["allow_unsafe"]))


def _build(asked: dict[str, Any]) -> Built:
    from tinsmith.compress.training.trainable import save_trainable
    from tinsmith.convert.frameworks import require
    from tinsmith.convert.loading import load_trained

    reference = asked["source"]
    require("keras", needed_for="training").utils.set_random_seed(asked["seed"])
    saved = save_trainable(model_of(reference), Path(asked["path"]))
    try:
        trained = load_trained(saved, allow_unsafe=asked["allow_unsafe"])
    except ModelLoadError as error:
        said = error.message.replace(str(saved.path), f"the model of {reference}")
        raise ModelLoadError(said, hint="build it of Keras's own layers: a model is more than its file needs") from None
    return _described(saved, trained)


def model_of(reference: str) -> Any:
    """Call a function of the user, and give the Keras model that it builds.

    Raises:
        UsageError: There is no such function, it failed, needs arguments, or gives no model.
    """
    function = find_function(reference, hint=_GIVES)
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise UsageError(f"{reference} needs arguments ({first_line(error)})", hint=_GIVES) from error
    except ValueError:  # a builtin without a signature: the call will tell
        pass
    try:
        given = function()
    except (Exception, SystemExit) as error:
        raise UsageError(f"{reference} failed: {type(error).__name__}: {first_line(error)}", hint=_GIVES) from error
    if not _is_model(given):
        raise UsageError(f"{reference} gave {type(given).__name__}, which is no Keras model", hint=_GIVES)
    if not getattr(given, "inputs", None):
        raise UsageError(f"the model of {reference} has no Input layer, so nobody knows what it takes", hint=_GIVES)
    return given


def _is_model(given: Any) -> bool:
    """Whether it is a model of one of the Keras libraries that are imported by now."""
    found = [sys.modules[name] for name in ("keras", "tf_keras") if name in sys.modules]
    return any(isinstance(given, library.Model) for library in found)


def _described(model: Model, trained: Any) -> Built:
    return Built(
        model=model,
        framework=trained.framework,
        inputs=trained.inputs,
        outputs=trained.outputs,
        parameters=int(trained.native.count_params()),
    )


if __name__ == "__main__":
    main()
