import itertools
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.convert.comparison import compare_models
from tinsmith.convert.layers import compare_layers, layer_report, write_page
from tinsmith.convert.layers.page import page
from tinsmith.convert.layers.sums import TensorSums, decibels
from tinsmith.convert.layers.wiring import Grid
from tinsmith.convert.quantization import Int8, Int16x8, Plan, arithmetic_for, choose_quantizer
from tinsmith.runtime.cpu import read_cpu
from tinsmith.runtime.errors import DataError, ModelLoadError, UsageError, VerificationError

onnx = pytest.importorskip("onnx")

CHANNELS = (3, 6, 8, 5)
FORMATS = ["tflite", "onnx"]
CPU = read_cpu()  # what is made for another one may saturate here


def weights_of(seed=0):
    """Three 3x3 convolutions as [(out, 3, 3, in), (out,)], whose outputs neither die away nor explode."""
    rng = np.random.default_rng(seed)
    return [
        (
            rng.normal(0, (1 / (9 * before)) ** 0.5, (after, 3, 3, before)).astype(np.float32) * 1.4,
            rng.normal(0, 0.2, after).astype(np.float32),
        )
        for before, after in itertools.pairwise(CHANNELS)
    ]


def stack(path, weights, *, prefix="conv", batch=None):
    """The three convolutions, ReLU behind all but the last, on pictures of 8 by 8."""
    (_tflite_stack if path.suffix == ".tflite" else _onnx_stack)(path, weights, prefix, batch)
    return path


def _onnx_stack(path, weights, prefix, batch):
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    nodes, stored, at = [], [], "x"
    for number, (w, b) in enumerate(weights):
        names = [f"{prefix}{number}_{part}" for part in ("w", "b", "sum")]
        stored += [onnx.numpy_helper.from_array(np.ascontiguousarray(w.transpose(0, 3, 1, 2)), names[0])]
        stored += [onnx.numpy_helper.from_array(b, names[1])]
        last = number == len(weights) - 1
        end = "y" if last else f"{prefix}{number}"
        nodes.append(helper.make_node("Conv", [at, *names[:2]], [end if last else names[2]], pads=[1] * 4))
        if not last:
            nodes.append(helper.make_node("Relu", [names[2]], [end]))
        at = end
    ends = [
        helper.make_tensor_value_info(name, floats, [batch or "n", channels, 8, 8])
        for name, channels in (("x", len(weights[0][0][0][0][0])), ("y", len(weights[-1][1])))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))


def _tflite_stack(path, weights, prefix, batch):
    graph, model = schema.SubGraphT(), schema.ModelT()
    model.buffers, graph.tensors, graph.operators = [schema.BufferT()], [], []

    def tensor(name, shape, array=None):
        made, buffer = schema.TensorT(), schema.BufferT()
        made.name, made.shape, made.type = name.encode(), list(shape), schema.TensorType.FLOAT32
        if array is None:
            made.shapeSignature = [batch or -1, *shape[1:]]
        else:
            buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        made.buffer = len(model.buffers)
        model.buffers.append(buffer)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    at = tensor("x", (batch or 1, 8, 8, weights[0][0].shape[3]))
    graph.inputs = [at]
    for number, (w, b) in enumerate(weights):
        last = number == len(weights) - 1
        given_ = [at, tensor(f"{prefix}{number}_w", w.shape, w), tensor(f"{prefix}{number}_b", b.shape, b)]
        at = tensor("y" if last else f"{prefix}{number}", (batch or 1, 8, 8, len(b)))
        graph.operators.append(_convolution(given_, at, relu=not last))
    graph.outputs = [at]
    code = schema.OperatorCodeT()
    code.deprecatedBuiltinCode = code.builtinCode = schema.BuiltinOperator.CONV_2D
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))


def _convolution(inputs, output, *, relu):
    operator, options = schema.OperatorT(), schema.Conv2DOptionsT()
    operator.inputs, operator.outputs = inputs, [output]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
    options.padding = schema.Padding.SAME
    options.fusedActivationFunction = int(relu)
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    return operator


