"""The parts of a training, each against what it promises: rates, images, losses, attention maps, narrower copies."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.compress.training.augmentation import augmented
from tinsmith.compress.training.schedule import CosineSchedule
from tinsmith.runtime.errors import DataError, UnsupportedOperatorError, UsageError

# Learning rates.


@settings(max_examples=60, deadline=None)
@given(peak=st.floats(1e-6, 10), steps=st.integers(1, 300), warmup=st.floats(0, 0.999))
def test_the_rate_rises_to_its_peak_and_falls_from_there_without_reaching_zero(peak, steps, warmup):
    schedule = CosineSchedule.of(peak=peak, steps=steps, warmup=warmup)
    rates = [schedule(step) for step in range(steps)]
    top = schedule.warmup_steps
    assert 0 <= top < steps
    assert abs(top - steps * warmup) <= 1
    assert rates[top] == peak == max(rates)
    assert all(a < b for a, b in itertools.pairwise(rates[: top + 1]))
    assert all(a > b for a, b in itertools.pairwise(rates[top:]))
    assert min(rates) > 0
    assert schedule(steps) == schedule(steps + 5) == pytest.approx(0, abs=1e-12)


def test_the_warm_up_is_a_line_and_what_follows_is_half_a_cosine():
    schedule = CosineSchedule(peak=2.0, steps=13, warmup_steps=3)
    assert [schedule(step) for step in range(4)] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert schedule(8) == pytest.approx(1.0)
    assert schedule(5) == pytest.approx(1 + math.cos(math.pi / 5))


# Images. Every pixel has a number of its own, so that it can be found again.


def numbered(count, height, width, channels=2):
    return np.arange(count * height * width * channels, dtype="f4").reshape(count, height, width, channels)


shapes = st.tuples(st.integers(1, 6), st.integers(1, 20), st.integers(1, 20))


@settings(max_examples=40, deadline=None)
@given(shape=shapes, seed=st.integers(0, 99), kinds=st.sampled_from([(), ("flip",), ("shift",), ("flip", "shift")]))
def test_images_keep_their_shape_and_hold_only_pixels_of_their_own(shape, seed, kinds):
    images = numbered(*shape)
    before = images.copy()
    changed = augmented(images, kinds, np.random.default_rng(seed))
    again = augmented(images, kinds, np.random.default_rng(seed))
    assert changed.shape == images.shape
    assert changed.dtype == np.float32
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(changed, again)
    for image, own in zip(changed, images, strict=True):
        # channels stay beside each other, and no pixel comes from another image
        pixels = {tuple(pixel) for pixel in own.reshape(-1, 2)}
        assert {tuple(pixel) for pixel in image.reshape(-1, 2)} <= pixels


def test_a_flip_mirrors_left_and_right_of_about_every_second_image_and_twice_is_none():
    images = numbered(200, 3, 5)
    rng = np.random.default_rng(0)
    flipped = augmented(images, ("flip",), rng)
    mirrored = [bool((a == b[:, ::-1]).all()) for a, b in zip(flipped, images, strict=True)]
    same = [bool((a == b).all()) for a, b in zip(flipped, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 70 < sum(mirrored) < 130
    twice = augmented(flipped, ("flip",), np.random.default_rng(0))
    np.testing.assert_array_equal(twice, images)


def test_a_shift_goes_an_eighth_of_the_shorter_edge_at_most_and_every_way():
    images = numbered(300, 16, 24, 1)
    found = set()
    for image, own in zip(augmented(images, ("shift",), np.random.default_rng(0)), images, strict=True):
        row, column = np.argwhere(own[..., 0] == image[8, 12, 0])[0] - (8, 12)
        found.add((int(row), int(column)))
        rows, columns = (np.clip(np.arange(n) + by, 0, n - 1) for n, by in ((16, row), (24, column)))
        np.testing.assert_array_equal(image, own[rows][:, columns])
    assert found == {(row, column) for row in range(-2, 3) for column in range(-2, 3)}


def test_each_image_and_each_time_is_drawn_anew():
    images = np.repeat(numbered(1, 16, 16), 40, axis=0)
    rng = np.random.default_rng(0)
    one, other = (augmented(images, ("flip", "shift"), rng) for _ in range(2))
    assert len({image.tobytes() for image in one}) > 5
    assert (one != other).any()


# Losses, against arithmetic in float64.

RNG = np.random.default_rng(0)
LOGITS, TAUGHT = RNG.normal(0, 2, (2, 5, 4))
LABELS = np.array([0, 3, 1, 1, 2])


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# Of each head: the answers, those of the teacher, and labels.
CASES = {
    "logits": (LOGITS, TAUGHT, LABELS),
    "probabilities": (softmax(LOGITS), softmax(TAUGHT), LABELS),
    "probability": (sigmoid(LOGITS[:, :1]), sigmoid(TAUGHT[:, :1]), np.array([0, 1, 1, 0, 1])),
    "values": (LOGITS, TAUGHT, RNG.normal(size=(5, 4))),
}


def crossed(wanted, given):
    return -np.mean(wanted * np.log(given) + (1 - wanted) * np.log(1 - given))


def true_loss(head, answers, labels):
    if head == "values":
        return np.mean((answers - labels) ** 2)
    if head == "probability":
        return crossed(labels[:, None], answers)
    shares = softmax(answers) if head == "logits" else answers
    return -np.mean(np.log(shares[np.arange(len(labels)), labels]))


def taught_loss(head, answers, taught, temperature):
    if head == "values":
        return np.mean((answers - taught) ** 2)
    if head == "probability":
        # of two classes, of which the second is what the first is not
        pairs = [np.concatenate([a, 1 - a], axis=-1)[:, None] for a in (answers, taught)]
        return taught_loss("probabilities", *pairs, temperature)
    if head == "probabilities":
        answers, taught = np.log(answers), np.log(taught)
    given, wanted = softmax(answers / temperature), softmax(taught / temperature)
    return temperature**2 * np.mean(np.sum(wanted * np.log(wanted / given), axis=-1))


def loss_of(head, weight, temperature=1.0, taught_head=None):
    from tinsmith.compress.training.losses import TaughtLoss

    return TaughtLoss(head=head, taught_head=taught_head or head, teacher_weight=weight, temperature=temperature)


def tensors(*arrays):
    import tensorflow as tf

    return [tf.constant(a, tf.int32 if np.asarray(a).dtype.kind == "i" else tf.float32) for a in arrays]


@pytest.mark.tensorflow
@pytest.mark.parametrize("head", CASES)
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_loss_is_the_mixture_that_its_weight_says(head, weight, temperature):
    answers, taught, labels = CASES[head]
    found = float(loss_of(head, weight, temperature)(*tensors(answers, labels, taught)))
    truth, teacher = true_loss(head, answers, labels), taught_loss(head, answers, taught, temperature)
    assert abs(truth - teacher) > 0.01
    assert found == pytest.approx((1 - weight) * truth + weight * teacher, rel=1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize("head", CASES)
def test_without_a_teacher_only_the_truth_counts_and_without_labels_only_the_teacher(head):
    answers, taught, labels = CASES[head]
    answers_t, labels_t, taught_t = tensors(answers, labels, taught)
    loss = loss_of(head, 0.3, 2.0)
    assert float(loss(answers_t, labels_t, None)) == pytest.approx(true_loss(head, answers, labels), rel=1e-5)
    assert float(loss(answers_t, None, taught_t)) == pytest.approx(taught_loss(head, answers, taught, 2.0), rel=1e-5)
    with pytest.raises(DataError, match="labels"):
        loss(answers_t, None, None)


@pytest.mark.tensorflow
@pytest.mark.parametrize("head", CASES)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_gradient_pulls_towards_the_teacher(head, temperature):
    import tensorflow as tf

    _, taught, labels = CASES[head]
    link = {"logits": tf.identity, "values": tf.identity, "probabilities": tf.nn.softmax, "probability": tf.sigmoid}
    free, (labels_t, taught_t) = tf.Variable(tf.zeros(taught.shape)), tensors(labels, taught)
    distances = []
    for _ in range(6):
        with tf.GradientTape() as tape:
            answers = link[head](free)
            value = loss_of(head, 1.0, temperature)(answers, labels_t, taught_t)
        shares = [softmax(np.asarray(a, np.float64)) if head == "logits" else a for a in (answers, taught)]
        distances.append(np.abs(shares[0] - shares[1]).sum(axis=-1))
        free.assign_sub(1.0 * tape.gradient(value, free))
    # of each sample by itself, whatever its label says
    assert all((later < before).all() for before, later in itertools.pairwise(distances))


@pytest.mark.tensorflow
@pytest.mark.parametrize("head", CASES)
def test_who_answers_as_the_teacher_has_nothing_to_learn_from_it(head):
    import tensorflow as tf

    (taught,) = tensors(CASES[head][1])
    with tf.GradientTape() as tape:
        tape.watch(taught)
        value = loss_of(head, 1.0, 3.0)(taught, None, tf.stop_gradient(tf.identity(taught)))
    assert float(value) == pytest.approx(0, abs=1e-6)
    assert np.abs(tape.gradient(value, taught)).max() < 1e-5


@pytest.mark.tensorflow
@pytest.mark.parametrize(("head", "other"), [("logits", "probabilities"), ("probabilities", "logits")])
def test_a_teacher_of_the_other_kind_of_classes_teaches_what_it_says(head, other):
    answers, taught, _ = CASES[head]
    of_other = CASES[other][1]
    found = float(loss_of(head, 1.0, 4.0, other)(*tensors(answers), None, *tensors(of_other)))
    assert found == pytest.approx(taught_loss(head, answers, taught, 4.0), rel=1e-4)
    assert abs(found - float(loss_of(head, 1.0, 4.0)(*tensors(answers), None, *tensors(of_other)))) > 0.1
    assert float(loss_of(head, 1.0, 4.0, other)(*tensors(taught), None, *tensors(of_other))) == pytest.approx(
        0, abs=1e-5
    )


@pytest.mark.parametrize(
    ("head", "other", "said"),
    [("probability", "values", "numbers"), ("logits", "truths", "sigmoid"), ("values", "probabilities", "softmax")],
)
def test_a_teacher_whose_answers_mean_something_else_is_refused(head, other, said):
    from tinsmith.compress.training.losses import check_heads

    with pytest.raises(UsageError, match=f"the teacher answers .*{said}") as caught:
        check_heads(head, other)
    assert "teacher_weight: 0" in caught.value.hint


@pytest.mark.tensorflow
@pytest.mark.parametrize(("head", "other"), [("logits", "softmax"), ("softmax", None), ("sigmoid", None)])
def test_a_training_takes_the_teachers_head_for_what_it_is(tmp_path, head, other):
    from tinsmith.compress.passes.distill import DistillStep
    from tinsmith.compress.training.engine import Course, fit
    from tinsmith.compress.training.watching import Beginning, Watchers
    from tinsmith.convert.data import open_dataset

    student, teacher = network(last=None if head == "logits" else head), network(last=other)
    images = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype("f4")
    np.savez(tmp_path / "d.npz", x=images)
    step = DistillStep(epochs=1, batch_size=8, teacher_weight=1.0, learning_rate=1e-9)
    beginning = Beginning(training="", kind="", artifact="", metric="", epochs=1, steps=1, settings={})
    course = Course(
        train=open_dataset(tmp_path / "d.npz", student.inputs), validation=None, judge=None, seed=0,
        beginning=beginning, watcher=Watchers([]), teacher=teacher,
    )  # fmt: skip
    student.native.get_layer("norm").trainable = False  # as in the teacher, whose statistics stay
    if head == "sigmoid":
        with pytest.raises(UsageError, match="so it can't be learned from"):
            fit(student, step, course)
    else:
        # the same weights: nothing to learn
        assert fit(student, step, course).history[0].loss == pytest.approx(0, abs=1e-4)


@pytest.mark.tensorflow
@pytest.mark.parametrize("patience", [None, 9])
def test_the_weights_are_the_mean_of_those_after_the_last_steps(tmp_path, patience):
    from tinsmith.compress.passes.finetune import FinetuneStep
    from tinsmith.compress.training.engine import Course, fit
    from tinsmith.compress.training.watching import Beginning, Watchers
    from tinsmith.convert.data import open_dataset

    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.normal(size=(32, 8, 8, 3)).astype("f4"), y=rng.integers(0, 3, 32))

    def trained(average):
        model, seen, judged = network(), [], []
        samples = open_dataset(tmp_path / "d.npz", model.inputs)
        course = Course(
            train=samples, validation=samples, judge=lambda one, _: judged.append(one.native.get_weights()) or 0.5,
            seed=0, watcher=Watchers([]), before_step=lambda _: seen.append(model.native.get_weights()),
            beginning=Beginning(training="", kind="", artifact="", metric="", epochs=2, steps=4, settings={}),
        )  # fmt: skip
        step = FinetuneStep(epochs=2, batch_size=8, learning_rate=0.01, average=average, patience=patience)
        fit(model, step, course)
        return [*seen[1:], model.native.get_weights()], judged

    (after, _), (_, judged) = trained(0), trained(0.4)
    found = trained(0.4)[0][-1]
    mean = [np.mean(arrays, axis=0) for arrays in zip(*after[5:], strict=True)]
    assert len(after) == 8
    for wanted, of_model, judged_by in zip(mean, found, judged[1], strict=True):
        assert of_model == pytest.approx(wanted, abs=1e-6)
        assert judged_by == pytest.approx(wanted, abs=1e-6)
    assert not np.allclose(found[0], after[-1][0], atol=1e-5)
    assert all(np.array_equal(*pair) for pair in zip(judged[0], after[3], strict=True))


@pytest.mark.tensorflow
@pytest.mark.parametrize("head", ["probabilities", "probability"])
def test_an_answer_that_is_quite_sure_and_wrong_has_a_loss_that_is_a_number(head):
    answers = np.array([[1.0, 0.0]]) if head == "probabilities" else np.array([[0.0]])
    for weight in (0.0, 0.5, 1.0):
        found = float(loss_of(head, weight)(*tensors(answers, np.array([1]), 1 - answers)))
        assert 5 < found < 30


@pytest.mark.tensorflow
def test_values_of_one_number_are_compared_number_by_number():
    answers, labels = np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 2.0, 4.0])
    assert float(loss_of("values", 0.0)(*tensors(answers, labels), None)) == pytest.approx(1 / 3)


# What the output of a model holds, attention maps, and narrower copies.


def network(*, channels=8, last="softmax", size=8, stride=1):
    from tinsmith.convert.frameworks import require
    from tinsmith.convert.trained import from_keras

    keras = require("tf_keras", needed_for="the tests")
    keras.utils.set_random_seed(3)
    layers = keras.layers
    source = keras.Input((size, size, 3), name="picture")
    x = layers.Conv2D(channels, 3, strides=stride, padding="same", name="one")(source)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    y = layers.Conv2D(channels, 3, padding="same", activation="relu", name="two")(x)
    x = layers.Add(name="sum")([x, y])
    x = layers.Dense(2 * channels, activation="relu", name="wide")(layers.GlobalAveragePooling2D(name="pooled")(x))
    return from_keras(keras.Model(source, layers.Dense(3, activation=last, name="answer")(x)), "tf_keras")


@pytest.mark.tensorflow
@pytest.mark.parametrize(("last", "head"), [("softmax", "probabilities"), (None, "logits"), ("relu", "values")])
def test_the_last_activation_tells_what_a_model_answers(last, head):
    from tinsmith.compress.training.losses import head_of

    assert head_of(network(last=last)) == head


@pytest.mark.tensorflow
def test_the_attention_maps_of_the_same_model_differ_by_nothing_and_others_by_something():
    from tinsmith.compress.training.features import tap

    student, other = network(), network(channels=5)
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("f4")
    taps = tap(student, student, ["one", "two"], 10.0)
    _, *maps = taps.student.native(x)
    assert len(maps) == 2
    assert float(taps(maps, maps)) == 0
    taps = tap(student, other, ["one", "two"], 10.0)
    _, *taught = taps.teacher.native(x)
    reference = 0.0
    for one, two in zip(maps, taught, strict=True):
        energies = [np.square(np.asarray(m, np.float64)).mean(axis=-1).reshape(3, -1) for m in (one, two)]
        units = [e / np.linalg.norm(e, axis=1, keepdims=True) for e in energies]
        reference += 10.0 * np.mean(np.sum((units[0] - units[1]) ** 2, axis=1)) / 2
    assert reference > 0.01
    assert float(taps(maps, taught)) == pytest.approx(reference, rel=1e-4)


@pytest.mark.tensorflow
def test_a_tapped_model_shares_its_variables_with_the_one_that_was_tapped():
    from tinsmith.compress.training.features import tap

    student = network()
    taps = tap(student, student, ["one"], 1.0)
    student.native.get_layer("one").kernel.assign_add(np.ones((3, 3, 3, 8)))
    x = np.ones((1, 8, 8, 3), "f4")
    answers, _ = taps.student.native(x)
    np.testing.assert_array_equal(answers, student.native(x))


@pytest.mark.tensorflow
def test_a_layer_that_only_one_model_has_is_named_and_the_others_are_listed():
    from tinsmith.compress.training.features import tap

    with pytest.raises(UsageError, match="'three'") as caught:
        tap(network(), network(), ["one", "three"], 1.0)
    assert all(name in caught.value.hint for name in ("one", "two", "answer"))


@pytest.mark.tensorflow
def test_the_last_activation_is_seen_through_the_wrappers_of_a_training():
    from tinsmith.compress.passes.magnitude import MagnitudeStep
    from tinsmith.compress.training.clustering import Clustering
    from tinsmith.compress.training.losses import head_of
    from tinsmith.compress.training.rounding import Rounding
    from tinsmith.compress.training.sparsity import Pruning

    pruned = Pruning.of(network(), MagnitudeStep(), steps=1).wrapped
    shared = Clustering.of(network(), clusters=4, skip=(), pruned=False).wrapped
    rounded = Rounding.of(network(), made=()).wrapped
    assert [head_of(model) for model in (pruned, shared, rounded)] == ["probabilities"] * 3


@pytest.mark.tensorflow
def test_a_layer_that_is_used_twice_has_no_single_attention_map():
    from tinsmith.compress.training.features import tap
    from tinsmith.convert.frameworks import require
    from tinsmith.convert.trained import from_keras

    keras = require("tf_keras", needed_for="the tests")
    source = keras.Input((8, 8, 3))
    twice = keras.layers.Conv2D(3, 3, padding="same", name="twice")
    once = keras.layers.ReLU(name="once")(twice(twice(source)))
    model = from_keras(keras.Model(source, keras.layers.GlobalAveragePooling2D()(once)), "tf_keras")
    # another model with the same layer changes nothing for this one
    keras.Model(source, model.native.get_layer("once")(source))
    assert tap(model, model, ["once"], 1.0).student.outputs[1].shape[1:] == (8, 8, 3)
    with pytest.raises(UsageError, match="uses layer 'twice' 2 times"):
        tap(model, model, ["twice"], 1.0)


@pytest.mark.tensorflow
@pytest.mark.parametrize("layer", ["wide", "pooled"])
def test_a_layer_without_positions_has_no_attention_map(layer):
    from tinsmith.compress.training.features import tap

    with pytest.raises(UsageError, match=layer) as caught:
        tap(network(), network(), [layer], 1.0)
    assert "convolutions" in caught.value.hint


@pytest.mark.tensorflow
def test_maps_of_another_size_can_not_be_compared():
    from tinsmith.compress.training.features import tap

    with pytest.raises(UsageError, match=r"'two' gives .*8, 8, 8.* in the student and .*4, 4, 8"):
        tap(network(), network(stride=2), ["two"], 1.0)


@pytest.mark.tensorflow
@pytest.mark.parametrize("width", [0.01, 0.5, 0.8])
def test_a_narrower_copy_has_that_share_of_the_channels_and_the_same_answers(width):
    from tinsmith.compress.structure.narrowing import narrowed

    model = network()
    before = [w.copy() for w in model.native.get_weights()]
    copy = narrowed(model, width)
    for name, full in (("one", 8), ("two", 8), ("wide", 16)):
        kernel = copy.native.get_layer(name).kernel
        assert 1 <= kernel.shape[-1] < full
        assert kernel.shape[-1] == pytest.approx(width * full, abs=1)
        assert np.abs(kernel.numpy()).max() > 0
    # tied by the addition
    assert copy.native.get_layer("one").kernel.shape[-1] == copy.native.get_layer("two").kernel.shape[-1]
    assert copy.native.output_shape == model.native.output_shape
    assert [spec.name for spec in copy.inputs] == [spec.name for spec in model.inputs]
    for one, other in zip(model.native.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.tensorflow
def test_a_narrower_copy_draws_its_weights_anew_and_can_be_trained():
    import tensorflow as tf

    from tinsmith.compress.structure.narrowing import narrowed

    model = network()
    x = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("f4")
    labels = (x.mean(axis=(1, 2, 3)) > 0).astype("i4")
    one, other = (narrowed(model, 0.5).native for _ in range(2))
    first = one.get_layer("one").kernel.numpy()
    assert (first != other.get_layer("one").kernel.numpy()).any()
    kept = model.native.get_layer("one").kernel.numpy()
    assert not any((first[..., 0] == kept[..., at]).all() for at in range(8))
    loss, values = loss_of("probabilities", 0.0), []
    for _ in range(10):
        with tf.GradientTape() as tape:
            value = loss(one(x, training=True), labels, None)
        values.append(float(value))
        variables = one.trainable_variables
        for variable, gradient in zip(variables, tape.gradient(value, variables), strict=True):
            variable.assign_sub(0.3 * gradient)
    assert values[-1] < 0.9 * values[0]


@pytest.mark.tensorflow
def test_a_model_that_can_not_be_made_narrower_is_refused():
    from tinsmith.compress.structure.narrowing import narrowed
    from tinsmith.convert.frameworks import require
    from tinsmith.convert.trained import from_keras

    keras = require("tf_keras", needed_for="the tests")
    single = from_keras(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]), "tf_keras")
    with pytest.raises(UnsupportedOperatorError, match="narrower") as caught:
        narrowed(single, 0.5)
    assert "student" in caught.value.hint
