"""Which recipes there are for one model: choices, each one of a few values, and the recipe that they make."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tinsmith.compress.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tinsmith.compress.planner import Target

__all__ = ["Choices", "Choose", "Scope", "Sensitivities", "Space", "Value"]

Value = str | int | float | bool | None

_STATIC = ("int8", "int16x8")
_SCHEMES_WITHOUT_SAMPLES = ("float32", "float16", "dynamic-int8", "weights-int8", "weights-int4")
_METHODS = ("min-max", "percentile", "mse", "entropy", "moving-average")
_TRAINING_BATCH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What makes one recipe differ from another.

    Attributes:
        target: The artifact's format.
        threads: CPU threads that it runs on.
        recalibrate: Measure batch-norm statistics again first.
        macs: Share of the multiply-accumulates that stay when channels go; None where none go.
        epochs: That what is left learns from the model before.
        learning_rate: At its peak.
        sparsity: Share of the weights that become zero; None where none do.
        clusters: Values that the weights of a layer share; None where they share none.
        scheme: Of numbers.
        aware: Epochs of training with every number rounded; 0 for none.
        calibration: How ranges are taken from samples.
        equalize: Scale channels against each other before.
        rounding: Of weights.
        correct_biases: Take the mean error of each channel out of its bias.
        narrowed: Share of the bytes saved at best by 4-bit weights that is saved, where it costs least first.
        kept: Operators that cost most in 8 bits and so stay out of it.
        kept_in: What these are kept in.
    """

    target: Target = "tflite"
    threads: int = 1
    recalibrate: bool = False
    macs: float | None = None
    epochs: int = 20
    learning_rate: float = 2e-3
    sparsity: float | None = None
    clusters: int | None = None
    scheme: str = "float32"
    aware: int = 0
    calibration: str = "min-max"
    equalize: bool = False
    rounding: str = "nearest"
    correct_biases: bool = False
    narrowed: float = 0.0
    kept: int = 0
    kept_in: str = "float32"

    @property
    def static(self) -> bool:
        """Whether ranges are observed on samples."""
        return self.scheme in _STATIC and not self.aware

    @property
    def dearness(self) -> int:
        """0 where the model is only converted and rounded, 1 where operators are measured first, 2 where it trains."""
        if self.aware or not (self.macs is self.sparsity is self.clusters is None):
            return 2
        return int(self.narrowed > 0 or self.kept > 0)

    @property
    def name(self) -> str:
        """In a few words."""
        return ", ".join(self._words())

    def _words(self) -> Iterator[str]:
        if self.recalibrate:
            yield "batch norm again"
        if self.macs is not None:
            yield f"{self.macs:g} of the MACs, {self.epochs} epochs at {self.learning_rate:g}"
        if self.sparsity is not None:
            yield f"{self.sparsity:g} zeros"
        if self.clusters is not None:
            yield f"{self.clusters} values a layer"
        yield f"{self.scheme} trained {self.aware} epochs" if self.aware else self.scheme
        if self.static:
            yield from self._words_of_static()

    def _words_of_static(self) -> Iterator[str]:
        if self.calibration != "min-max":
            yield f"{self.calibration} ranges"
        flags = {"equalized": self.equalize, "rounded together": self.rounding != "nearest",
                 "biases corrected": self.correct_biases}  # fmt: skip
        yield from (word for word, on in flags.items() if on)
        if self.narrowed:
            yield f"4-bit weights for {self.narrowed:.0%} of what they save"
        if self.kept:
            yield f"{self.kept} worst in {self.kept_in}"


class Choose(Protocol):
    """Decides between options."""

    def __call__(self, name: str, options: Sequence[Value]) -> Value:
        """One of the options, of which there are at least two."""
        ...


class Sensitivities(Protocol):
    """Knows what each operator of a model costs in fewer bits, by itself."""

    def narrowing(self, recipe: Recipe, target: Target) -> Sequence[tuple[str, int]]:
        """Operators whose weights can be in 4 bits, with the bytes that saves; those that cost least a byte first."""
        ...

    def worst(self, recipe: Recipe, target: Target) -> Sequence[str]:
        """Operators by what they cost in the recipe's scheme, the worst first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What there is to choose from.

    Attributes:
        targets: Formats that the artifact may have.
        threads: Numbers of CPU threads that it may run on, the usual one first.
        layered: The source has layers that can be taken apart (.keras, .h5).
        calibrated: There are samples.
        trainable: Weights may be trained: there are samples to learn from and others to judge by, and it is wanted.
        answers_stay: The source's own answers are wanted, so that nothing is measured or trained anew.
        downloads: The deflated size is bounded, so that zeros and shared values are worth something.
        floats: The source computes in floats; what is quantized already can be written smaller, and no more.
    """

    targets: tuple[Target, ...]
    threads: tuple[int, ...] = (1,)
    layered: bool = False
    calibrated: bool = False
    trainable: bool = False
    answers_stay: bool = False
    downloads: bool = False
    floats: bool = True