def branches(path, prefix, order):
    """A 1x1 convolution beside two 3x3 ones, in this order or the other; all of one shape, and summed up."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    rng = np.random.default_rng(4)
    shapes = {"one": (4, 3, 1, 1), "three": (4, 3, 3, 3), "deep": (4, 4, 3, 3)}
    stored = [
        onnx.numpy_helper.from_array(rng.normal(0, 0.4, shape).astype(np.float32), f"{prefix}{name}_w")
        for name, shape in shapes.items()
    ]

    def convolution(name, given_):
        pads = [shapes[name][2] // 2] * 4
        return helper.make_node("Conv", [given_, f"{prefix}{name}_w"], [prefix + name], pads=pads)

    nodes = [[convolution("one", "x")], [convolution("three", "x"), convolution("deep", f"{prefix}three")]][::order]
    end = helper.make_node("Add", [f"{prefix}one", f"{prefix}deep"], ["y"])
    ends = [helper.make_tensor_value_info(n, floats, ["n", c, 8, 8]) for n, c in (("x", 3), ("y", 4))]
    graph = helper.make_graph([*nodes[0], *nodes[1], end], "g", ends[:1], ends[1:], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def pictures(suffix, count=12, seed=1):
    """The same pictures in each format's layout, as one batch."""
    x = np.random.default_rng(seed).normal(0, 1, (count, 8, 8, CHANNELS[0])).astype(np.float32)
    return {"x": x.transpose(0, 3, 1, 2) if suffix == "onnx" else x}


def quantized(source, samples=None, scheme=None):
    """The same model in integers, calibrated on the samples."""
    output = source.with_name(f"{source.stem}_int{source.suffix}")
    file_format = source.suffix[1:]
    quantizer = choose_quantizer(file_format)
    calibration = quantizer.calibrate(source, [samples or pictures(file_format)])
    plan = Plan(scheme=scheme or Int8(), arithmetic=arithmetic_for(CPU, file_format))
    quantizer.quantize(source, output, plan, calibration)
    return output


def spoil(path, layer, channel):
    """Halve the stored integers of one channel of one layer's weights: as a wrong scale does."""
    if path.suffix == ".onnx":
        model = onnx.load(str(path))
        (stored,) = (t for t in model.graph.initializer if t.name == f"conv{layer}_w_quantized")
        array = onnx.numpy_helper.to_array(stored).copy()
        array[channel] //= 2
        stored.CopyFrom(onnx.numpy_helper.from_array(array, stored.name))
        onnx.save(model, str(path))
        return
    model = flatbuffer_utils.read_model(str(path))
    (tensor,) = (t for t in model.subgraphs[0].tensors if t.name == f"conv{layer}_w".encode())
    array = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int8).reshape(tensor.shape).copy()
    array[channel] //= 2
    model.buffers[tensor.buffer].data = array.view(np.uint8).reshape(-1)
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))


@pytest.fixture
def pair(tmp_path):
    """Makes a float model and its int8 twin: suffix -> paths."""

    def make(suffix, weights=None, **settings):
        source = stack(tmp_path / f"m.{suffix}", weights or weights_of(), **settings)
        return source, quantized(source)

    return make


