"""Both observers against engines that know nothing of them."""

import numpy as np
import pytest

from tinsmith.convert.calibration import MinMax
from tinsmith.convert.quantization import Int8, Plan, choose_quantizer
from tinsmith.runtime.errors import DataError, ModelError

onnx = pytest.importorskip("onnx")


def images(n=12):
    return np.random.default_rng(3).normal(size=(n, 8, 8, 1)).astype(np.float32)


def batches(x, name, size):
    return ({name: x[at : at + size]} for at in range(0, len(x), size))


def observed(path, x, *, name="image", size=5, detail="histograms"):
    quantizer = choose_quantizer(path.suffix.removeprefix("."))
    return quantizer.calibrate(path, batches(x, name, size), detail=detail)


def graph_file(path, nodes, weights=(), *, shape=("n", 4), outputs=("n", 4)):
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(n, floats, s) for n, s in (("x", shape), ("y", outputs))]
    stored = [onnx.numpy_helper.from_array(array, name) for name, array in weights]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def test_onnx_ranges_are_those_of_the_reference_evaluator(golden):
    from onnx.reference import ReferenceEvaluator

    x = images()
    found = observed(golden / "cnn.onnx", x).extremes

    every = ReferenceEvaluator(str(golden / "cnn.onnx")).run(None, {"image": x}, intermediate=True)
    shared = [name for name in found if name in every]
    assert len(shared) > 4
    for name in shared:
        expected = every[name].min(), every[name].max()
        assert (found[name].low, found[name].high) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_tflite_ranges_are_those_of_the_interpreter(golden):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    x = images()
    found = observed(golden / "cnn.tflite", x).extremes

    resolver = OpResolverType.BUILTIN_REF
    settings = {"experimental_preserve_all_tensors": True, "experimental_op_resolver_type": resolver}
    interpreter = Interpreter(str(golden / "cnn.tflite"), **settings)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    for detail in interpreter.get_tensor_details():
        if detail["name"] in found:
            values = interpreter.get_tensor(detail["index"])
            expected = values.min(), values.max()
            assert (found[detail["name"]].low, found[detail["name"]].high) == pytest.approx(
                expected, rel=1e-4, abs=1e-6
            )


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
class TestBoth:
    def test_every_value_of_every_sample_is_counted_once(self, golden, suffix):
        found = observed(golden / f"cnn.{suffix}", images(7))

        whole = next(iter(found.tensors.values())).whole
        assert found.samples == 7
        assert whole.histogram.counts.sum() == 7 * 8 * 8
        assert whole.average.samples == 7
        assert (whole.extremes.low, whole.extremes.high) == (images(7).min(), images(7).max())

    def test_how_samples_are_batched_does_not_matter(self, golden, suffix):
        one, other = (observed(golden / f"cnn.{suffix}", images(), size=size) for size in (5, 3))

        assert one.extremes == other.extremes
        for name, seen in one.tensors.items():
            assert np.array_equal(seen.whole.histogram.counts, other.tensors[name].whole.histogram.counts)

    def test_extremes_alone_are_the_same_extremes(self, golden, suffix):
        path = golden / f"cnn.{suffix}"

        assert observed(path, images(), detail="extremes").extremes == observed(path, images()).ranges(MinMax())
        assert not observed(path, images(), detail="extremes").has_histograms

    def test_the_calibration_knows_its_model(self, golden, suffix):
        quantizer, path = choose_quantizer(suffix), golden / f"cnn.{suffix}"

        observed(path, images()).check_model(quantizer.fingerprint(path))
        with pytest.raises(DataError, match="another model"):
            observed(path, images()).check_model(quantizer.fingerprint(golden / f"dense.{suffix}"))

    def test_samples_that_overflow_are_refused_with_the_first_tensor_that_does(self, golden, suffix):
        with pytest.raises(ModelError, match="becomes NaN or infinite"):
            observed(golden / f"cnn.{suffix}", images() * np.float32(1e38))


def test_the_first_tensor_that_goes_wrong_is_named(tmp_path):
    node = onnx.helper.make_node
    nodes = [
        node("Add", ["x", "x"], ["fine"]),
        node("Div", ["x", "fine"], ["wrong"]),
        node("MatMul", ["wrong", "w"], ["y"]),
    ]
    path = graph_file(tmp_path / "zero.onnx", nodes, [("w", np.eye(4, dtype=np.float32))])

    with pytest.raises(ModelError, match="'wrong' becomes NaN"):
        observed(path, np.zeros((2, 4), np.float32), name="x")


def test_the_insides_of_a_branch_stay_float_and_that_is_said(tmp_path, caplog):
    helper, node = onnx.helper, onnx.helper.make_node
    end = helper.make_tensor_value_info("branched", onnx.TensorProto.FLOAT, None)
    bodies = {
        f"{name}_branch": helper.make_graph([node(kind, ["h"], ["branched"])], name, [], [end])
        for name, kind in (("then", "Relu"), ("else", "Neg"))
    }
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("ReduceMax", ["h"], ["top"], keepdims=0),
        node("Greater", ["top", "zero"], ["positive"]),
        node("If", ["positive"], ["b"], name="choice", **bodies),
        node("MatMul", ["b", "v"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    stored = [(name, rng.normal(size=(4, 4)).astype(np.float32)) for name in "wv"]
    path = graph_file(tmp_path / "if.onnx", nodes, [*stored, ("zero", np.zeros((), np.float32))])
    x = rng.normal(size=(6, 4)).astype(np.float32)

    found = observed(path, x, name="x")

    assert "If choice: the 2 operators inside stay float" in caplog.text
    choose_quantizer("onnx").quantize(path, tmp_path / "small.onnx", Plan(scheme=Int8()), found)
    onnx.checker.check_model(str(tmp_path / "small.onnx"))