class Space:
    """All recipes within a scope.

    Args:
        scope: What there is to choose from.
        sensitivities: Asked when a choice depends on what operators cost.
    """

    def __init__(self, scope: Scope, sensitivities: Sensitivities) -> None:
        self.scope, self._sensitivities = scope, sensitivities

    def draw(self, choose: Choose) -> Choices:
        """Decide everything that is still open, what is decided first deciding what comes next."""
        picked = Choices(target=self.scope.targets[0], threads=self.scope.threads[0])
        for name in (field.name for field in fields(Choices)):
            options = self._options(name, picked)
            if len(options) > 1:
                picked = _with(picked, name, choose(name, options))
            elif options:
                picked = _with(picked, name, options[0])
        return picked

    def parameters_of(self, choices: Choices) -> dict[str, Value]:
        """What ``draw`` would have to be answered to draw these; what can't be chosen is left out."""
        answered: dict[str, Value] = {}

        def choose(name: str, options: Sequence[Value]) -> Value:
            wanted = getattr(choices, name)
            answered[name] = wanted if wanted in options else options[0]
            return answered[name]

        self.draw(choose)
        return answered

    def known(self) -> tuple[Choices, ...]:
        """Those that are good for many models, in every format; what is dearer to carry out comes later."""
        found: dict[Choices, None] = {}
        for wanted in self._known():
            for target in self.scope.targets:
                asked = self.parameters_of(replace(wanted, target=target, threads=self.scope.threads[0]))
                drawn = self.draw(functools.partial(_answered, asked))
                found[drawn] = None
        return tuple(sorted(found, key=lambda choices: choices.dearness))

    def recipe(self, choices: Choices) -> Recipe:
        """The recipe that the choices make; asks what operators cost where it has to."""
        return _recipe(choices.target, [*self._prepared(choices), *self._shrunk(choices), *self._quantized(choices)])

    def _options(self, name: str, picked: Choices) -> tuple[Value, ...]:
        scope = self.scope
        trains = scope.trainable and scope.layered
        options: dict[str, tuple[Value, ...]] = {
            "target": scope.targets,
            "threads": scope.threads,
            "recalibrate": (True, False) if scope.layered and scope.calibrated and not scope.answers_stay else (),
            "macs": (None, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25) if trains else (),
            "epochs": (20, 5, 10, 40) if picked.macs is not None else (),
            "learning_rate": (2e-3, 5e-4, 1e-3) if picked.macs is not None else (),
            "sparsity": (None, 0.5, 0.7, 0.8) if trains and scope.downloads else (),
            "clusters": (None, 16, 32) if trains and scope.downloads and picked.sparsity is None else (),
            "scheme": self._schemes,
            "aware": (0, 3, 6) if trains and picked.scheme == "int8" and picked.clusters is None else (),
        }
        return options[name] if name in options else self._options_of_static(name, picked)

    def _options_of_static(self, name: str, picked: Choices) -> tuple[Value, ...]:
        if not picked.static:
            return ()
        narrows = picked.scheme == "int8" and picked.target == "tflite" and picked.clusters is None
        options: dict[str, tuple[Value, ...]] = {
            "calibration": _METHODS,
            "equalize": (False, True) if picked.clusters is None else (),
            "rounding": ("nearest", "second-order") if picked.clusters is None else (),
            "correct_biases": (False, True),
            "narrowed": (0.0, 0.25, 0.5, 0.7, 0.85, 1.0) if narrows else (),
            "kept": (0, 1, 2, 4),
            "kept_in": ("float32", "int16x8") if picked.kept and picked.scheme == "int8" else (),
        }
        return options[name]

    @property
    def _schemes(self) -> tuple[Value, ...]:
        if not self.scope.floats:
            return ("float32",)
        return (*_SCHEMES_WITHOUT_SAMPLES, *(_STATIC if self.scope.calibrated else ()))

    def _known(self) -> Iterator[Choices]:
        best = Choices(recalibrate=True, scheme="int8", rounding="second-order")
        yield Choices(recalibrate=True)
        yield Choices(recalibrate=True, scheme="int8")
        yield best
        yield replace(best, calibration="mse", correct_biases=True)
        yield replace(best, equalize=True, correct_biases=True)
        yield from (replace(best, narrowed=share) for share in (0.5, 0.7, 1.0))
        yield from (Choices(recalibrate=True, scheme=scheme) for scheme in ("dynamic-int8", "float16", "int16x8"))
        yield Choices(recalibrate=True, scheme="weights-int4")
        if self.scope.downloads:
            yield from (Choices(sparsity=0.7, scheme="int8"), Choices(clusters=16, scheme="int8"))
        yield Choices(recalibrate=True, scheme="int8", aware=3)
        yield from (Choices(recalibrate=True, macs=share, scheme="int8") for share in (0.75, 0.5))

    def _prepared(self, choices: Choices) -> list[dict[str, Any]]:
        """What costs nothing: statistics measured again, and channels gone that move no answer."""
        again = [{"kind": "bn-recalibrate"}] if choices.recalibrate else []
        return [*again, {"kind": "dead-channels"}] if self.scope.floats else again

    @staticmethod
    def _shrunk(choices: Choices) -> list[dict[str, Any]]:
        """What trains."""
        steps: list[dict[str, Any]] = []
        batch = {"batch_size": _TRAINING_BATCH}
        if choices.macs is not None:
            steps.append({"kind": "channels", "macs": choices.macs, "multiple": 8})
            learning = {"epochs": choices.epochs, "learning_rate": choices.learning_rate, **batch}
            steps.append({"kind": "distill", **learning})
        if choices.sparsity is not None:
            steps.append({"kind": "magnitude", "sparsity": choices.sparsity, "epochs": 15, **batch})
        if choices.clusters is not None:
            steps.append({"kind": "clusters", "clusters": choices.clusters, "epochs": 15, **batch})
        return steps

    def _quantized(self, choices: Choices) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = []
        if choices.aware:
            steps.append({"kind": "quantize-aware", "epochs": choices.aware})
        elif choices.scheme != "float32":
            if choices.equalize:
                steps.append({"kind": "equalize"})
            steps.append(self._quantize(choices))
        if choices.target == "tflite":
            steps.append({"kind": "slim"})
        return steps

    def _quantize(self, choices: Choices) -> dict[str, Any]:
        step: dict[str, Any] = {"kind": "quantize", "scheme": choices.scheme}
        if choices.static:
            said = asdict(choices)
            step |= {name: said[name] for name in ("calibration", "rounding", "correct_biases")}
            step["keep"] = dict(self._kept(choices))
        return step

    def _kept(self, choices: Choices) -> Iterator[tuple[str, str]]:
        """Operators in 4 bits, then those that stay out of 8: who is named by both stays out."""
        if not (choices.narrowed or choices.kept):
            return
        plain = replace(choices, macs=None, sparsity=None, equalize=False, calibration="min-max", rounding="nearest",
                        correct_biases=False, narrowed=0.0, kept=0)  # fmt: skip
        base = self.recipe(plain)
        if choices.narrowed:
            yield from ((name, "int8x4") for name in _narrowed(self._sensitivities.narrowing(base, choices.target),
                                                               choices.narrowed))  # fmt: skip
        if choices.kept:
            worst = self._sensitivities.worst(base, choices.target)[: choices.kept]
            yield from ((name, choices.kept_in) for name in worst)


def _with(choices: Choices, name: str, value: Any) -> Choices:
    return replace(choices, **{name: value})


def _answered(answers: Mapping[str, Value], name: str, options: Sequence[Value]) -> Value:
    return answers.get(name, options[0])


def _narrowed(operators: Sequence[tuple[str, int]], share: float) -> Iterator[str]:
    """The first ones that save a share of what all would."""
    wanted, saved = share * sum(saves for _, saves in operators), 0
    for name, saves in operators:
        if saved >= wanted:
            return
        saved += saves
        yield name


def _recipe(target: Literal["tflite", "onnx"], steps: Sequence[Mapping[str, Any]]) -> Recipe:
    return Recipe.model_validate({"version": 1, "target": target, "steps": list(steps)})
