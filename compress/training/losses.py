"""What a training minimizes: the distance to the labels, to a teacher's answers, or to both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from tinsmith.convert.trained import TrainedModel

__all__ = ["Head", "head_of", "teacher_loss", "truth_loss"]

Head = Literal["probabilities", "logits", "probability", "values"]

# Below it a float32 probability has no logarithm worth having.
_SMALLEST = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtLoss:
    """A mixture of truth and teacher (Hinton, Vinyals & Dean 2015, Distilling the Knowledge in a Neural Network).

    Attributes:
        head: What the model's output holds.
        teacher_weight: Share of the teacher, 0 to 1.
        temperature: Softens both answers.
    """

    head: Head
    teacher_weight: float
    temperature: float

    def __call__(self, answers: Any, labels: Any, taught: Any) -> Any:
        """The loss of one batch, a scalar tensor.

        Args:
            answers: Of the model, [n, ...].
            labels: Class numbers [n] or values [n, ...]; None where there are none.
            taught: Answers of the teacher, shaped as ``answers``; None without one.
        """
        parts = []
        if taught is None:
            return truth_loss(self.head, answers, labels)
        if labels is not None and self.teacher_weight < 1:
            parts.append((1 - self.teacher_weight) * truth_loss(self.head, answers, labels))
        share = self.teacher_weight if labels is not None else 1.0
        if share > 0:
            parts.append(share * teacher_loss(self.head, answers, taught, self.temperature))
        return sum(parts)


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
    classes = trained.outputs[0].shape[-1] if len(trained.outputs[0].shape) > 1 else 1
    if activation == "softmax":
        return "probabilities"
    if activation == "sigmoid" and classes == 1:
        return "probability"
    return (
        "logits" if len(trained.outputs[0].shape) == 2 and (classes or 0) > 1 and activation == "linear" else "values"
    )


def _last_activation(trained: TrainedModel) -> str:
    layer = getattr(trained.native.outputs[0], "_keras_history", None)
    operation = getattr(layer, "layer", None) or getattr(layer, "operation", None)
    if type(operation).__name__ == "Softmax":
        return "softmax"
    return str(getattr(getattr(operation, "activation", None), "__name__", "linear"))


def truth_loss(head: Head, answers: Any, labels: Any) -> Any:
    """Cross-entropy for classes, mean squared error for values."""
    tf = require("tensorflow", needed_for="training")
    if labels is None:
        raise DataError("training needs labels", hint="add y to the .npz, or give a teacher: teacher_weight: 1")
    if head == "values":
        return tf.reduce_mean(tf.square(answers - tf.reshape(tf.cast(labels, answers.dtype), tf.shape(answers))))
    if head == "probability":
        wanted = tf.reshape(tf.cast(labels, answers.dtype), tf.shape(answers))
        bounded = tf.clip_by_value(answers, _SMALLEST, 1 - _SMALLEST)
        return -tf.reduce_mean(wanted * tf.math.log(bounded) + (1 - wanted) * tf.math.log(1 - bounded))
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=_logits(head, answers)))


def teacher_loss(head: Head, answers: Any, taught: Any, temperature: float) -> Any:
    """Kullback-Leibler divergence of the softened answers, times the squared temperature; for values their distance."""
    tf = require("tensorflow", needed_for="training")
    if head == "values":
        return tf.reduce_mean(tf.square(answers - taught))
    if head == "probability":
        return truth_loss(head, answers, taught)
    wanted = tf.nn.softmax(_logits(head, taught) / temperature)
    given = tf.nn.log_softmax(_logits(head, answers) / temperature)
    entropy = tf.reduce_sum(wanted * tf.math.log(tf.maximum(wanted, _SMALLEST)), axis=-1)
    return temperature**2 * tf.reduce_mean(entropy - tf.reduce_sum(wanted * given, axis=-1))


def _logits(head: Head, answers: Any) -> Any:
    """Logarithms of probabilities are logits: they differ by a constant that no softmax sees."""
    tf = require("tensorflow", needed_for="training")
    return answers if head == "logits" else tf.math.log(tf.maximum(answers, _SMALLEST))