@pytest.mark.parametrize("suffix", FORMATS)
class TestBothFormats:
    def test_an_honest_int8_model_has_no_culprit(self, pair, suffix):
        report = layer_report(*pair(suffix), [pictures(suffix)])

        assert report.culprits == ()
        assert [layer.name for layer in report.layers] == ["x", "conv0", "conv1", "y"]
        assert [layer.position for layer in report.layers] == [0, 1, 2, 3]
        assert {layer.other_dtype for layer in report.layers} == {"uint8" if suffix == "onnx" else "int8"}
        assert all(layer.own_db > 28 for layer in report.layers)
        assert all(layer.saturated < 0.001 and layer.range_use > 0.3 for layer in report.layers)

    @pytest.mark.parametrize("layer", [0, 1, 2])
    @pytest.mark.parametrize("channel", [0, 3])
    def test_one_spoilt_channel_names_exactly_its_layer(self, pair, suffix, layer, channel):
        source, other = pair(suffix)
        spoil(other, layer, channel)

        report = layer_report(source, other, [pictures(suffix)])

        assert [culprit.name for culprit in report.culprits] == [("conv0", "conv1", "y")[layer]]
        assert any(re.match(rf"channel {channel} holds \d+ % of the error", r) for r in report.culprits[0].reasons)

    def test_a_channel_that_outgrows_the_others_is_the_worst_although_its_own_tensor_looks_well(self, pair, suffix):
        weights = weights_of()
        (w, b), (after, _) = weights[0], weights[1]
        w[2] *= 300
        b[2] *= 300
        after[..., 2] /= 300

        report = layer_report(*pair(suffix, weights), [pictures(suffix)])

        worst = report.culprits[0]
        assert worst.name == "conv0"
        assert worst.harm_db < 15
        assert worst.reasons[0].startswith("channel 2 reaches")
        assert next(layer for layer in report.layers if layer.name == "conv0").snr_db > 30

    def test_a_range_that_is_too_narrow_saturates_and_is_named(self, tmp_path, suffix):
        source, seen = stack(tmp_path / f"m.{suffix}", weights_of()), pictures(suffix)
        other = quantized(source, {"x": seen["x"] * np.float32(0.2)})

        report = layer_report(source, other, [seen])

        assert report.culprits[0].operator == "input"
        assert report.culprits[0].reasons[0].startswith("saturates")
        truth = np.mean(np.abs(seen["x"]) > 0.2 * np.abs(seen["x"]).max())
        assert report.layers[0].saturated == pytest.approx(truth, rel=0.25)

    def test_a_range_that_is_too_wide_is_hardly_used(self, tmp_path, suffix):
        source, seen = stack(tmp_path / f"m.{suffix}", weights_of()), pictures(suffix)
        other = quantized(source, {"x": seen["x"] * np.float32(40)})

        report = layer_report(source, other, [seen])

        assert report.layers[0].range_use < 0.05
        assert any("of the grid used" in reason for reason in report.culprits[0].reasons)

    @settings(max_examples=8)
    @given(seed=st.integers(0, 2**32 - 1))
    def test_a_model_against_itself_has_neither_error_nor_culprit(self, tmp_path_factory, suffix, seed):
        source = stack(tmp_path_factory.mktemp("same") / f"m.{suffix}", weights_of(seed))

        report = layer_report(source, source, [pictures(suffix, 3, seed)])

        assert report.culprits == ()
        assert len(report.layers) == (4 if suffix == "tflite" else 6)
        assert {(layer.snr_db, layer.own_db, layer.mean_abs) for layer in report.layers} == {(None, None, 0.0)}
        assert (report.only_reference, report.only_other, report.remark) == ((), (), "")

    def test_portions_give_what_all_at_once_gives(self, pair, suffix):
        models, x = pair(suffix), pictures(suffix, 12)["x"]

        whole = layer_report(*models, [{"x": x}], at_most=12)
        for cuts, at_most in (((1, 4, 7), 12), ((5,), 2), ((), 1)):
            parts = layer_report(*models, ({"x": part} for part in np.split(x, cuts)), at_most=at_most)
            assert parts.samples == whole.samples == 12
            for one, two in zip(parts.layers, whole.layers, strict=True):
                assert one.snr_db == pytest.approx(two.snr_db, abs=0.01)
                assert one.own_db == pytest.approx(two.own_db, abs=0.01)
                assert one.mean_abs == pytest.approx(two.mean_abs, rel=1e-3)
                assert (one.range_use, one.name) == (two.range_use, two.name)

    def test_a_fixed_batch_that_is_filled_up_counts_no_sample_twice(self, pair, suffix):
        seen = [pictures(suffix, 10)]
        free = layer_report(*pair(suffix), seen)
        fixed = layer_report(*pair(suffix, batch=4), seen)

        assert fixed.samples == free.samples == 10
        for one, two in zip(fixed.layers, free.layers, strict=True):
            assert one.mean_abs == pytest.approx(two.mean_abs, rel=1e-3)
            assert one.snr_db == pytest.approx(two.snr_db, abs=0.05)

    def test_other_names_are_matched_by_structure(self, tmp_path, suffix):
        source = stack(tmp_path / f"m.{suffix}", weights_of())
        renamed = quantized(stack(tmp_path / f"r.{suffix}", weights_of(), prefix="layer"))

        report = layer_report(source, renamed, [pictures(suffix)])

        assert report.culprits == ()
        assert [layer.name for layer in report.layers] == ["x", "conv0", "conv1", "y"]

    def test_other_weights_are_said_to_be_others(self, tmp_path, suffix):
        source = stack(tmp_path / f"m.{suffix}", weights_of())
        stranger = quantized(stack(tmp_path / f"s.{suffix}", weights_of(9)))

        assert "other weights" in layer_report(source, stranger, [pictures(suffix)]).remark

    def test_16_bits_add_less_than_8(self, tmp_path, suffix):
        source = stack(tmp_path / f"m.{suffix}", weights_of())
        eight = layer_report(source, quantized(source), [pictures(suffix)])
        sixteen = layer_report(source, quantized(source, scheme=Int16x8()), [pictures(suffix)])

        assert {layer.other_dtype for layer in sixteen.layers} == {"int16"}
        assert sixteen.layers[0].own_db > eight.layers[0].own_db + 40
        for wide, narrow in zip(sixteen.layers, eight.layers, strict=True):
            assert wide.own_db > narrow.own_db

    def test_unrelated_models_are_refused(self, golden, pair, suffix):
        source, _ = pair(suffix)

        with pytest.raises(VerificationError, match="not the same model") as refused:
            layer_report(source, golden / f"dense.{suffix}", [pictures(suffix)])

        assert refused.value.exit_code == 6
        assert refused.value.hint

    def test_a_quantized_reference_is_refused(self, pair, suffix):
        source, other = pair(suffix)

        with pytest.raises(UsageError, match="is quantized itself"):
            layer_report(other, source, [pictures(suffix)])

    def test_no_samples_and_wrong_samples_are_data_errors(self, pair, suffix):
        models = pair(suffix)
        with pytest.raises(DataError, match="no samples"):
            layer_report(*models, [])
        with pytest.raises(DataError, match="1 inputs"):
            layer_report(*models, [{"x": np.zeros((1, 8)), "z": np.zeros((1, 8))}])

    def test_a_damaged_file_is_refused(self, pair, suffix):
        source, other = pair(suffix)
        other.write_bytes(other.read_bytes()[:300])

        with pytest.raises(ModelLoadError):
            compare_layers(source, other)


