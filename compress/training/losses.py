"""What a training minimizes: the distance to the labels, to a teacher's answers, or to both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from tinsmith.convert.trained import TrainedModel

__all__ = ["Head", "TaughtLoss", "check_heads", "head_of", "teacher_loss", "truth_loss"]

# Softmax; the same before it; one sigmoid; several of them, each of which may be true; any numbers.
Head = Literal["probabilities", "logits", "probability", "truths", "values"]

# Below it a float32 probability has no logarithm worth having.
_SMALLEST = 1e-7

# Answers that say the same in another form, so that a model can learn from a teacher of the other kind.
_CLASSES = ("probabilities", "logits")
_SAID: dict[Head, str] = {
    "probabilities": "one probability a class (softmax)",
    "logits": "one score a class, of any size",
    "probability": "a probability (sigmoid)",
    "truths": "one probability a truth (sigmoid)",
    "values": "numbers",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtLoss:
    """A mixture of truth and teacher (Hinton, Vinyals & Dean 2015, Distilling the Knowledge in a Neural Network).

    Attributes:
        head: What the model's output holds.
        taught_head: What the teacher's output holds; see ``check_heads``.
        teacher_weight: Share of the teacher, 0 to 1.
        temperature: Softens both answers, where they are probabilities or logits.
    """

    head: Head
    taught_head: Head
    teacher_weight: float
    temperature: float

    def __call__(self, answers: Any, truth: Any, taught: Any) -> Any:
        """The loss of one batch, a scalar tensor.

        Args:
            answers: Of the model, [n, ...].
            truth: Class numbers [n], or numbers [n, numbers]; None where nothing says what is right.
            taught: Answers of the teacher, shaped as ``answers``, of its own head; None without one.
        """
        parts = []
        if taught is None:
            return truth_loss(self.head, answers, truth)
        if truth is not None and self.teacher_weight < 1:
            parts.append((1 - self.teacher_weight) * truth_loss(self.head, answers, truth))
        share = self.teacher_weight if truth is not None else 1.0
        if share > 0:
            parts.append(share * teacher_loss(self.head, answers, self._translated(taught), self.temperature))
        return sum(parts)

    def _translated(self, taught: Any) -> Any:
        """The teacher's answers in the form of the model's."""
        if self.taught_head == self.head:
            return taught
        if self.head == "logits":
            return _logits("probabilities", taught)
        return require("tensorflow", needed_for="training").nn.softmax(taught)


def check_heads(head: Head, taught_head: Head) -> None:
    """Refuse a teacher whose answers can't be translated into what the model answers.

    Classes can: a softmax makes probabilities of logits, and their logarithm makes logits of them. Nobody says whether
    plain numbers are what a sigmoid makes probabilities of, so that they are not taken for it.

    Raises:
        UsageError: They can't.
    """
    if head != taught_head and not (head in _CLASSES and taught_head in _CLASSES):
        raise UsageError(
            f"the teacher answers {_SAID[taught_head]}, but the model {_SAID[head]}, so it can't be learned from",
            hint="end both models in the same activation, or learn from labels alone: teacher_weight: 0",
        )


def head_of(trained: TrainedModel) -> Head:
    """What the model's only output holds, told by its last activation and shape.

    Raises:
        UsageError: It has several outputs, which need a loss of their own.
    """
    if len(trained.outputs) != 1:
        names = ", ".join(spec.name for spec in trained.outputs)
        raise UsageError(
            f"the model has {len(trained.outputs)} outputs ({names}), and training needs to know what each should say",
            hint="train the part of the model that has one output; tinsmith trains models with one",
        )
    activation = _last_activation(trained)
    shape = trained.outputs[0].shape
    classes = (shape[-1] if len(shape) > 1 else 1) or 0
    if activation == "softmax":
        return "probabilities"
    if activation == "sigmoid":
        return "probability" if classes == 1 else "truths"
    return "logits" if len(shape) == 2 and classes > 1 and activation == "linear" else "values"


def _last_activation(trained: TrainedModel) -> str:
    layer = getattr(trained.native.outputs[0], "_keras_history", None)
    operation: Any = getattr(layer, "layer", None) or getattr(layer, "operation", None)
    # tfmot's wrappers hold the layer, and its rounding of an activation holds that
    while getattr(operation, "layer", None) is not None:
        operation = operation.layer
    if type(operation).__name__ == "Softmax":
        return "softmax"
    activation = getattr(operation, "activation", None)
    activation = getattr(activation, "activation", activation)
    return str(getattr(activation, "__name__", "linear"))


def truth_loss(head: Head, answers: Any, truth: Any) -> Any:
    """Cross-entropy for classes, binary cross-entropy for truth values, mean squared error for numbers.

    Args:
        head: What the output holds.
        answers: Of the model, [n, ...].
        truth: Class numbers [n], or numbers [n, numbers].

    Raises:
        DataError: There is none.
    """
    tf = require("tensorflow", needed_for="training")
    if truth is None:
        raise DataError("training needs labels", hint="add y to the .npz, or give a teacher: teacher_weight: 1")
    if head in ("probabilities", "logits"):
        logits = tf.reshape(_logits(head, answers), [tf.shape(answers)[0], -1])
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=truth, logits=logits))
    if head == "truths" and truth.shape.rank == 1:
        truth = tf.one_hot(truth, answers.shape[-1])
    wanted = tf.reshape(tf.cast(truth, answers.dtype), tf.shape(answers))
    return tf.reduce_mean(tf.square(answers - wanted)) if head == "values" else _binary_entropy(answers, wanted)


def _binary_entropy(answers: Any, wanted: Any) -> Any:
    """Of probabilities, each for itself."""
    tf = require("tensorflow", needed_for="training")
    bounded = tf.clip_by_value(answers, _SMALLEST, 1 - _SMALLEST)
    return -tf.reduce_mean(wanted * tf.math.log(bounded) + (1 - wanted) * tf.math.log(1 - bounded))


def teacher_loss(head: Head, answers: Any, taught: Any, temperature: float) -> Any:
    """Kullback-Leibler divergence of the softened answers, times the squared temperature; for values their distance.

    Args:
        head: What both hold.
        answers: Of the model, [n, ...].
        taught: Of the teacher, in the same shape and form.
        temperature: Above 0; what both logits are divided by.

    Returns:
        A scalar tensor, 0 where both answer the same. Probabilities that stand for themselves count as one divergence
        each, of which the mean is taken.
    """
    tf = require("tensorflow", needed_for="training")
    if head == "values":
        return tf.reduce_mean(tf.square(answers - taught))
    if head in ("probability", "truths"):
        return temperature**2 * _binary_divergence(_log_odds(taught) / temperature, _log_odds(answers) / temperature)
    wanted = tf.nn.softmax(_logits(head, taught) / temperature)
    given = tf.nn.log_softmax(_logits(head, answers) / temperature)
    entropy = tf.reduce_sum(wanted * tf.math.log(tf.maximum(wanted, _SMALLEST)), axis=-1)
    return temperature**2 * tf.reduce_mean(entropy - tf.reduce_sum(wanted * given, axis=-1))


def _log_odds(probabilities: Any) -> Any:
    """What a sigmoid makes these probabilities of."""
    tf = require("tensorflow", needed_for="training")
    bounded = tf.clip_by_value(probabilities, _SMALLEST, 1 - _SMALLEST)
    return tf.math.log(bounded) - tf.math.log(1 - bounded)


def _binary_divergence(wanted: Any, given: Any) -> Any:
    """Of probabilities, each for itself, given as the logarithm of their odds."""
    tf = require("tensorflow", needed_for="training")
    true = tf.sigmoid(wanted) * (tf.math.log_sigmoid(wanted) - tf.math.log_sigmoid(given))
    false = tf.sigmoid(-wanted) * (tf.math.log_sigmoid(-wanted) - tf.math.log_sigmoid(-given))
    return tf.reduce_mean(true + false)


def _logits(head: Head, answers: Any) -> Any:
    """Logarithms of probabilities are logits: they differ by a constant that no softmax sees."""
    tf = require("tensorflow", needed_for="training")
    return answers if head == "logits" else tf.math.log(tf.maximum(answers, _SMALLEST))
