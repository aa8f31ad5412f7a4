import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.convert.equalization import ByActivations, ByWeights, correct_biases, equalize, observe_reaches
from tinsmith.convert.equalization.opening import opened
from tinsmith.convert.equalization.watching import watch
from tinsmith.convert.quantization import Int8, Plan, choose_quantizer
from tinsmith.runtime.engines import choose_engine, open_engine
from tinsmith.runtime.errors import DataError, RecipeError, UnsupportedOperatorError
from tinsmith.runtime.session import Session

onnx = pytest.importorskip("onnx")

SIDE, CHANNELS, CLASSES = 6, 4, 3
# What stands between two layers.
SMOOTH = ("", "relu", "leaky", "pool", "relu+pool")
LAYERS = ("conv", "depthwise")


class Weights:
    """Random ones, whose channels differ by up to 1,000."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def of(self, shape, axis):
        wide = 10 ** self.rng.uniform(-1.5, 1.5, shape[axis])
        values = self.rng.normal(size=shape) * wide.reshape([-1 if n == axis else 1 for n in range(len(shape))])
        return values.astype(np.float32)

    def bias(self, length):
        return self.rng.normal(size=length).astype(np.float32)


class TfliteChain:
    """Builds a float .tflite file operator by operator."""

    kinds = schema.BuiltinOperator

    def __init__(self):
        self.graph, self.model = schema.SubGraphT(), schema.ModelT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.version, self.model.subgraphs, self.model.operatorCodes = 3, [self.graph], []
        self.model.buffers = [schema.BufferT()]
        self.last = self.tensor("x", (1, SIDE, SIDE, CHANNELS))
        self.graph.inputs = [self.last]

    def tensor(self, name, shape, values=None, kind=schema.TensorType.FLOAT32):
        made = schema.TensorT()
        made.name, made.shape, made.buffer, made.type = name.encode(), list(shape), 0, kind
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            made.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def add(self, kind, inputs, shape, options=None, **values):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode, code.deprecatedBuiltinCode = getattr(self.kinds, kind), getattr(self.kinds, kind)
        operator.opcodeIndex = len(self.model.operatorCodes)
        self.model.operatorCodes.append(code)
        if options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, f"{options}T")()
            for name, value in values.items():
                setattr(operator.builtinOptions, name, value)
        self.last = self.tensor(f"{kind}_{len(self.graph.operators)}", shape)
        operator.inputs, operator.outputs = inputs, [self.last]
        self.graph.operators.append(operator)

    def layer(self, kind, weights, activation):
        fused = {"": 0, "relu": 1, "relu6": 3}[activation]
        stride = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
        if kind == "depthwise":
            stored = weights.of((1, 3, 3, CHANNELS), 3)
            name, options = "DEPTHWISE_CONV_2D", {"depthMultiplier": 1, **stride}
        else:
            stored = weights.of((CHANNELS, 3, 3, CHANNELS), 0)
            name, options = "CONV_2D", stride
        number = len(self.graph.operators)
        inputs = [
            self.last,
            self.tensor(f"w{number}", stored.shape, stored),
            self.tensor(f"b{number}", (CHANNELS,), weights.bias(CHANNELS)),
        ]
        side = self.shape
        options["fusedActivationFunction"] = fused
        title = "DepthwiseConv2DOptions" if kind == "depthwise" else "Conv2DOptions"
        self.add(name, inputs, side, title, **options)

    @property
    def shape(self):
        return tuple(self.graph.tensors[self.last].shape)

    def between(self, kind):
        for step in kind.split("+"):
            if step == "leaky":
                self.add("LEAKY_RELU", [self.last], self.shape, "LeakyReluOptions", alpha=0.25)
            if step == "pool":
                window = {"filterHeight": 2, "filterWidth": 2, "strideH": 1, "strideW": 1}
                self.add("MAX_POOL_2D", [self.last], self.shape, "Pool2DOptions", **window)
        return self

    def dense(self, weights):
        width = int(np.prod(self.shape))
        shape = self.tensor("shape", (2,), np.array([-1, width], np.int32), schema.TensorType.INT32)
        self.add("RESHAPE", [self.last, shape], (1, width), "ReshapeOptions", newShape=[-1, width])
        stored = weights.of((CLASSES, width), 0)
        self.add("FULLY_CONNECTED", [self.last, self.tensor("wd", stored.shape, stored), -1], (1, CLASSES),
                 "FullyConnectedOptions")  # fmt: skip

    def write(self, path):
        self.graph.outputs = [self.last]
        path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(self.model)))
        return path


class OnnxChain:
    """The same for .onnx."""

    def __init__(self):
        self.nodes, self.stored, self.last, self.side = [], [], "x", SIDE

    def add(self, kind, *arrays, **attributes):
        number = len(self.nodes)
        names = [f"{kind}_{number}_{at}" for at in range(len(arrays))]
        self.stored += [onnx.numpy_helper.from_array(a, name) for a, name in zip(arrays, names, strict=True)]
        given = f"{kind}_{number}"
        self.nodes.append(onnx.helper.make_node(kind, [self.last, *names], [given], **attributes))
        self.last = given

    def layer(self, kind, weights, activation):
        group = CHANNELS if kind == "depthwise" else 1
        stored = weights.of((CHANNELS, CHANNELS // group, 3, 3), 0)
        self.add("Conv", stored, weights.bias(CHANNELS), pads=[1, 1, 1, 1], group=group)
        if activation == "relu":
            self.add("Relu")
        if activation == "relu6":
            self.add("Clip", np.array(0, np.float32), np.array(6, np.float32))

    def between(self, kind):
        for step in kind.split("+"):
            if step == "leaky":
                self.add("LeakyRelu", alpha=0.25)
            if step == "pool":
                self.add("MaxPool", kernel_shape=[2, 2], pads=[0, 0, 1, 1])

    def dense(self, weights):
        self.add("Flatten")
        width = CHANNELS * SIDE * SIDE
        self.add("MatMul", weights.of((width, CLASSES), 1))
        self.add("Add", weights.bias(CLASSES))

    def write(self, path):
        floats = onnx.TensorProto.FLOAT
        ends = (("x", ["n", CHANNELS, SIDE, SIDE]), (self.last, None))
        source, answer = (onnx.helper.make_tensor_value_info(name, floats, shape) for name, shape in ends)
        graph = onnx.helper.make_graph(self.nodes, "graph", [source], [answer], self.stored)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, str(path))
        return path


CHAINS = {"tflite": TfliteChain, "onnx": OnnxChain}


def built(folder, suffix, steps, *, seed=0, dense=True):
    """A chain of (layer, what follows it)."""
    chain, weights = CHAINS[suffix](), Weights(seed)
    for kind, follows in steps:
        first = follows.split("+")[0]
        chain.layer(kind, weights, first if first in ("relu", "relu6") else "")
        chain.between(follows)
    if dense:
        chain.dense(weights)
    return chain.write(folder / f"float.{suffix}")


def samples(suffix, count=8, seed=1):
    shape = (SIDE, SIDE, CHANNELS) if suffix == "tflite" else (CHANNELS, SIDE, SIDE)
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def answers(path, x):
    session = Session(open_engine(path, choose_engine(path.suffix[1:])))
    found = [next(iter(session.run({session.inputs[0].name: row[None]}).values())) for row in x]
    session.close()
    return np.concatenate(found)


def same(first, second, suffix, *, within=2e-5):
    x = samples(suffix)
    expected = answers(first, x)
    return np.abs(answers(second, x) - expected).max() <= within * np.abs(expected).max()


def reaches_of(path):
    """By pair, as the activation rule wants them."""
    pairs = equalize(path, path.with_name(f"ignored{path.suffix}")).pairs
    axis = -1 if path.suffix == ".tflite" else 1
    return observe_reaches(path, {pair.seen: axis for pair in pairs}, [{"x": samples(path.suffix[1:])}])


STEPS = st.lists(st.tuples(st.sampled_from(LAYERS), st.sampled_from([*SMOOTH, "relu6"])), min_size=1, max_size=4)


@pytest.mark.parametrize("suffix", CHAINS)
class TestEqualize:
    @settings(max_examples=25, deadline=None)
    @given(steps=STEPS, seed=st.integers(0, 1000))
    def test_the_answers_stay(self, tmp_path_factory, suffix, steps, seed):
        folder = tmp_path_factory.mktemp("chain")
        source = built(folder, suffix, steps, seed=seed)
        output = folder / f"even.{suffix}"

        report = equalize(source, output)

        # ReLU6 leaves 6 of values in the thousands, whose rounding is then no longer small beside it.
        bends = any(follows == "relu6" for _, follows in steps)
        assert same(source, output, suffix, within=2e-3 if bends else 2e-5)
        assert len(report.pairs) == sum(follows != "relu6" for _, follows in steps)

    def test_weights_reach_equally_far_on_both_sides(self, tmp_path, suffix):
        source = built(tmp_path, suffix, [("conv", "relu"), ("depthwise", "relu"), ("conv", "relu")])
        report = equalize(source, tmp_path / f"even.{suffix}")

        assert max(pair.before for pair in report.pairs[:2]) > 4
        assert all(pair.after <= pair.before for pair in report.pairs[:2])
        assert len(report.chains()) == 1
        assert len(report.chains()[0]) == 4

    def test_a_second_time_changes_nothing(self, tmp_path, suffix):
        source = built(tmp_path, suffix, [("conv", "relu"), ("depthwise", "relu"), ("conv", "leaky")])
        once, twice = tmp_path / f"once.{suffix}", tmp_path / f"twice.{suffix}"

        assert equalize(source, once).rounds > 0
        assert equalize(once, twice).rounds == 0
        assert once.read_bytes() == twice.read_bytes()

    def test_activations_reach_equally_far(self, tmp_path, suffix):
        source, output = built(tmp_path, suffix, [("conv", "relu"), ("depthwise", "relu")]), tmp_path / f"even.{suffix}"
        report = equalize(source, output, ByActivations(reaches=reaches_of(source)))
        found = reaches_of(output)

        assert same(source, output, suffix)
        assert max(pair.before for pair in report.pairs) > 4
        assert set(found) == {pair.seen for pair in report.pairs}
        for reach in found.values():
            alive = reach[reach > 0]  # the others are below zero on all samples
            assert len(alive) > 1
            assert alive == pytest.approx(np.full(len(alive), alive.max()), rel=1e-3)
        assert equalize(output, tmp_path / "twice", ByActivations(reaches=found)).rounds == 0

    def test_relu6_and_outputs_are_blocked_with_the_reason(self, tmp_path, suffix):
        source = built(tmp_path, suffix, [("conv", "relu6"), ("conv", "")], dense=False)
        report = equalize(source, tmp_path / f"even.{suffix}")
        reasons = [entry.reason for entry in report.blocked]

        assert report.pairs == ()
        assert "RELU6" in reasons[0] or reasons[0] == "Clip reads it"
        assert reasons[1] == "it is an output of the model"
        assert (tmp_path / f"even.{suffix}").read_bytes() == source.read_bytes()

    def test_a_channel_that_sleeps_is_left_alone(self, tmp_path, suffix):
        source = built(tmp_path, suffix, [("conv", "relu"), ("conv", "relu")])
        reaches = {name: np.where(np.arange(CHANNELS) == 1, 0.0, reach) for name, reach in reaches_of(source).items()}
        output = tmp_path / f"even.{suffix}"
        equalize(source, output, ByActivations(reaches=reaches))

        assert same(source, output, suffix)

    def test_quantized_models_are_refused(self, golden, tmp_path, suffix):
        small, quantizer = tmp_path / f"small.{suffix}", choose_quantizer(suffix)
        found = quantizer.calibrate(golden / f"cnn.{suffix}", [{"image": np.ones((1, 8, 8, 1), np.float32)}])
        quantizer.quantize(golden / f"cnn.{suffix}", small, Plan(scheme=Int8()), found)
        with pytest.raises(RecipeError, match="quantized already"):
            equalize(small, tmp_path / "even")

    def test_int8_is_nearer_to_the_float_model(self, tmp_path, suffix):
        source = built(tmp_path, suffix, [("conv", "relu"), ("depthwise", "relu"), ("depthwise", "relu")], seed=3)
        even = tmp_path / f"even.{suffix}"
        equalize(source, even, ByActivations(reaches=reaches_of(source)))

        assert error_of(even, source) < 0.5 * error_of(source, source)


@pytest.mark.parametrize("suffix", CHAINS)
def test_the_window_of_a_layer_makes_it_the_matrix_product_that_the_engine_computes(tmp_path, suffix):
    plain = tmp_path / f"plain.{suffix}"
    with opened(built(tmp_path, suffix, [("conv", ""), ("depthwise", ""), ("conv", "pool")])) as file:
        plain.write_bytes(file.content())
        layers = file.graph().layers
    (held,) = watch(plain, [n for layer in layers for n in (layer.taken, layer.given)], [{"x": samples(suffix, 1)}])

    assert [layer.groups for layer in layers] == [1, CHANNELS, 1, 1]
    for layer in layers:
        rows = layer.window.rows(held[layer.taken], layer.weights.shape, layer.groups)
        products = rows @ layer.window.matrices(layer.weights, layer.groups).transpose(0, 2, 1)
        found = np.concatenate(list(products), axis=-1) + (0 if layer.bias is None else layer.bias)
        given = np.moveaxis(held[layer.given], layer.axis, -1)
        assert found.reshape(given.shape) == pytest.approx(given, rel=1e-4, abs=1e-4 * float(np.abs(given).max()))


class TestBlocked:
    def test_a_residual_blocks(self, tmp_path):
        chain, weights = OnnxChain(), Weights(0)
        chain.layer("conv", weights, "relu")
        skip = chain.last
        chain.layer("conv", weights, "")
        chain.nodes.append(onnx.helper.make_node("Add", [skip, chain.last], ["sum"]))
        chain.last = "sum"
        report = equalize(chain.write(tmp_path / "float.onnx"), tmp_path / "even.onnx")

        assert report.pairs == ()
        assert [entry.reason for entry in report.blocked] == ["2 operators read it: Add, Conv", "Add reads it"]

    def test_shared_weights_block(self, tmp_path):
        chain, weights = OnnxChain(), Weights(0)
        for _ in range(3):
            chain.layer("conv", weights, "relu")
        chain.nodes[4].input[1] = chain.nodes[2].input[1]
        report = equalize(chain.write(tmp_path / "float.onnx"), tmp_path / "even.onnx")

        assert report.pairs == ()
        assert "another operator uses the weights" in report.blocked[0].reason
        assert "another operator uses its weights" in report.blocked[1].reason

    def test_a_mean_over_channels_blocks(self, tmp_path):
        chain, weights = OnnxChain(), Weights(0)
        chain.layer("conv", weights, "relu")
        chain.add("ReduceMean", axes=[1])
        chain.layer("depthwise", weights, "")
        chain.nodes[-1].attribute[0].CopyFrom(onnx.helper.make_attribute("group", 1))
        report = equalize(chain.write(tmp_path / "float.onnx"), tmp_path / "even.onnx")

        assert report.blocked[0].reason == "ReduceMean mixes its channels"

    def test_other_formats_are_refused(self, tmp_path):
        with pytest.raises(UnsupportedOperatorError, match=r"layers of \.keras files"):
            equalize(tmp_path / "model.keras", tmp_path / "even.keras")


@pytest.mark.parametrize("suffix", CHAINS)
class TestCorrectBiases:
    def test_mean_errors_shrink_and_the_float_file_is_whole(self, tmp_path, suffix):
        source, output = built(tmp_path, suffix, [("conv", "relu"), ("depthwise", "relu")]), tmp_path / f"b.{suffix}"
        report = correct_biases(source, output, coarse(source), lambda: [{"x": samples(suffix, 32)}])

        assert report.after < 0.5 * report.before
        assert len(report.layers) == 3
        assert np.isfinite(answers(output, samples(suffix))).all()

    def test_what_is_added_to_every_layer_is_taken_off_again(self, tmp_path, suffix):
        source, output = built(tmp_path, suffix, [("conv", "leaky"), ("depthwise", "")]), tmp_path / f"b.{suffix}"
        small = tmp_path / f"small.{suffix}"
        report = correct_biases(source, output, off, lambda: [{"x": samples(suffix)}])
        off(output, small)

        assert report.after < 1e-3 * report.before
        assert not same(source, output, suffix)
        assert same(source, small, suffix)

    def test_where_nothing_is_off_the_file_stays(self, tmp_path, suffix):
        source, output = built(tmp_path, suffix, [("conv", "relu")]), tmp_path / f"b.{suffix}"
        report = correct_biases(
            source, output, lambda plain, small: small.write_bytes(plain.read_bytes()), lambda: [{"x": samples(suffix)}]
        )

        assert report.before == report.after
        assert output.read_bytes() == source.read_bytes()

    def test_without_samples_there_is_nothing_to_see(self, tmp_path, suffix):
        source = built(tmp_path, suffix, [("conv", "relu")])
        with pytest.raises(DataError, match="must see real samples"):
            correct_biases(source, tmp_path / "b", coarse(source), list)

        assert not (tmp_path / "b").exists()


def coarse(source):
    """Quantizes with the ranges of the source."""
    suffix = source.suffix[1:]
    quantizer = choose_quantizer(suffix)
    calibration = quantizer.calibrate(source, [{"x": samples(suffix, 32)}])
    return lambda plain, small: quantizer.quantize(plain, small, Plan(scheme=Int8()), calibration)


def error_of(float_file, reference):
    """How far the int8 form of a file is from the answers of another, on average."""
    small = float_file.with_name(f"small{float_file.suffix}")
    coarse(float_file)(float_file, small)
    x = samples(reference.suffix[1:], 32)
    return float(np.abs(answers(small, x) - answers(reference, x)).mean())


def off(plain, small):
    """Writes a file whose layers all give too much, by another amount each channel."""
    with opened(plain) as file:
        layers = file.graph().layers
        biases = {layer.name: layer.bias if layer.bias is not None else np.zeros(layer.channels) for layer in layers}
        file.store({}, {name: np.float32(bias + 1 + np.arange(len(bias))) for name, bias in biases.items()})
        small.write_bytes(file.content())


def test_rules_have_names():
    assert {ByWeights.name, ByActivations.name} == {"weights", "activations"}
