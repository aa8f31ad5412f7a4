"""What the search for dead channels claims about ranges, steepness and answers, held against plain arithmetic."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.compress.dead_channels.analysis import find_dead
from tinsmith.compress.dead_channels.draft import Draft
from tinsmith.compress.dead_channels.functions import FUNCTIONS, Clip, elu, hard_sigmoid, leaky_relu
from tinsmith.compress.dead_channels.graph import Graph
from tinsmith.compress.dead_channels.layers import Depthwise, Linear, PerChannel
from tinsmith.compress.dead_channels.nodes import (
    Concat,
    Elementwise,
    Opaque,
    Pool,
    Product,
    Rearrangement,
    Regroup,
    Softmax,
    Source,
    Sum,
)
from tinsmith.compress.dead_channels.ranges import Ranges

LENGTH = 3  # positions of a signal; a flattened one has 1
LARGEST = 8.0
ALL_FUNCTIONS = {
    **FUNCTIONS,
    "leaky": leaky_relu(0.1),
    "steep leaky": leaky_relu(3.0),
    "elu": elu(1.0),
    "steep elu": elu(2.5),
    "hard sigmoid": hard_sigmoid(0.2, 0.5),
}


def apply(function, x):
    return np.clip(x, function.low, function.high) if isinstance(function, Clip) else function.apply(x)


# Functions of one number.


@pytest.mark.parametrize("name", ALL_FUNCTIONS)
@settings(max_examples=40, deadline=None)
@given(
    center=st.floats(-60, 60),
    radius=st.sampled_from([0.0, 1e-12, 1e-5, 0.3]) | st.floats(0, 40),
    shares=st.lists(st.floats(-1, 1), min_size=2, max_size=6),
)
def test_the_range_and_the_slope_of_a_function_hold_for_every_number_in_the_interval(name, center, radius, shares):
    function = ALL_FUNCTIONS[name]
    taken = Ranges(np.array([center]), np.array([radius]))
    x = center + radius * np.array([*shares, -1.0, 1.0])
    y = apply(function, x)
    found = function.ranges(taken)
    rounding = 4e-15 * (1 + np.abs(y).max())
    assert (y >= found.low - rounding).all()
    assert (y <= found.high + rounding).all()
    far = np.abs(x[:, None] - x[None, :])
    assert (np.abs(y[:, None] - y[None, :]) <= function.slopes(taken)[0] * far + 2 * rounding).all()


@pytest.mark.parametrize("name", ALL_FUNCTIONS)
def test_a_function_of_anything_is_bounded_no_closer_than_it_is(name):
    function = ALL_FUNCTIONS[name]
    found = function.ranges(Ranges.unknown(1))
    y = apply(function, np.linspace(-1e3, 1e3, 2001))
    assert found.low[0] <= y.min()
    assert found.high[0] >= y.max()


@pytest.mark.parametrize("name", ALL_FUNCTIONS)
@pytest.mark.parametrize("center", [-1.2784645427610738, -1.0, -0.5, 0.5, 1.0, 5.5])
def test_a_channel_that_moves_by_next_to_nothing_still_moves_behind_a_function(name, center):
    function = ALL_FUNCTIONS[name]
    found = function.ranges(Ranges(np.array([center]), np.array([1e-30])))
    flat = isinstance(function, Clip) and not function.low < center < function.high
    assert found.radius[0] > 0 or flat
    assert found.radius[0] <= 3.01e-30
    assert abs(found.center[0] - apply(function, np.array([center]))[0]) < 1e-12


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_a_saturated_curve_is_no_constant_although_float64_says_so(name):
    found = FUNCTIONS[name].ranges(Ranges(np.array([60.0]), np.array([5.0])))
    assert apply(FUNCTIONS[name], np.array([55.0])) == apply(FUNCTIONS[name], np.array([65.0]))
    assert 0 < found.radius[0] < 1e-15


@pytest.mark.parametrize("made", [leaky_relu, elu, lambda slope: hard_sigmoid(slope, 0.5)])
def test_a_function_that_would_fall_is_not_followed(made):
    assert made(-0.1) is None
    assert made(float("nan")) is None


@given(low=st.floats(-9, 9), width=st.floats(0, 9), high=st.sampled_from([0.0, 1.0, 6.0, np.inf]))
def test_a_clip_loses_nothing_of_what_it_lets_through(low, width, high):
    taken = Ranges.between([low], [low + width])
    found = Clip(0.0, high).ranges(taken)
    assert found.low[0] == pytest.approx(np.clip(taken.low[0], 0, high), abs=1e-14)
    assert found.high[0] == pytest.approx(np.clip(taken.high[0], 0, high), abs=1e-14)


@given(ends=st.lists(st.floats(-9, 9), min_size=4, max_size=4), shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_product_lies_in_the_range_of_products(ends, shares):
    one, other = Ranges.between([min(ends[:2])], [max(ends[:2])]), Ranges.between([min(ends[2:])], [max(ends[2:])])
    found = Product(name="p", inputs=("a", "b"), output="p").ranges([one, other])
    a, b = (r.low + share * (r.high - r.low) for r, share in zip((one, other), shares, strict=True))
    assert found.low[0] - 1e-12 <= a * b <= found.high[0] + 1e-12
    corners = [x * y for x in (one.low, one.high) for y in (other.low, other.high)]
    assert found.low[0] == pytest.approx(min(corners), abs=1e-9)
    assert found.high[0] == pytest.approx(max(corners), abs=1e-9)


def test_a_product_of_channels_that_hardly_move_still_moves():
    near_one = Ranges(np.array([1.0, 3.0]), np.array([1e-30, 1e-30]))
    found = Product(name="p", inputs=("a", "b"), output="p").ranges([near_one, Ranges(np.ones(2), np.zeros(2))])
    np.testing.assert_allclose(found.radius, 1e-30, rtol=1e-9)
    np.testing.assert_array_equal(found.center, [1, 3])


def test_what_is_not_known_stays_unknown_through_arithmetic():
    unknown, one = Ranges.unknown(1), Ranges(np.ones(1), np.zeros(1))
    weights = {"summed": np.array([[0.0], [2.0]]), "absolute": np.array([[0.0], [2.0]]), "bias": np.array([5.0, 6.0])}
    found = Linear(name="l", inputs=("a",), output="l", **weights).ranges([unknown])
    np.testing.assert_array_equal(found.radius, [0, np.inf])
    assert found.center[0] == 5
    assert Sum(name="s", inputs=("a", "b"), output="s", signs=(1, -1)).ranges([unknown, one]).radius[0] == np.inf
    product = Product(name="p", inputs=("a", "b"), output="p")
    assert product.ranges([unknown, one]).radius[0] == np.inf
    zero = product.ranges([unknown, Ranges(np.zeros(1), np.zeros(1))])
    assert zero.center[0] == zero.radius[0] == 0


# Graphs.


@dataclass
class Net:
    """A graph, and the windows of its layers: ``Linear`` holds only their sums."""

    nodes: list = field(default_factory=list)
    windows: dict = field(default_factory=dict)
    widths: dict = field(default_factory=dict)
    lengths: dict = field(default_factory=dict)
    outputs: set = field(default_factory=set)

    def add(self, kind, *inputs, width=None, length=None, **settings):
        name = f"{kind.__name__.lower()}{len(self.nodes)}"
        if kind in (Opaque, Rearrangement):
            settings |= {"width": width, "reason": "nobody knows it"}
        self.nodes.append(kind(name=name, inputs=inputs, output=name, **settings))
        self.widths[name] = max(self.widths[i] for i in inputs) if width is None else width
        self.lengths[name] = max(self.lengths[i] for i in inputs) if length is None else length
        return name

    def source(self, width):
        name = f"source{len(self.nodes)}"
        self.nodes.append(Source(name=name, inputs=(), output=name, width=width, low=-LARGEST, high=LARGEST))
        self.widths[name], self.lengths[name] = width, LENGTH
        return name

    def linear(self, taken, window, bias=None, *, padded=False):
        """A convolution; ``window`` is [taps, out, in], or [out, in] for one tap."""
        window = np.asarray(window, float)
        window = window if window.ndim == 3 else window[None]
        bias = np.zeros(window.shape[1]) if bias is None else np.asarray(bias, float)
        name = self.add(Linear, taken, width=window.shape[1], summed=window.sum(axis=0), bias=bias, padded=padded,
                        absolute=np.abs(window).sum(axis=0))  # fmt: skip
        self.windows[name] = window
        return name

    def depthwise(self, taken, window, bias=None, *, padded=False):
        """``window`` is [taps, channels that come out]."""
        window = np.atleast_2d(np.asarray(window, float))
        bias = np.zeros(window.shape[1]) if bias is None else np.asarray(bias, float)
        kind = Depthwise if len(window) > 1 else PerChannel
        name = self.add(kind, taken, width=window.shape[1], summed=window.sum(axis=0), bias=bias, padded=padded,
                        absolute=np.abs(window).sum(axis=0))  # fmt: skip
        self.windows[name] = window
        return name

    def apply(self, taken, function):
        return self.add(Elementwise, taken, function=function)

    def flatten(self, taken):
        length, width = self.lengths[taken], self.widths[taken]
        source = np.tile(np.arange(width), length)
        return self.add(Regroup, taken, width=length * width, length=1, source=source)

    def graph(self, *outputs, **groups):
        self.outputs = set(outputs)
        named = {name: np.array(own) for name, own in groups.items()}
        return Graph(nodes=tuple(self.nodes), outputs=frozenset(outputs), groups=named)

    def run(self, feeds, *, removal=None, instead=None):
        """Every value, [samples, length, channels] each, in float64; of what is left, where something was removed."""
        values = {}
        for node in self.nodes:
            if isinstance(node, Source):
                values[node.output] = feeds[node.output]
            else:
                taken = [values[name] for name in node.inputs]
                values[node.output] = self._value(node, taken, removal)
            if instead and node.output in instead:
                values[node.output] = instead[node.output]
        return values

    def _value(self, node, taken, removal):  # noqa: C901, PLR0911 - one line a kind
        x = taken[0]
        match node:
            case Linear() | PerChannel():
                return self._weighed(node, x, removal)
            case Elementwise():
                return apply(node.function, x)
            case Pool():
                return np.concatenate([0 * x[:, :1], x[:, :-1]], 1) if node.zeros else x.mean(axis=1, keepdims=True)
            case Sum():
                return sum(sign * other for sign, other in zip(node.signs, taken, strict=True))
            case Product():
                return taken[0] * taken[1]
            case Concat():
                shape = (len(x), self.lengths[node.output])
                return np.concatenate([np.broadcast_to(t, (*shape, t.shape[2])) for t in taken], axis=2)
            case Regroup():
                return x.reshape(len(x), 1, -1)
            case Softmax():
                shares = np.exp(node.steepness * (x - x.max(axis=2, keepdims=True)))
                shares = shares / shares.sum(axis=2, keepdims=True)
                return np.log(np.maximum(shares, 1e-300)) if node.logarithm else shares
            case Rearrangement():
                return self._anywhere(node, x[:, ::-1, ::-1])
            case Opaque():
                return self._anywhere(node, np.sign(x - 0.1234567))
        raise AssertionError(node)

    def _weighed(self, node, x, removal):
        window, bias = self.windows[node.name], node.bias
        if removal is not None:
            given = removal.kept[node.output]
            window, bias = window[:, given], removal.biases.get(node.name, bias[given])
            if isinstance(node, Linear):
                window = window[:, :, removal.kept[node.inputs[0]]]
        if isinstance(node, PerChannel):
            x = np.repeat(x, window.shape[1] // x.shape[2], axis=2)
        reach = len(window) // 2
        before, after = (0 * x[:, :1], 0 * x[:, :1]) if node.padded else (x[:, :1], x[:, -1:])
        wide = np.concatenate([before] * reach + [x] + [after] * reach, axis=1)
        seen = (wide[:, at : at + x.shape[1]] for at in range(len(window)))
        if isinstance(node, Linear):
            return sum(part @ tap.T for part, tap in zip(seen, window, strict=True)) + bias
        return sum(part * tap for part, tap in zip(seen, window, strict=True)) + bias

    def _anywhere(self, node, x):
        shape = (self.lengths[node.output], node.width)
        return np.stack([np.resize(sample.ravel(), shape) for sample in x])

    def moved(self, graph, removal, feeds):
        """The sum over all output channels of how far they were moved at the most."""
        whole, left = self.run(feeds), self.run(feeds, removal=removal)
        return sum(furthest(left[name], whole[name]).sum() for name in sorted(graph.outputs))


def furthest(one, other):
    """The greatest difference of each channel, over all samples and positions."""
    return np.abs(one - other).max(axis=(0, 1))


def feeds_of(net, rng, count=6):
    """Random signals; every second one at the very ends of what may go in."""
    found = {}
    for node in net.nodes:
        if isinstance(node, Source):
            found[node.output] = rng.uniform(node.low, node.high, (count, LENGTH, node.width))
            found[node.output][::2] = rng.choice([node.low, node.high], found[node.output][::2].shape)
    return found


SIZES = [0.0, 1e-45, 1e-30, 1e-12, 1e-9, 1e-4]
KINDS = ["linear", "padded", "unread", "depthwise", "scale", "function", "function", "sum", "product", "concat", "pool",
         "pad", "flatten", "softmax", "moved", "opaque"]  # fmt: skip


def some_weights(rng, shape):
    """Weights with rows and columns that are zero, next to nothing, or small."""
    weights = rng.normal(0, 0.6, shape)
    for axis in range(1, len(shape)):
        small = rng.choice([1.0, 1.0, 1.0, *SIZES], shape[axis])
        weights = weights * np.expand_dims(small, [a for a in range(len(shape)) if a != axis])
    return weights


def some_bias(rng, width):
    return rng.choice([0.0, 0.7, 2.0, -3.0, -30.0, 40.0], width)


def random_net(kinds, rng):
    net = Net()
    values = [net.source(int(rng.integers(1, 4)))]
    values.append(net.linear(values[0], some_weights(rng, (1, 4, net.widths[values[0]])), some_bias(rng, 4)))
    for kind in kinds:
        values.append(_added(net, kind, values, rng))
    outputs = {values[-1], values[int(rng.integers(len(values)))]}
    return net, net.graph(*outputs)


def _added(net, kind, values, rng):  # noqa: C901, PLR0911 - one line a kind
    taken = values[-1] if rng.random() < 0.7 else values[int(rng.integers(len(values)))]
    width, length = net.widths[taken], net.lengths[taken]
    if kind in ("linear", "padded", "unread"):
        taps = 3 if kind == "padded" and length > 1 else 1
        window = some_weights(rng, (taps, int(rng.integers(1, 5)), width))
        return net.linear(taken, window, some_bias(rng, window.shape[1]), padded=taps > 1)
    if kind in ("depthwise", "scale"):
        taps = 3 if kind == "depthwise" and length > 1 else 1
        times = int(rng.integers(1, 3)) if width < 8 else 1
        padded = bool(taps > 1 and rng.random() < 0.7)
        return net.depthwise(
            taken, some_weights(rng, (taps, width * times)), some_bias(rng, width * times), padded=padded
        )
    if kind == "function":
        return net.apply(taken, list(ALL_FUNCTIONS.values())[rng.integers(len(ALL_FUNCTIONS))])
    if kind in ("sum", "product"):
        fits = [v for v in values if net.widths[v] in (width, 1)]
        pair = (taken, fits[int(rng.integers(len(fits)))])
        return net.add(Sum, *pair, signs=(1, int(rng.choice([1, -1])))) if kind == "sum" else net.add(Product, *pair)
    if kind == "concat":
        pair = (taken, values[int(rng.integers(len(values)))])
        return net.add(Concat, *pair, width=sum(net.widths[v] for v in pair))
    if kind == "flatten":
        return net.flatten(taken) if length * width < 16 else net.apply(taken, FUNCTIONS["relu"])
    if kind == "pool":
        return net.add(Pool, taken, length=1)
    if kind == "pad":
        return net.add(Pool, taken, zeros=True)
    if kind == "softmax":
        return net.add(Softmax, taken, steepness=float(rng.choice([1.0, 2.0])), logarithm=bool(rng.random() < 0.3))
    return net.add({"moved": Rearrangement, "opaque": Opaque}[kind], taken, width=width)


graphs = st.tuples(st.lists(st.sampled_from(KINDS), min_size=2, max_size=9), st.integers(0, 2**32 - 1))


def scale_of(values):
    return 1 + max(float(np.abs(v).max()) for v in values.values())


@settings(max_examples=60, deadline=None)
@given(drawn=graphs)
def test_every_value_lies_in_its_range(drawn):
    rng = np.random.default_rng(drawn[1])
    net, graph = random_net(drawn[0], rng)
    ranges = graph.ranges()
    values = net.run(feeds_of(net, rng))
    rounding = 1e-12 * scale_of(values)
    for name, value in values.items():
        assert (value >= ranges[name].low - rounding).all(), name
        assert (value <= ranges[name].high + rounding).all(), name


@settings(max_examples=60, deadline=None)
@given(drawn=graphs)
def test_an_error_of_a_channel_moves_the_outputs_no_further_than_its_gain_says(drawn):
    rng = np.random.default_rng(drawn[1])
    net, graph = random_net(drawn[0], rng)
    gains = graph.gains(graph.ranges())
    feeds = feeds_of(net, rng)
    values = net.run(feeds)
    rounding = 1e-11 * scale_of(values)
    for name, value in values.items():
        at = int(rng.integers(value.shape[2]))
        wrong = value.copy()
        wrong[..., at] = value[::-1, ..., at]  # what it is for another sample lies in its range
        moved = net.run(feeds, instead={name: wrong})
        far = [np.abs(moved[out] - values[out]).max(axis=1).sum(axis=1) for out in sorted(graph.outputs)]
        error = np.abs(wrong - value).max(axis=(1, 2))
        allowed = np.where(error > 0, gains[name][at], 0.0) * np.where(error > 0, error, 1.0)
        assert (sum(far) <= allowed * (1 + 1e-9) + rounding).all(), name


@settings(max_examples=120, deadline=None)
@given(drawn=graphs, bound=st.sampled_from([0.0, 2.0**-24, 1e-4, 0.1, 3.0]))
def test_the_outputs_move_by_no_more_than_the_bound_that_is_stated(drawn, bound):
    rng = np.random.default_rng(drawn[1])
    net, graph = random_net(drawn[0], rng)
    removal = find_dead(graph, bound)
    assert removal.bound <= bound
    feeds = feeds_of(net, rng)
    rounding = 1e-11 * scale_of(net.run(feeds))
    assert net.moved(graph, removal, feeds) <= removal.bound + rounding
    assert all(len(places) >= 1 for places in removal.kept.values())
    assert all(len(removal.kept[name]) == removal.widths[name] for name in graph.outputs)
    assert (removal.rounds == 0) == all(len(removal.kept[n]) == w for n, w in removal.widths.items())


@settings(max_examples=20, deadline=None)
@given(drawn=graphs)
def test_a_larger_bound_never_leaves_more(drawn):
    _, graph = random_net(drawn[0], np.random.default_rng(drawn[1]))
    removed = [find_dead(graph, bound).removed for bound in (0.0, 1e-30, 1e-6)]
    assert removed == sorted(removed)


# Single cases, by hand.


def one_layer(first, bias, second, *, padded=False):
    """Source of 1 channel, a layer, ReLU, and a layer that reads it."""
    net = Net()
    inner = net.apply(net.linear(net.source(1), first, bias), FUNCTIONS["relu"])
    second = np.asarray(second, float)
    return net, net.graph(net.linear(inner, second, padded=padded))


def kept_of(removal, kind, number=0):
    return [list(places) for name, places in removal.kept.items() if name.startswith(kind)][number]


THREE_TAPS = np.ones((3, 1, 2))


def test_a_constant_above_zero_stays_before_a_padded_layer():
    _, graph = one_layer([[1], [0]], [0, 0.5], THREE_TAPS, padded=True)
    removal = find_dead(graph, 2.0**-24)
    assert (removal.removed, removal.bound, removal.rounds) == (0, 0, 0)
    assert kept_of(removal, "linear") == [0, 1]


def test_a_constant_of_zero_goes_before_a_padded_layer():
    net, graph = one_layer([[1], [0]], [0, -0.5], THREE_TAPS, padded=True)
    removal = find_dead(graph, 0.0)
    assert (removal.channels, removal.removed, removal.bound) == (3, 1, 0)
    assert kept_of(removal, "linear") == [0]
    assert removal.biases == {}
    assert net.moved(graph, removal, feeds_of(net, np.random.default_rng(0))) == 0


def test_a_constant_above_zero_goes_into_the_bias_of_a_layer_that_is_not_padded():
    _, graph = one_layer([[1], [0]], [0, 0.5], [[1, 4]])
    removal = find_dead(graph, 0.0)
    assert kept_of(removal, "linear") == [0]
    (bias,) = removal.biases.values()
    np.testing.assert_array_equal(bias, [2.0])


def test_weights_that_decayed_to_next_to_nothing_are_dead_for_inputs_of_ten_thousand():
    net = Net()
    source = Source(name="x", inputs=(), output="x", width=1, low=-1e4, high=1e4)
    net.nodes.append(source)
    net.widths["x"], net.lengths["x"] = 1, LENGTH
    graph = net.graph(net.linear(net.linear("x", [[1], [1e-30]], [0, 0.25]), [[1, 2]]))
    removal = find_dead(graph, 2.0**-24)
    assert removal.removed == 1
    assert removal.bound == pytest.approx(2e-26)
    assert next(iter(removal.biases.values())) == pytest.approx([0.5])
    assert find_dead(graph, 1e-27).removed == 0


def test_weights_that_a_later_layer_makes_up_for_are_not_dead():
    net = Net()
    inner = net.linear(net.source(1), [[1], [1e-30]])
    graph = net.graph(net.linear(inner, [[1, 1e30]]))
    assert find_dead(graph, 2.0**-24).removed == 0


def test_weights_that_a_later_layer_makes_up_for_through_a_product_near_one_are_not_dead():
    net = Net()
    inner = net.linear(net.source(1), [[1], [1e-30]], [0, 1])
    ones = net.linear(net.nodes[0].output, [[0], [0]], [1, 1])
    product = net.add(Product, inner, ones)
    graph = net.graph(net.linear(product, [[1, 1e30]]))
    assert find_dead(graph, 2.0**-24).removed == 0


def test_channels_of_an_output_stay_although_they_are_constant():
    net = Net()
    graph = net.graph(net.linear(net.source(1), [[0], [0]], [1, 2]))
    assert find_dead(graph, 1.0).removed == 0


def test_a_channel_that_is_read_and_given_out_stays():
    net = Net()
    inner = net.linear(net.source(1), [[1], [0]])
    graph = net.graph(inner, net.linear(inner, [[1, 1]]))
    assert find_dead(graph, 1.0).removed == 0


def residual(first, second, reads):
    net = Net()
    source = net.source(1)
    both = net.add(Sum, net.linear(source, first), net.linear(source, second), signs=(1, 1))
    return net.graph(net.linear(both, reads))


def test_channels_that_are_added_go_only_where_both_are_dead():
    assert find_dead(residual([[1], [0]], [[1], [2]], [[1, 1]]), 0.0).removed == 0
    removal = find_dead(residual([[1], [0]], [[1], [0]], [[1, 1]]), 0.0)
    assert removal.removed == 2
    assert kept_of(removal, "linear", 0) == kept_of(removal, "linear", 1) == kept_of(removal, "sum") == [0]


def test_channels_that_nothing_reads_go_however_alive_they_are():
    removal = find_dead(residual([[1], [5]], [[1], [3]], [[1, 0]]), 0.0)
    assert (removal.removed, removal.bound, dict(removal.biases)) == (2, 0, {})


def test_a_depthwise_channel_that_is_dead_takes_the_one_that_it_reads_along():
    net = Net()
    inner = net.linear(net.source(1), [[1], [1]])
    deep = net.depthwise(inner, [[1, 0], [1, 0], [1, 0]], [0, 3], padded=True)
    graph = net.graph(net.linear(deep, [[1, 2]]))
    removal = find_dead(graph, 0.0)
    assert (removal.channels, removal.removed) == (5, 2)
    assert kept_of(removal, "linear") == kept_of(removal, "depthwise") == [0]
    np.testing.assert_array_equal(next(iter(removal.biases.values())), [6.0])


def test_a_depthwise_channel_is_constant_only_where_no_border_is_seen():
    net = Net()
    inner = net.linear(net.source(1), [[1], [0]], [0, 2])
    deep = net.depthwise(inner, np.ones((3, 2)), padded=True)
    graph = net.graph(net.linear(deep, [[1, 1]]))
    assert find_dead(graph, 2.0**-24).removed == 0


def test_a_flattened_channel_goes_with_all_its_positions():
    net = Net()
    flat = net.flatten(net.linear(net.source(1), [[1], [0], [1]], [0, 2, 0]))
    graph = net.graph(net.linear(flat, [np.arange(1.0, 10)]))
    removal = find_dead(graph, 0.0)
    assert kept_of(removal, "regroup") == [0, 2, 3, 5, 6, 8]
    np.testing.assert_array_equal(next(iter(removal.biases.values())), [2.0 * (2 + 5 + 8)])


def test_what_becomes_constant_or_unread_goes_in_a_later_round_until_nothing_is_left_to_do():
    net = Net()
    first = net.linear(net.source(1), [[1], [1], [1]])
    second = net.linear(first, [[1, 0, 0], [0, 1e-30, 0]])
    graph = net.graph(net.linear(second, [[1, 1]]))
    # unread: one of the first layer's; paid for: another one; constant only without that: one of the second layer's
    removal = find_dead(graph, 1.5 * LARGEST * 1e-30)
    assert (removal.removed, removal.rounds) == (3, 3)
    assert kept_of(removal, "linear", 0) == kept_of(removal, "linear", 1) == [0]
    assert removal.bound == pytest.approx(LARGEST * 1e-30)


def test_one_channel_of_each_value_stays_although_all_are_dead():
    net, graph = one_layer([[0], [0], [0]], [1, 2, 4], [[1, 10, 100]])
    removal = find_dead(graph, 0.0)
    assert len(kept_of(removal, "linear")) == 1
    assert net.moved(graph, removal, feeds_of(net, np.random.default_rng(0))) <= 1e-12


def test_a_bound_of_zero_takes_only_what_is_exactly_constant():
    net = Net()
    graph = net.graph(net.linear(net.linear(net.source(1), [[1], [1e-45], [0]], [0, 1, 1]), [[1, 1, 1]]))
    assert kept_of(find_dead(graph, 0.0), "linear") == [0, 1]
    assert kept_of(find_dead(graph, 1e-40), "linear") == [0]


def test_the_bounds_of_all_channels_add_up_and_the_cheapest_go_first():
    net = Net()
    small = [[1.0], [1e-3 / LARGEST], [2e-3 / LARGEST], [3e-3 / LARGEST]]
    graph = net.graph(net.linear(net.linear(net.source(1), small), [[1, 1, 1, 1]]))
    removal = find_dead(graph, 3.5e-3)
    assert kept_of(removal, "linear") == [0, 3]
    assert removal.bound == pytest.approx(3e-3)


def test_nothing_changes_where_nothing_is_dead():
    net = Net()
    graph = net.graph(net.linear(net.linear(net.source(2), [[1, 2], [3, 4]]), [[5, 6]]))
    removal = find_dead(graph, 2.0**-24)
    assert (removal.removed, removal.rounds, removal.bound, dict(removal.biases)) == (0, 0, 0, {})
    assert all(list(places) == list(range(removal.widths[name])) for name, places in removal.kept.items())


def test_groups_hold_channels_together_and_keep_what_they_say_stays():
    net = Net()
    inner = net.linear(net.source(1), [[1], [0], [0]], [0, 1, 1])
    read = net.linear(inner, [[1, 1, 1]])
    assert kept_of(find_dead(net.graph(read), 0.0), "linear") == [0]
    assert kept_of(find_dead(net.graph(read, **{inner: [0, 0, 1]}), 0.0), "linear") == [0, 1]
    assert kept_of(find_dead(net.graph(read, **{inner: [0, 1, -1]}), 0.0), "linear") == [0, 2]


@pytest.mark.parametrize("kind", [Opaque, Rearrangement])
def test_channels_around_what_is_not_followed_stay_and_the_reason_is_named(kind):
    net = Net()
    inner = net.linear(net.source(1), [[1], [0]])
    around = net.add(kind, inner, width=2)
    graph = net.graph(net.linear(around, [[1, 0]]))
    assert find_dead(graph, 1.0).removed == 0
    assert graph.not_followed() == {around: "nobody knows it"}


def test_what_may_do_anything_gets_exactly_what_it_got_before():
    net = Net()
    almost = net.linear(net.linear(net.source(1), [[1], [1e-30]]), [[1, 1]])
    graph = net.graph(net.add(Opaque, almost, width=1))
    assert find_dead(graph, 1.0).removed == 0


def test_an_operator_that_is_given_up_on_leaves_nothing_known_of_what_it_makes():
    draft = Draft(LARGEST)
    draft.feed("x", (None, 2))
    assert not draft.scaled("double", "x", "y", np.array(2.0), np.array(0.5))
    assert draft.is_plain("y")
    draft.opaque("double", ["x"], [("y", (None, 2))], "its activation is not one that is known")
    assert not draft.is_plain("y")
    draft.elementwise("relu", "y", "z", FUNCTIONS["relu"])
    assert draft.graph(["z"]).ranges()["z"].radius.tolist() == [np.inf, np.inf]