@pytest.mark.skipif(CPU is not None and CPU.saturates, reason="onnxruntime's weights have 7 bits on this CPU")
def test_two_formats_of_one_model_get_the_same_figures(tmp_path):
    """Each engine judges the other: they share neither kernels nor quantizers."""
    reports = []
    for suffix in FORMATS:
        source = stack(tmp_path / f"m.{suffix}", weights_of())
        reports.append(layer_report(source, quantized(source), [pictures(suffix)]))

    for one, two in zip(reports[0].layers, reports[1].layers, strict=True):
        assert one.own_db == pytest.approx(two.own_db, abs=0.7)
        assert one.snr_db == pytest.approx(two.snr_db, abs=0.7)
        assert one.range_use == pytest.approx(two.range_use, abs=0.02)
        assert (one.low, one.high) == pytest.approx((two.low, two.high), abs=1e-4)


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_answers_are_those_that_compare_measures(pair, tmp_path, suffix):
    source, other = pair(suffix)
    samples = tmp_path / "samples.npz"
    np.savez(samples, **pictures(suffix))

    (whole,) = compare_models(source, other, data=samples).differences
    answers = compare_layers(source, other, data=samples).report.layers[-1]

    assert answers.mean_abs == pytest.approx(whole.mean, rel=0.02)
    assert answers.snr_db == pytest.approx(whole.snr_db, abs=0.1)


def test_formats_are_not_mixed(tmp_path):
    one, two = stack(tmp_path / "m.tflite", weights_of()), stack(tmp_path / "m.onnx", weights_of())

    with pytest.raises(UsageError, match="nothing in common") as refused:
        layer_report(one, two, [pictures("tflite")])

    assert "tinsmith convert" in refused.value.hint


def test_what_folding_takes_away_is_listed(pair):
    report = layer_report(*pair("onnx"), [pictures("onnx")])

    assert [(rest.operator, rest.name) for rest in report.only_reference] == [("Relu", "conv0"), ("Relu", "conv1")]
    assert report.only_other == ()
    assert [layer.operator for layer in report.layers] == ["input", "Conv+Relu", "Conv+Relu", "Conv"]


def test_branches_of_one_shape_that_run_in_another_order_are_told_apart(tmp_path):
    paths = [tmp_path / "m.onnx", tmp_path / "r.onnx"]
    for path, prefix, order in zip(paths, ("", "r_"), (1, -1), strict=True):
        branches(path, prefix, order)

    report = layer_report(paths[0], quantized(paths[1]), [pictures("onnx")])

    assert report.culprits == ()
    assert [layer.name for layer in report.layers] == ["x", "one", "three", "deep", "y"]


