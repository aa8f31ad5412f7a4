"""Structured pruning: what is tied goes together, and the smaller model answers as the full one did without."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.compress.structure.allocation import by_macs, by_ratio, by_sensitivity, by_widths
from tinsmith.compress.structure.spaces import Space
from tinsmith.convert.data import Batch
from tinsmith.runtime.errors import BudgetMissedError, RecipeError

SPACES = [Space(makers=("a",), roots=(0, 1, 2, 3)), Space(makers=("b", "c"), roots=(4, 5, 6, 7, 8, 9, 10, 11))]
SCORES = {root: float((root * 7) % 12) for root in range(12)}
WIDE = [
    Space(makers=("a",), roots=tuple(range(16))),
    Space(makers=("b", "c"), roots=tuple(range(16, 56))),
    Space(makers=("d",), roots=tuple(range(56, 76))),
]
NOISE = {root: float((root * 31) % 76) for root in range(76)}


class ProductCosts:
    """Layers in a row: the first makes the first space of 3 channels, the next its own of those before, the last 10."""

    def __init__(self, spaces=SPACES):
        self._spaces = spaces

    def macs(self, dropped):
        widths = [3, *(sum(root not in dropped for root in space.roots) for space in self._spaces), 10]
        return sum(taken * made for taken, made in pairwise(widths))


def _widths(spaces, scores, dropped):
    """How many channels stay; always the most important ones, and one at least."""
    for space in spaces:
        gone, stay = ([scores[root] for root in space.roots if (root in dropped) is there] for there in (True, False))
        assert max(gone, default=-1) <= min(stay)
    return [len(set(space.roots) - dropped) for space in spaces]


def _fits(widths, spaces, multiple):
    return all(width % multiple == 0 or width == len(space.roots) for width, space in zip(widths, spaces, strict=True))


@given(share=st.floats(0.01, 0.99))
def test_a_ratio_takes_the_least_important_of_each_space_and_leaves_one(share):
    widths = _widths(SPACES, SCORES, by_ratio(SPACES, SCORES, share))
    for width, space in zip(widths, SPACES, strict=True):
        assert width >= 1
        assert width == pytest.approx(max((1 - share) * len(space.roots), 1), abs=0.51)


@given(share=st.floats(0.01, 0.99), multiple=st.integers(1, 50))
def test_what_a_ratio_leaves_is_the_nearest_multiple(share, multiple):
    widths = _widths(WIDE, NOISE, by_ratio(WIDE, NOISE, share, multiple))
    for width, space in zip(widths, WIDE, strict=True):
        whole = len(space.roots)
        allowed = [*range(multiple, whole, multiple), whole]
        assert width in allowed
        wanted = (1 - share) * whole
        assert abs(width - wanted) == min(abs(other - wanted) for other in allowed)


@given(budget=st.floats(0.35, 0.99), multiple=st.sampled_from([1, 3, 4, 8]))
def test_a_mac_budget_is_met_and_not_overdone(budget, multiple):
    costs = ProductCosts(WIDE)
    dropped = by_macs(WIDE, NOISE, costs, budget, multiple)
    assert costs.macs(dropped) <= budget * costs.macs(())
    widths = _widths(WIDE, NOISE, dropped)
    assert _fits(widths, WIDE, multiple)
    fuller = set()
    for width, space in zip(widths, WIDE, strict=True):
        roots = sorted(space.roots, key=NOISE.get)
        fuller |= set(roots[: max(len(roots) - width - multiple, 0)])
    assert costs.macs(fuller) > budget * costs.macs(())


def test_what_rounding_leaves_of_a_budget_goes_back_where_it_fits():
    spaces = [Space(makers=("a",), roots=tuple(range(16))), Space(makers=("b",), roots=tuple(range(16, 48)))]
    costs = ProductCosts(spaces)
    # of 880, b cut to 24 leaves 672, both cut leave 456, and a cut to 8 alone leaves 600
    dropped = by_macs(spaces, NOISE, costs, 0.7, 8)
    assert _widths(spaces, NOISE, dropped) == [8, 32]


def test_chosen_widths_keep_the_most_important_channels_and_leave_the_rest_alone():
    spaces = [Space(makers=("a", "sum"), roots=(0, 1, 2, 3)), Space(makers=("b",), roots=(4, 5, 6))]
    scores = {0: 3.0, 1: 1.0, 2: 2.0, 3: 4.0}
    assert by_widths(spaces, scores, {"sum": 3}) == {1}
    assert by_widths(spaces, scores, {"a": 2, "sum": 2}) == {1, 2}
    heads = [Space(makers=("attention",), roots=(0, 1, 2), per_root=6)]
    assert len(by_widths(heads, scores, {"attention": 6})) == 2


@pytest.mark.parametrize(
    ("widths", "said"),
    [
        ({"c": 1}, "no channels of c can go; they can of a, b, sum"),
        ({"b": 4}, "it has 3"),
        ({"a": 2, "sum": 3}, "2 and 3 of them are wanted"),
        ({"heads": 8}, "in steps of 6"),
    ],
)
def test_widths_that_a_model_does_not_have_are_an_error_of_the_recipe(widths, said):
    spaces = [Space(makers=("a", "sum"), roots=(0, 1, 2, 3)), Space(makers=("b",), roots=(4, 5, 6))]
    if "heads" in widths:
        spaces.append(Space(makers=("heads",), roots=(7, 8, 9), per_root=6))
    with pytest.raises(RecipeError, match=said):
        by_widths(spaces, {}, widths)


def test_heads_stay_in_numbers_whose_channels_are_a_multiple():
    heads = Space(makers=("attention",), roots=tuple(range(12)), per_root=6)
    assert [heads.nearest(wanted, 8) for wanted in (0.5, 5.9, 6, 9.9, 12)] == [4, 4, 8, 8, 12]
    assert [heads.nearest(wanted, 6) for wanted in (0.5, 5.6)] == [1, 6]


def test_a_budget_that_no_channel_can_reach_says_how_far_it_goes():
    with pytest.raises(BudgetMissedError, match="remain"):
        by_macs(SPACES, SCORES, ProductCosts(), 0.01)
    with pytest.raises(BudgetMissedError, match="remain"):
        by_sensitivity(SPACES, SCORES, ProductCosts(), 0.01, len)
    with pytest.raises(BudgetMissedError, match="with 8 channels left") as caught:
        by_macs(WIDE, NOISE, ProductCosts(WIDE), 0.01, 8)
    assert "smaller multiple" in caught.value.hint


@pytest.mark.parametrize("harmless", [0, 1])
def test_sensitivity_takes_from_the_space_that_does_not_mind(harmless):
    minded = set(SPACES[1 - harmless].roots)
    dropped = by_sensitivity(SPACES, SCORES, ProductCosts(), 0.8, lambda gone: 100.0 * len(gone & minded))
    assert not dropped & minded
    assert ProductCosts().macs(dropped) <= 0.8 * ProductCosts().macs(())


@given(
    budget=st.floats(0.35, 0.99),
    multiple=st.sampled_from([1, 4, 8]),
    weights=st.lists(st.floats(0, 1), min_size=76, max_size=76),
)
def test_a_sensitivity_budget_is_met_by_multiples_and_nothing_affordable_stays_out(budget, multiple, weights):
    costs = ProductCosts(WIDE)
    wanted = budget * costs.macs(())
    asked = [set()]

    def harm(gone):
        asked.append(gone)
        return sum(weights[root] for root in gone)

    dropped = by_sensitivity(WIDE, NOISE, costs, budget, harm, multiple)
    assert costs.macs(dropped) <= wanted
    assert _fits(_widths(WIDE, NOISE, dropped), WIDE, multiple)
    for space in WIDE:
        gone = dropped.intersection(space.roots)
        for less in asked:
            if less < gone:
                assert costs.macs(dropped - gone | less) > wanted


def test_a_far_rung_is_taken_where_it_is_cheaper_than_the_first_step_elsewhere():
    """All but one channel of b cost no more than one of them: that the first step is dear must not hide it."""
    spaces = [Space(makers=("a",), roots=tuple(range(8))), Space(makers=("b",), roots=tuple(range(8, 16)))]
    costs = ProductCosts(spaces)

    def harm(gone):
        return 20.0 if gone & set(spaces[1].roots) else 2.0 * len(gone)

    dropped = by_sensitivity(spaces, NOISE, costs, 0.4, harm)
    assert _widths(spaces, NOISE, dropped) == [8, 2]


def _layers():
    import tf_keras

    return tf_keras.layers


def _residual():
    """Residual add, concatenation, depthwise, batch norm, two kinds of heads."""
    import tf_keras

    layers = _layers()
    source = tf_keras.Input((8, 8, 3))
    stem = layers.Conv2D(6, 3, padding="same", name="stem")(source)
    x = layers.BatchNormalization(name="stem_bn")(stem)
    x = layers.ReLU()(x)
    y = layers.Conv2D(5, 3, padding="same", use_bias=False, name="inner")(x)
    y = layers.BatchNormalization(name="inner_bn")(y)
    y = layers.LeakyReLU()(y)
    y = layers.Conv2D(6, 1, name="outer")(y)
    x = layers.Add()([x, y])
    z = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    z = layers.SeparableConv2D(4, 3, padding="same", name="separable")(z)
    x = layers.Concatenate()([z, x])
    x = layers.MaxPooling2D()(x)
    pooled = layers.GlobalAveragePooling2D()(x)
    flat = layers.Flatten()(layers.Conv1D(4, 3, name="rows")(layers.Reshape((16, 10))(x)))
    hidden = layers.Dense(7, activation="relu", name="hidden")(flat)
    return tf_keras.Model(
        source, layers.Dense(3, activation="softmax", name="head")(layers.Concatenate()([pooled, hidden]))
    )


def _shared():
    """One layer used twice, a transposed convolution, a scaled sequence."""
    import tf_keras

    layers = _layers()
    source = tf_keras.Input((6, 6, 2))
    shared = layers.Conv2D(4, 3, padding="same", activation="relu", name="shared")
    one = layers.Conv2D(4, 1, name="one")(source)
    x = layers.Add()([shared(one), shared(layers.Conv2D(4, 1, name="two")(source))])
    x = layers.Conv2DTranspose(5, 2, strides=2, name="up")(x)
    return tf_keras.Model(source, layers.Dense(2, name="head")(layers.GlobalMaxPooling2D()(x)))


def _attention():
    import tf_keras

    layers = _layers()
    source = tf_keras.Input((5, 8))
    x = layers.Dense(8, name="embed")(source)
    attended = layers.MultiHeadAttention(4, 3, name="attention")(x, x)
    x = layers.Add()([x, attended])
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.Dense(6, activation="gelu", name="wide")(x)
    return tf_keras.Model(source, layers.Dense(2, name="head")(layers.GlobalAveragePooling1D()(x)))


@pytest.fixture(scope="module", params=[_residual, _shared, _attention], ids=lambda build: build.__name__)
def net(request):
    import tf_keras

    from tinsmith.compress.structure.coupling import couple
    from tinsmith.compress.structure.spaces import spaces_of
    from tinsmith.convert.trained import from_keras

    tf_keras.utils.set_random_seed(7)
    model = request.param()
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 1, w.shape).astype("f4") * rng.choice([-1, 1], w.shape) if "var" not in v.name
                       else rng.uniform(0.5, 2, w.shape).astype("f4")
                       for w, v in zip(model.get_weights(), model.weights, strict=True)])  # fmt: skip
    coupling = couple(model)
    feeds = {model.inputs[0].name: rng.standard_normal((4, *model.inputs[0].shape[1:])).astype("f4")}
    trained = from_keras(model, "tf_keras")
    batch = Batch(feeds={trained.inputs[0].name: next(iter(feeds.values()))}, labels=np.array([0, 1, 0, 1]))
    return SimpleNamespace(model=model, trained=trained, coupling=coupling, spaces=spaces_of(coupling), batch=batch)


@pytest.mark.tensorflow
@settings(max_examples=12)
@given(data=st.data())
def test_the_smaller_model_answers_as_if_nobody_read_the_dropped_channels(net, data):
    from tinsmith.compress.structure.coupling import couple
    from tinsmith.compress.structure.rebuild import rebuild
    from tinsmith.compress.structure.sensitivity import Harm
    from tinsmith.compress.structure.spaces import Costs

    dropped = set()
    for space in net.spaces:
        keep = data.draw(st.sampled_from(space.roots))
        dropped |= {root for root in space.roots if root != keep and data.draw(st.booleans())}
    x = next(iter(net.batch.feeds.values()))
    harm = Harm(net.coupling, net.trained, lambda: [net.batch])
    with harm._unread(dropped):
        expected = net.model(x).numpy()
    smaller = rebuild(net.model, net.coupling, dropped)
    np.testing.assert_allclose(smaller(x).numpy(), expected, rtol=1e-4, atol=1e-4)
    assert Costs(net.coupling).macs(dropped) == Costs(couple(smaller)).macs(())
    assert (smaller.count_params() < net.model.count_params()) == bool(dropped)


@pytest.mark.tensorflow
def test_everything_that_can_be_followed_is_found():
    from tinsmith.compress.structure.coupling import couple
    from tinsmith.compress.structure.spaces import spaces_of

    residual, attention = couple(_residual()), couple(_attention())
    assert {space.makers for space in spaces_of(residual)} == {
        ("stem", "outer"), ("inner",), ("separable",), ("rows",), ("hidden",)
    }  # fmt: skip
    assert residual.followed_not == {}
    assert {space.makers for space in spaces_of(attention)} == {("attention",), ("wide",)}
    assert list(attention.followed_not) == ["norm"]


@pytest.mark.tensorflow
def test_a_layer_that_nobody_knows_is_gone_around_and_named():
    import tf_keras

    from tinsmith.compress.structure.coupling import couple
    from tinsmith.compress.structure.spaces import spaces_of

    layers = _layers()
    source = tf_keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="before")(source)
    x = layers.Conv2D(4, 3, groups=2, name="grouped")(x)
    x = layers.Conv2D(5, 1, activation="softmax", name="mixed")(x)
    x = layers.Conv2D(6, 1, name="after")(x)
    model = tf_keras.Model(source, layers.Dense(2, name="head")(layers.Flatten()(x)))
    coupling = couple(model)
    assert {space.makers for space in spaces_of(coupling)} == {("after",)}
    assert "groups" in coupling.followed_not["grouped"]


@pytest.mark.tensorflow
def test_least_squares_gives_back_what_copies_of_channels_held():
    """Each channel of the first layer stands twice: without the copies, refitted layers lose nothing."""
    import tf_keras

    from tinsmith.compress.structure.coupling import couple
    from tinsmith.compress.structure.rebuild import rebuild
    from tinsmith.compress.structure.reconstruction import reconstruct
    from tinsmith.convert.trained import from_keras

    layers = _layers()
    source = tf_keras.Input((6, 6, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="twice")(source)
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="next")(x)
    model = tf_keras.Model(source, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)))
    twice = model.get_layer("twice")
    kernel, bias = (np.array(w) for w in twice.get_weights())
    twice.set_weights([np.concatenate([kernel[..., :3]] * 2, axis=-1), np.concatenate([bias[:3]] * 2)])
    coupling = couple(model)
    dropped = {int(root) for root in coupling.roots(coupling.layers["twice"].given)[3:]}
    full, small = from_keras(model, "tf_keras"), from_keras(rebuild(model, coupling, dropped), "tf_keras")
    x = np.random.default_rng(0).standard_normal((64, 6, 6, 3)).astype("f4")
    batch = SimpleNamespace(feeds={full.inputs[0].name: x})

    def kept(name):
        return [at for at, root in enumerate(coupling.roots(coupling.layers[name].given)) if int(root) not in dropped]

    expected = model(x).numpy()
    lost = np.abs(small.native(x).numpy() - expected).max()
    assert reconstruct(full, small, kept, lambda: [batch]) == ["next"]
    assert np.abs(small.native(x).numpy() - expected).max() < 0.02 * lost


@pytest.mark.tensorflow
@pytest.mark.parametrize("kind", ["l1", "bn-scale", "taylor"])
def test_a_channel_that_does_nothing_is_the_least_important(kind):
    import tf_keras

    from tinsmith.compress.structure.coupling import couple
    from tinsmith.compress.structure.importance import importances
    from tinsmith.convert.trained import from_keras

    layers = _layers()
    source = tf_keras.Input((6, 6, 3))
    x = layers.Conv2D(5, 3, use_bias=False, name="conv")(source)
    x = layers.ReLU()(layers.BatchNormalization(name="bn")(x))
    model = tf_keras.Model(source, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    for layer, at in (("conv", 0), ("bn", 0)):
        weights = model.get_layer(layer).get_weights()
        weights[at][..., 2] = 1e-6
        model.get_layer(layer).set_weights(weights)
    coupling = couple(model)
    rng = np.random.default_rng(0)
    trained = from_keras(model, "tf_keras")
    batch = Batch(
        feeds={trained.inputs[0].name: rng.standard_normal((8, 6, 6, 3)).astype("f4")}, labels=rng.integers(0, 2, 8)
    )
    scores = importances(kind, coupling, trained, lambda: [batch])
    roots = [int(root) for root in coupling.roots(coupling.layers["conv"].given)]
    assert min(roots, key=scores.get) == roots[2]
