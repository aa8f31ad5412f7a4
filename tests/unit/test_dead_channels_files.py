"""Dead channels of real files: the engines give the same answers, and what was killed is gone."""

import hashlib
import json
import warnings
from dataclasses import dataclass

import numpy as np
import pytest

from tinsmith.__main__ import run
from tinsmith.compress.compression import compress
from tinsmith.compress.dead_channels import onnx_file, tflite_file
from tinsmith.compress.dead_channels.outcome import Limits
from tinsmith.compress.recipe import Recipe, load_recipe
from tinsmith.convert.conversion import convert
from tinsmith.runtime.errors import ModelLoadError, UnsupportedOperatorError

LIMITS = Limits(bound=2.0**-24, largest_input=1e4)
TINY = 1e-30


def steps(target, **settings):
    step = {"kind": "dead-channels", **settings}
    return Recipe.model_validate({"version": 1, "target": target, "steps": [step]})


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def close(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1.0, np.abs(expected).max()))


def litert(path, x):
    """The engine itself, which knows nothing of tinsmith."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    (given,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(given["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    (answer,) = interpreter.get_output_details()
    return interpreter.get_tensor(answer["index"])


def ort(path, x):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


ENGINES = {".tflite": litert, ".onnx": ort}


# .onnx files that no converter of ours would write.


@dataclass
class Sketch:
    """An .onnx graph while it is drawn; the input is ``x``, the output ``y``."""

    shape: tuple

    def __post_init__(self):
        self.nodes, self.constants = [], []
        self.rng = np.random.default_rng(len(self.shape))

    def constant(self, array, dtype=np.float32):
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(array, dtype), name))
        return name

    def weights(self, *shape, dead=(), axis=0, size=TINY):
        """Random ones; some places on an axis hold next to nothing."""
        array = self.rng.uniform(0.2, 1, shape) * self.rng.choice([-1, 1], shape)
        places = [slice(None)] * axis + [list(dead)]
        array[tuple(places)] *= size
        return self.constant(array)

    def node(self, kind, *inputs, given=None, **attributes):
        from onnx import helper

        name = given or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def save(self, path):
        import onnx
        from onnx import TensorProto, helper

        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "sketch", inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(path))
        return path


def gemm_with_factors():
    s = Sketch(("n", 3))
    first = s.node("Gemm", "x", s.weights(4, 3, dead=(1, 2)), s.constant([0.1, 0.5, -1, 0.2]), transB=1)
    second = s.constant(s.rng.normal(size=(2, 4)))
    s.node("Gemm", s.node("Relu", first), second, s.constant([1, 2]), given="y", transB=1, alpha=0.5, beta=2.0)
    return s


def gemm_without_a_bias():
    s = Sketch(("n", 3))
    first = s.node("Gemm", "x", s.weights(3, 4, dead=(1,), axis=1), s.constant([0.1, 0.5, -1, 0.2]))
    s.node("Gemm", first, s.weights(4, 2), given="y", beta=3.0)
    return s


def gemm_with_one_bias_for_all():
    s = Sketch(("n", 3))
    first = s.node("Gemm", "x", s.weights(3, 4, dead=(1,), axis=1), s.constant([0.3]))
    s.node("Gemm", first, s.weights(4, 2), s.constant([0.7]), given="y")
    return s


def matmul_and_add():
    s = Sketch(("n", 5, 3))
    first = s.node("MatMul", "x", s.weights(3, 4, dead=(0, 3), axis=1))
    hidden = s.node("Tanh", s.node("Add", s.constant([0.1, 0.5, -1, 0.2]), first))
    s.node("Add", s.node("MatMul", hidden, s.weights(4, 2)), s.constant([1, 2]), given="y")
    return s


def matmul_at_the_end():
    s = Sketch(("n", 3))
    first = s.node("Add", s.node("MatMul", "x", s.weights(3, 4, dead=(0,), axis=1)), s.constant([2, 0.5, -1, 0.2]))
    s.node("MatMul", first, s.weights(4, 2), given="y")
    return s


def two_convolutions(bias, **attributes):
    s = Sketch(("n", 2, 6, 6))
    first = s.node("Conv", "x", s.weights(4, 2, 3, 3, dead=(1,)), s.constant(bias))
    s.node("Conv", s.node("Relu", first), s.weights(3, 4, 3, 3), given="y", **attributes)
    return s


ABOVE, BELOW = [0.1, 0.5, -1, 0.2], [0.1, -0.5, -1, 0.2]


def depthwise():
    s = Sketch(("n", 2, 6, 6))
    first = s.node("Relu", s.node("Conv", "x", s.weights(4, 2, 1, 1), s.constant(ABOVE)))
    deep = s.node("Conv", first, s.weights(4, 1, 3, 3, dead=(0, 2)), s.constant(ABOVE), group=4, pads=[1, 1, 1, 1])
    s.node("Conv", s.node("Relu", deep), s.weights(3, 4, 1, 1), given="y")
    return s


def depthwise_with_two_of_each():
    s = Sketch(("n", 2, 6, 6))
    first = s.node("Conv", "x", s.weights(3, 2, 1, 1, dead=(1,)), s.constant([1, 2, 3]))
    deep = s.node("Conv", first, s.weights(6, 1, 3, 3), group=3)
    s.node("Conv", deep, s.weights(2, 6, 1, 1), given="y")
    return s


def in_two_groups():
    s = Sketch(("n", 2, 6, 6))
    first = s.node("Conv", "x", s.weights(4, 2, 1, 1, dead=(1,)), s.constant(ABOVE))
    second = s.node("Conv", first, s.weights(4, 2, 1, 1, dead=(3,)), s.constant(ABOVE), group=2)
    s.node("Conv", second, s.weights(2, 4, 1, 1), given="y")
    return s


def batch_norm_and_clip():
    s = Sketch(("n", 2, 6, 6))
    first = s.node("Conv", "x", s.weights(4, 2, 3, 3, dead=(3,)))
    shift, mean, variance = s.constant([1, 7, -2, 3]), s.weights(4), s.constant([1, 2, 0.5, 1])
    norm = s.node("BatchNormalization", first, s.weights(4, dead=(1, 2)), shift, mean, variance, epsilon=1e-3)
    clipped = s.node("Clip", norm, s.constant(0), s.constant(6))
    s.node("Conv", clipped, s.weights(3, 4, 3, 3), given="y")
    return s


def residual_and_concat():
    s = Sketch(("n", 2, 6, 6))
    one = s.node("Relu", s.node("Conv", "x", s.weights(4, 2, 1, 1, dead=(1, 2)), s.constant(BELOW)))
    two = s.node("Relu", s.node("Conv", one, s.weights(4, 4, 3, 3, dead=(1, 3)), s.constant(BELOW), pads=[1, 1, 1, 1]))
    both = s.node("Concat", s.node("Add", one, two), two, "x", axis=1)
    s.node("Conv", both, s.weights(3, 10, 3, 3), given="y", pads=[1, 1, 1, 1])
    return s


def flattened():
    s = Sketch((1, 2, 4, 4))
    one = s.node("Conv", "x", s.weights(3, 2, 1, 1, dead=(1,)), s.constant([1, 2, 3]))
    flat = s.node("Reshape", s.node("MaxPool", one, kernel_shape=[2, 2], strides=[2, 2]), s.constant([1, 12], np.int64))
    s.node("Gemm", flat, s.weights(12, 2), s.constant([1, 2]), given="y")
    return s


def pooled_and_transposed():
    s = Sketch(("n", 2, 4, 4))
    one = s.node("Conv", "x", s.weights(3, 2, 1, 1, dead=(1,)), s.constant([1, 2, 3]))
    last = s.node("Transpose", s.node("Sigmoid", one), perm=[0, 2, 3, 1])
    pooled = s.node("ReduceMean", s.node("MatMul", last, s.weights(3, 4, dead=(0,), axis=1)), axes=[1, 2], keepdims=0)
    s.node("Softmax", s.node("MatMul", pooled, s.weights(4, 3)), given="y", axis=-1)
    return s


def gated():
    s = Sketch(("n", 2, 4, 4))
    one = s.node("Conv", "x", s.weights(4, 2, 1, 1, dead=(1,)), s.constant(ABOVE))
    gate = s.node("Sigmoid", s.node("Conv", s.node("GlobalAveragePool", one), s.weights(4, 4, 1, 1, dead=(1, 2))))
    s.node("Conv", s.node("Mul", one, gate), s.weights(2, 4, 1, 1), given="y")
    return s


def scaled_and_shifted():
    s = Sketch(("n", 2, 4, 4))
    scaled = s.node("Div", s.node("Sub", "x", s.constant(np.ones((2, 1, 1)))), s.constant(np.full((1, 2, 1, 1), 3)))
    one = s.node("Conv", scaled, s.weights(3, 2, 1, 1, dead=(2,)), s.constant([1, 2, 3]))
    turned = s.node("Sub", s.constant(np.ones((3, 1, 1))), s.node("Mul", one, s.weights(3, 1, 1)))
    s.node("Conv", turned, s.weights(2, 3, 1, 1), given="y")
    return s


def zeros_put_around():
    s = Sketch(("n", 2, 4, 4))
    one = s.node("Conv", "x", s.weights(4, 2, 1, 1, dead=(0, 1)), s.constant(BELOW))
    around = s.node("Pad", s.node("Relu", one), s.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    s.node("Conv", around, s.weights(2, 4, 3, 3), given="y")
    return s


def seven_put_around():
    s = Sketch(("n", 2, 4, 4))
    one = s.node("Relu", s.node("Conv", "x", s.weights(4, 2, 1, 1, dead=(1,)), s.constant(BELOW)))
    seven = s.node("Mul", s.node("ReduceMax", "x", keepdims=0), s.constant(7))
    around = s.node("Pad", one, s.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64), seven)
    s.node("Conv", around, s.weights(2, 4, 3, 3), given="y")
    return s


def upsampled_by_a_transposed_convolution():
    s = Sketch(("n", 2, 4, 4))
    one = s.node("Relu", s.node("Conv", "x", s.weights(4, 2, 1, 1, dead=(1, 3)), s.constant(BELOW)))
    two = s.node("ConvTranspose", one, s.weights(4, 3, 2, 2, dead=(0,), axis=1), s.constant([1, 2, 3]), strides=[2, 2])
    s.node("Conv", two, s.weights(2, 3, 1, 1), given="y")
    return s


def means_that_count_the_border():
    s = Sketch(("n", 2, 5, 5))
    one = s.node("Conv", "x", s.weights(4, 2, 1, 1, dead=(1,)), s.constant(ABOVE))
    mean = s.node("AveragePool", one, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    s.node("Conv", mean, s.weights(2, 4, 1, 1), given="y")
    return s


def means_that_reach_beyond_the_image():
    s = Sketch(("n", 2, 5, 5))
    one = s.node("Conv", "x", s.weights(4, 2, 1, 1, dead=(1,)), s.constant(ABOVE))
    mean = s.node("AveragePool", one, kernel_shape=[3, 3], strides=[3, 3], count_include_pad=1, ceil_mode=1)
    s.node("Conv", mean, s.weights(2, 4, 1, 1), given="y")
    return s


def attention():
    s = Sketch(("n", 5, 3))
    query, key = (s.node("MatMul", "x", s.weights(3, 4, dead=(1,), axis=1)) for _ in range(2))
    shares = s.node("Softmax", s.node("MatMul", query, s.node("Transpose", key, perm=[0, 2, 1])), axis=-1)
    mixed = s.node("MatMul", shares, s.node("MatMul", "x", s.weights(3, 4, dead=(2,), axis=1)))
    hidden = s.node("Relu", s.node("MatMul", mixed, s.weights(4, 6, dead=(0, 5), axis=1, size=0.0)))
    s.node("MatMul", hidden, s.weights(6, 2), given="y")
    return s


def shared_weights():
    s = Sketch(("n", 2, 4, 4))
    shared, bias = s.weights(2, 2, 1, 1, dead=(1,)), s.constant([1, 2])
    once = s.node("Conv", "x", shared, bias)
    s.node("Conv", once, shared, bias, given="y")
    return s


def a_gain_that_makes_up_for_it():
    s = Sketch(("n", 3))
    first = s.node("Gemm", "x", s.weights(3, 4, dead=(1,), axis=1), s.constant(np.zeros(4)))
    s.node("Gemm", s.node("Mul", first, s.constant([1, 1e30, 1, 1])), s.weights(4, 2), given="y")
    return s


SKETCHES = {
    gemm_with_factors: 2,
    gemm_without_a_bias: 1,
    gemm_with_one_bias_for_all: 1,
    matmul_and_add: 2,
    matmul_at_the_end: 1,
    depthwise: 4,
    depthwise_with_two_of_each: 3,
    in_two_groups: 0,
    batch_norm_and_clip: 3,
    residual_and_concat: 2,
    flattened: 1,
    pooled_and_transposed: 2,
    gated: 2,
    scaled_and_shifted: 1,
    zeros_put_around: 1,
    seven_put_around: 0,
    upsampled_by_a_transposed_convolution: 2,
    means_that_count_the_border: 0,
    means_that_reach_beyond_the_image: 1,
    attention: 2,
    shared_weights: 0,
    a_gain_that_makes_up_for_it: 0,
}
CONVOLUTIONS = [
    (ABOVE, {"auto_pad": "SAME_UPPER"}, 0),
    (ABOVE, {"auto_pad": "SAME_LOWER"}, 0),
    (ABOVE, {"auto_pad": "VALID"}, 1),
    (ABOVE, {"pads": [0, 0, 1, 1]}, 0),
    (ABOVE, {"pads": [0, 0, 0, 0]}, 1),
    (ABOVE, {"strides": [2, 2]}, 1),
    (BELOW, {"auto_pad": "SAME_UPPER"}, 1),
    (BELOW, {"pads": [1, 1, 1, 1]}, 1),
]


def judge_sketch(sketch, removed, tmp_path):
    import onnx

    source, output = sketch.save(tmp_path / "x.onnx"), tmp_path / "y.onnx"
    before = sha256(source)
    outcome = onnx_file.write_without(source, output, LIMITS)
    assert outcome.removal.removed == removed
    assert sha256(source) == before
    assert output.exists() == (removed > 0)
    assert (outcome.size.parameters_after < outcome.size.parameters_before) == (removed > 0)
    assert (outcome.size.macs_after < outcome.size.macs_before) == (removed > 0)
    if removed:
        onnx.checker.check_model(str(output), full_check=True)
        shape = [4 if isinstance(length, str) else length for length in sketch.shape]
        for size in (1.0, 300.0):
            x = (size * np.random.default_rng(1).normal(size=shape)).astype("f4")
            close(ort(output, x), ort(source, x))
    return outcome


@pytest.mark.parametrize("draw", SKETCHES, ids=lambda draw: draw.__name__)
def test_an_onnx_file_answers_the_same_without_what_was_killed(draw, tmp_path):
    judge_sketch(draw(), SKETCHES[draw], tmp_path)


@pytest.mark.parametrize(("bias", "attributes", "removed"), CONVOLUTIONS)
def test_a_constant_channel_goes_only_where_no_zeros_stand_around_it(bias, attributes, removed, tmp_path):
    judge_sketch(two_convolutions(bias, **attributes), removed, tmp_path)


def test_a_bias_that_counts_for_nothing_can_hold_no_constant(tmp_path):
    sketch = Sketch(("n", 3))
    first = sketch.node("Gemm", "x", sketch.weights(3, 4, dead=(1,), axis=1), sketch.constant(ABOVE))
    sketch.node("Gemm", first, sketch.weights(4, 2), sketch.constant([5, 6]), given="y", beta=0.0)
    outcome = judge_sketch(sketch, 0, tmp_path)
    assert list(outcome.not_followed) == ["Gemm 1"]


def test_what_was_gone_around_is_named(tmp_path):
    outcome = judge_sketch(in_two_groups(), 0, tmp_path)
    assert outcome.not_followed == {"Conv 1": "it is a convolution in 2 groups"}
    outcome = judge_sketch(attention(), 2, tmp_path)
    assert {name.split()[0] for name in outcome.not_followed} >= {"MatMul"}


def test_a_tolerated_bound_is_stated_and_kept(tmp_path):
    sketch = Sketch(("n", 3))
    first = sketch.node("Gemm", "x", sketch.weights(3, 4, dead=(1,), axis=1, size=1e-12), sketch.constant(ABOVE))
    sketch.node("Gemm", first, sketch.weights(4, 2), given="y")
    source = sketch.save(tmp_path / "x.onnx")
    strict, loose = (onnx_file.write_without(source, tmp_path / f"{bound}.onnx", Limits(bound=bound, largest_input=1e4))
                     for bound in (1e-10, 1e-6))  # fmt: skip
    assert (strict.removal.removed, loose.removal.removed) == (0, 1)
    assert 1e-10 < loose.removal.bound <= 1e-6


def small_answers():
    """Sixteen features between 0 and 1, of which each moves an answer of 1e-9 by a good part."""
    sketch = Sketch(("n", 3))
    features = sketch.node("Sigmoid", sketch.node("Gemm", "x", sketch.weights(3, 16)))
    small = sketch.constant(sketch.rng.uniform(1e-10, 1e-9, (16, 1)))
    sketch.node("MatMul", features, small, given="y")
    return sketch


def test_answers_of_a_billionth_are_kept_as_exactly_as_those_of_one(tmp_path):
    source = small_answers().save(tmp_path / "x.onnx")
    made = compress(source, steps("onnx"), tmp_path / "y.onnx")
    assert made.measured[0]["channels removed"] == 0
    assert made.measured[0]["bound on the outputs"] == 0


def test_samples_larger_than_assumed_widen_what_is_assumed(tmp_path):
    sketch = Sketch(("n", 3))
    # silent for inputs up to 1e4, and loud for 16-bit ones
    first = sketch.node(
        "Relu", sketch.node("Gemm", "x", sketch.constant([[1, 1], [0, 1], [0, 1]]), sketch.constant([-2e4, 0]))
    )
    sketch.node("Gemm", first, sketch.weights(2, 2), given="y")
    source = sketch.save(tmp_path / "x.onnx")
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).uniform(0, 65535, (20, 3)).astype("f4"))
    assert compress(source, steps("onnx"), tmp_path / "y.onnx").measured[0]["channels removed"] == 1
    made = compress(source, steps("onnx"), tmp_path / "z.onnx", data=tmp_path / "d.npz")
    assert made.measured[0]["channels removed"] == 0
    assert 5e4 < made.measured[0]["holds for inputs up to"] <= 65535


def quantized_by_nodes(kind):
    """``y = x @ dequantized``, or with a quantized ``x`` as well."""
    sketch = Sketch(("n", 3))
    scale, zero = sketch.constant(0.1), sketch.constant(0, np.int8)
    weights = sketch.node("DequantizeLinear", sketch.constant(np.ones((3, 4)), np.int8), scale, zero)
    taken = "x"
    if kind == "activations":
        taken = sketch.node("DequantizeLinear", sketch.node("QuantizeLinear", "x", scale, zero), scale, zero)
    sketch.node("MatMul", taken, weights, given="y")
    return sketch


@pytest.mark.parametrize("kind", ["weights", "activations"])
def test_a_quantized_onnx_file_is_refused(kind, tmp_path):
    source = quantized_by_nodes(kind).save(tmp_path / "x.onnx")
    with pytest.raises(UnsupportedOperatorError, match="quantized") as caught:
        onnx_file.write_without(source, tmp_path / "y.onnx", LIMITS)
    assert "before quantize" in caught.value.hint
    assert not (tmp_path / "y.onnx").exists()


@pytest.mark.parametrize("target", ["tflite", "onnx"])
@pytest.mark.parametrize("scheme", ["float16", "dynamic-int8"])
def test_what_tinsmith_has_quantized_is_refused_with_the_exit_code_of_models(golden, tmp_path, target, scheme, capsys):
    source = tmp_path / f"small.{target}"
    compress(golden / f"cnn.{target}", load_recipe(scheme), source)
    before = sha256(source)
    (tmp_path / "dead.yaml").write_text(json.dumps({"version": 1, "steps": [{"kind": "dead-channels"}]}))
    assert run(["compress", str(source), "-r", "dead.yaml", "-o", f"out.{target}"]) == 4
    assert "quantized" in capsys.readouterr().err
    assert sha256(source) == before
    assert not (tmp_path / f"out.{target}").exists()


@pytest.mark.parametrize("write", [onnx_file.write_without, tflite_file.write_without])
def test_a_damaged_file_is_refused(write, tmp_path):
    (tmp_path / "x").write_bytes(b"\x08\x00\x00\x00TFL3 and then nothing")
    with pytest.raises(ModelLoadError):
        write(tmp_path / "x", tmp_path / "y", LIMITS)


@pytest.mark.parametrize("name", ["cnn.tflite", "cnn.onnx", "dense.tflite", "dense.onnx"])
def test_a_model_without_dead_channels_comes_out_as_it_was(golden, tmp_path, name):
    write = tflite_file.write_without if name.endswith("tflite") else onnx_file.write_without
    outcome = write(golden / name, tmp_path / name, LIMITS)
    assert (outcome.removal.removed, outcome.removal.bound) == (0, 0)
    assert outcome.size.parameters_after == outcome.size.parameters_before
    assert not (tmp_path / name).exists()


def counting(kind):
    """A .tflite file that adds 1, 2 and 3, stored as int64 or int32, to what goes in."""
    from ai_edge_litert import schema_py_generated as schema

    from tinsmith.convert.slimming.writing import write_model

    def made(what, **fields):
        new = getattr(schema, what)()
        for name, value in fields.items():
            setattr(new, name, np.array(value, np.int32) if name in ("shape", "inputs", "outputs") else value)
        return new

    data = np.frombuffer(np.array([1, 2, 3], kind).tobytes(), np.uint8)
    stored = getattr(schema.TensorType, kind.upper())
    tensors = [made("TensorT", name=name, type=stored, shape=shape, buffer=buffer)
               for name, shape, buffer in ((b"x", [1, 3], 0), (b"c", [3], 1), (b"y", [1, 3], 0))]  # fmt: skip
    options = {"builtinOptionsType": schema.BuiltinOptions.AddOptions, "builtinOptions": schema.AddOptionsT()}
    add = made("OperatorT", opcodeIndex=0, inputs=[0, 1], outputs=[2], **options)
    graph = made("SubGraphT", name=b"main", tensors=tensors, inputs=[0], outputs=[2], operators=[add])
    code = made("OperatorCodeT", builtinCode=schema.BuiltinOperator.ADD, version=1)
    buffers = [made("BufferT"), made("BufferT", data=data)]
    return write_model(made("ModelT", version=3, operatorCodes=[code], buffers=buffers, subgraphs=[graph]))


@pytest.mark.parametrize("kind", ["int64", "int32", "int16"])
def test_arithmetic_of_integers_is_gone_around(kind, tmp_path):
    (tmp_path / "x.tflite").write_bytes(counting(kind))
    outcome = tflite_file.write_without(tmp_path / "x.tflite", tmp_path / "y.tflite", LIMITS)
    assert outcome.removal.removed == 0
    assert outcome.not_followed == {"ADD 0": "its weights are not stored as float32"}


# Keras models, and the artifacts that are made of them.


def killed(model, rng, dead, size):
    """Give all weights a size, and kill channels of some layers: {layer: places}."""
    for layer in model.layers:
        old = layer.get_weights()
        fresh = [rng.uniform(0.3, 1, w.shape) * rng.choice([-1, 1], w.shape) for w in old]
        if type(layer).__name__ == "BatchNormalization":
            fresh = [np.abs(w) + 0.2 for w in fresh]
            fresh[1] = fresh[1] - 0.9
            for at in dead.get(layer.name, ()):
                fresh[0][at] *= size
        elif old:
            fresh[0] /= fresh[0][..., 0].size ** 0.5
            for at in dead.get(layer.name, ()):
                depthwise = "depthwise" in layer.name
                fresh[0][(..., at, slice(None)) if depthwise else (..., at)] *= size
        layer.set_weights([w.astype("f4") for w in fresh])
    return model


def branching(keras):
    """SAME padding, batch norm, ReLU6, depthwise, residual add, concatenation, pooling, dense."""
    layers = keras.layers
    x = source = keras.Input((8, 8, 3), name="picture")
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, name="stem")(x)
    x = stem = layers.ReLU(6.0)(layers.BatchNormalization(name="stem_norm")(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2D(6, 1, activation="relu", name="point")(x)
    x = layers.Add()([stem, x])
    y = layers.Conv2D(4, 3, strides=2, padding="valid", activation="tanh", name="valid")(x)
    z = layers.AveragePooling2D(2)(layers.Conv2D(3, 3, padding="valid", name="other")(x))
    x = layers.Concatenate()([y, z])
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(5, activation="relu", name="hidden")(x)
    return keras.Model(source, layers.Dense(3, activation="softmax", name="answer")(x))


# Places that go, and how many channels that are: constants above zero fold where no border is seen.
BRANCHING = {"stem_norm": (1, 4), "point": (1, 4), "valid": (0,), "other": (2,), "hidden": (1, 3)}


def flat(keras):
    """VALID padding and flattening."""
    layers = keras.layers
    stack = [
        keras.Input((6, 6, 2), name="picture"),
        layers.Conv2D(5, 3, padding="valid", activation="elu", name="one"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(6, activation="sigmoid", name="hidden"),
        layers.Dense(2, name="answer"),
    ]
    return keras.Sequential(stack)


FLAT = {"one": (0, 3), "hidden": (5,)}


def attending(keras):
    """An attention: nothing goes but what lies behind it."""
    layers = keras.layers
    source = keras.Input((5, 8), name="words")
    x = layers.Dense(8, name="embed")(source)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4, name="attention")(x, x)])
    x = layers.Dense(6, activation="relu", name="wide")(x)
    return keras.Model(source, layers.Dense(2, name="answer")(layers.GlobalAveragePooling1D()(x)))


# what an attention gives may be of any size, so that only zeros are dead behind it
ATTENDING = {"embed": (3,), "wide": (0, 2)}


_RELU6 = 3


def activations(path):
    """Codes of those that are fused into other operators."""
    from tinsmith.convert.slimming.reading import read_content, read_model

    operators = read_model(read_content(path), path.name).subgraphs[0].operators
    return {getattr(operator.builtinOptions, "fusedActivationFunction", 0) for operator in operators}


@dataclass
class Studio:
    folder: object
    shapes: dict
    answers: dict

    def feeds(self, name, seed=3):
        return np.random.default_rng(seed).normal(0, 2, (4, *self.shapes[name])).astype("f4")


MODELS = {"branching.keras": (branching, "keras", BRANCHING), "flat.h5": (flat, "tf_keras", FLAT),
          "attending.keras": (attending, "keras", ATTENDING)}  # fmt: skip
# those of the stem take the depthwise ones along
GOES = {"branching": 10, "flat": 3, "attending": 2}


@pytest.fixture(scope="module")
def kennel(tmp_path_factory):
    """Keras models with dead channels, their answers, and the artifacts that tinsmith makes of them."""
    from tinsmith.convert.frameworks import require

    studio = Studio(tmp_path_factory.mktemp("kennel"), {}, {})
    for name, (build, framework, dead) in MODELS.items():
        keras = require(framework, needed_for="the tests")
        keras.utils.set_random_seed(1)
        model = killed(build(keras), np.random.default_rng(5), dead, 0.0 if dead is ATTENDING else TINY)
        path = studio.folder / name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(path)
        stem = path.stem
        studio.shapes[stem] = model.inputs[0].shape[1:]
        studio.answers[name] = np.asarray(model(studio.feeds(stem)))
    for name in ("branching.keras", "flat.h5"):
        for suffix in ENGINES:
            artifact = (studio.folder / name).with_suffix(suffix)
            convert(studio.folder / name, artifact)
            studio.answers[artifact.name] = studio.answers[name]
    return studio


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", [*MODELS, "branching.tflite", "branching.onnx", "flat.tflite", "flat.onnx"])
def test_a_trained_model_and_its_artifacts_answer_the_same_without_what_was_killed(kennel, name, tmp_path):
    source = kennel.folder / name
    before = sha256(source)
    target = "tflite" if name.endswith((".keras", ".tflite")) else "onnx"  # and .h5
    made = compress(source, steps(target), tmp_path / f"small.{target}")
    stem = name.split(".")[0]
    measured = next(m for m in made.measured if "channels removed" in m)
    assert measured["channels removed"] == GOES[stem]
    assert measured["bound on the outputs"] <= 2.0**-24
    assert (measured["bound on the outputs"] == 0) == (stem == "attending")
    assert ("attention" in measured["went around"]) == (stem == "attending")
    assert measured["holds for inputs up to"] == 1e4
    assert measured["largest difference"] < 1e-5 * 300
    assert measured["parameters after"] < measured["parameters before"]
    assert measured["macs after"] < measured["macs before"]
    assert sha256(source) == before
    close(ENGINES[f".{target}"](tmp_path / f"small.{target}", kennel.feeds(stem)), kennel.answers[name])
    if name == "branching.tflite":
        # ReLU6 is no operator of its own there
        assert _RELU6 in activations(source) & activations(tmp_path / "small.tflite")
    if name in ("flat.h5", "branching.tflite", "branching.onnx"):
        compress(source, steps(target), tmp_path / f"again.{target}")
        assert sha256(tmp_path / f"again.{target}") == sha256(tmp_path / f"small.{target}")