def masked(path):
    """What attention does in front of its softmax: scores, and a mask of the least float32."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    mask = np.where(np.tri(6), 0, np.finfo(np.float32).min).astype(np.float32)
    stored = [onnx.numpy_helper.from_array(mask, "mask")]
    nodes = [helper.make_node("Add", ["x", "mask"], ["masked"]), helper.make_node("Softmax", ["masked"], ["y"])]
    ends = [helper.make_tensor_value_info(name, floats, ["n", 6, 6]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_a_mask_that_takes_the_whole_grid_is_named_and_its_softmax_is_not(tmp_path):
    source = masked(tmp_path / "m.onnx")
    x = {"x": np.random.default_rng(0).normal(size=(8, 6, 6)).astype(np.float32)}
    report = layer_report(source, quantized(source, x), [x])

    assert [culprit.name for culprit in report.culprits] == ["masked"]
    assert "needs the small ones" in report.culprits[0].reasons[0]


def gated(path):
    """Token numbers that are looked up, and that also say which of the results count."""
    helper, floats, ints = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    drawn = np.random.default_rng(0)
    stored = {"table": drawn.normal(size=(9, 8)), "w": drawn.normal(size=(8, 8)), "none": np.zeros(1)}
    weights = [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in stored.items()]
    weights += [onnx.numpy_helper.from_array(np.array([0], np.int64), "pad")]
    weights += [onnx.numpy_helper.from_array(np.array([-1], np.int64), "last")]
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["seen"]),
        helper.make_node("MatMul", ["seen", "w"], ["mixed"]),
        helper.make_node("Equal", ["ids", "pad"], ["absent"]),
        helper.make_node("Unsqueeze", ["absent", "last"], ["masks"]),
        helper.make_node("Where", ["masks", "none", "mixed"], ["y"]),
    ]
    ends = helper.make_tensor_value_info("ids", ints, ["n", 5]), helper.make_tensor_value_info("y", floats, ["n", 5, 8])
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_whole_numbers_that_go_past_a_layer_are_no_source_of_error(tmp_path):
    source = gated(tmp_path / "m.onnx")
    ids = {"ids": np.random.default_rng(0).integers(0, 9, (16, 5))}

    assert {"mixed", "y"} <= {layer.name for layer in layer_report(source, quantized(source, ids), [ids]).layers}


class TestSums:
    grid = Grid(scale=0.5, zero_point=-28, dtype="int8")  # from -50 to 77.5

    def test_counts_by_hand(self):
        sums = TensorSums(self.grid, None)
        own = np.array([-80, -50.4, 0, 77.9, 90], np.float32)
        stored = np.array([-128, -128, -28, 127, 127], np.int8)
        reference = np.array([-79, -50, 0, 78, 90], np.float32)

        sums.add(reference, own, stored)

        assert sums.saturated == 2 / 5  # -50.4 and 77.9 are nearer than a step
        assert sums.largest == 29
        assert sums.mean_abs == pytest.approx((29 + 0 + 0 + 0.5 + 12.5) / 5)
        assert (sums.low, sums.high) == (-79, 90)

    def test_range_use_leaves_the_thousandth_out(self):
        sums = TensorSums(self.grid, None)
        values = np.linspace(-2, 2, 4001).astype(np.float32)
        values[0] = 77

        sums.add(values, values, np.zeros(4001, np.int8))

        assert sums.range_use == pytest.approx(9 / 256)
        assert sums.usual == pytest.approx((-2, 2), abs=0.5)

    @given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
    def test_pieces_make_the_whole(self, sizes, seed):
        rng = np.random.default_rng(seed)
        reference = rng.normal(0, 20, (sum(sizes), 3)).astype(np.float32)
        own = reference + rng.normal(0, 1, reference.shape).astype(np.float32)
        stored = rng.integers(-128, 128, reference.shape).astype(np.int8)
        whole, pieces = TensorSums(self.grid, -1), TensorSums(self.grid, -1)
        whole.add(reference, own, stored)
        for cut in np.split(np.arange(len(reference)), np.cumsum(sizes)[:-1]):
            pieces.add(reference[cut], own[cut], stored[cut])

        for name in ("mean_abs", "largest", "low", "high", "saturated", "range_use", "usual"):
            assert getattr(pieces, name) == pytest.approx(getattr(whole, name))
        assert pieces.own.decibels == pytest.approx(whole.own.decibels)
        assert pieces.channels.lost == whole.channels.lost
        assert np.allclose(pieces.channels.noise_shares, whole.channels.noise_shares)

    def test_masks_of_attention_count_for_nothing_and_overflow_nowhere(self):
        sums = TensorSums(None, -1)
        reference = np.array([[1, -np.inf, 3], [np.nan, 2, -3.4e38]], np.float32)
        stored = np.array([[1.5, -np.inf, 3], [0, np.inf, -3.4e38]], np.float32)

        sums.add(reference, reference, stored)

        assert sums.mean_abs == pytest.approx(0.5 / 6)
        assert sums.largest == 0.5
        assert np.isfinite([sums.whole.decibels, sums.own.decibels, sums.low, sums.high]).all()

    def test_a_tensor_without_values_has_no_figures(self):
        sums = TensorSums(self.grid, -1)
        sums.add(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int8))

        assert (sums.low, sums.high, sums.mean_abs, sums.saturated, sums.range_use) == (0, 0, 0, 0, None)

    def test_dead_channels_are_not_lost_ones(self):
        sums = TensorSums(self.grid, -1)
        reference = np.zeros((100, 4), np.float32)
        reference[:, 0] = np.arange(100) / 10  # live and well
        reference[:, 1] = np.arange(100) / 1000  # live, and too small for the grid
        reference[:, 2] = 1.1  # constant
        reference[:, 3] = np.arange(100) * 1e-30  # dead
        stored = np.round(reference / 0.5 - 28).astype(np.int8)

        sums.add(reference, reference, stored)

        assert list(sums.channels.live) == [True, True, False, False]
        assert sums.channels.lost == 0.5

    def test_decibels(self):
        assert decibels(100.0, 1.0) == 20
        assert decibels(100.0, 0.0) is None
        assert decibels(0.0, 1.0) < -1000


class TestPage:
    @pytest.fixture
    def compared(self, pair):
        source, other = pair("tflite")
        spoil(other, 1, 3)
        return compare_layers(source, other, seed=3)

    def test_needs_nothing_else_and_is_well_formed(self, compared):
        text = page(compared, command="tinsmith compare <a> & b")

        seen = SimpleNamespace(open=[], bad=[], attributes=[])

        class Reader(HTMLParser):
            def handle_starttag(self, tag, attributes):
                seen.attributes += [name for name, _ in attributes]
                if tag not in ("meta", "br"):
                    seen.open.append(tag)

            def handle_startendtag(self, tag, attributes):
                seen.attributes += [name for name, _ in attributes]

            def handle_endtag(self, tag):
                if not seen.open or seen.open.pop() != tag:
                    seen.bad.append(tag)

        Reader().feed(text)
        assert (seen.open, seen.bad) == ([], [])
        assert not {"src", "href", "onclick"} & set(seen.attributes)
        assert "http" not in text
        assert "<script" not in text
        assert "@import" not in text
        assert "tinsmith compare &lt;a&gt; &amp; b" in text
        assert compared.reference_sha256 in text
        assert compared.other_sha256 in text
        assert "8: 8 seeded random samples" in text
        assert text.count("<svg") == 2
        assert text.count('<tr class="culprit">') == 1

    def test_names_from_a_file_are_no_markup(self, tmp_path):
        source = stack(tmp_path / "m.tflite", weights_of(), prefix="<script>alert(1)</script>&\"'")

        text = page(compare_layers(source, quantized(source)), command="")

        assert "<script" not in text
        assert "&lt;script&gt;alert(1)" in text

    def test_the_same_comparison_gives_the_same_bytes(self, compared, tmp_path):
        for name in ("one.html", "two.html"):
            write_page(tmp_path / name, compared, command="c")

        assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_every_int8_run_says_which_layers_it_cost_most(golden, tmp_path):
    from tinsmith.compress.compression import compress
    from tinsmith.compress.recipe import load_recipe

    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((40, 8, 8, 1), np.float32))
    for suffix in FORMATS:
        made = compress(
            golden / f"cnn.{suffix}", load_recipe("int8"), tmp_path / f"o.{suffix}", data=str(tmp_path / "x.npz")
        )

        assert "loudest" in made.measured[-1]["layers"]
        assert made.layers.samples == 8
        document = made.to_json()["layers"]
        assert document["culprits"] == ()
        assert {"name", "own_db", "felt_db", "harm_db", "saturated", "range_use"} <= document["layers"][0].keys()
