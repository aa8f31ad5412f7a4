"""Which integers are multiplied for which CPU, and what becomes of an artifact that is made for one."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tinsmith.__main__ import run
from tinsmith.compress.balance import Pace
from tinsmith.compress.compression import compress
from tinsmith.compress.recipe import load_recipe
from tinsmith.convert.inspection import requirements_of, saturation_of
from tinsmith.convert.quantization import Arithmetic, DynamicInt8, Plan, arithmetic_for, choose_quantizer
from tinsmith.runtime.artifact import read_artifact
from tinsmith.runtime.errors import UnsupportedOperatorError, UsageError
from tinsmith.runtime.profile import cpu_of, load_profile

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    ("profile", "wanted"),
    [
        ("x86-64-vnni", Arithmetic()),
        ("x86-64-avx2", Arithmetic(reduce_range=True)),
        ("arm-server", Arithmetic(activations="int8")),
        ("raspberry-pi-4", Arithmetic(activations="int8")),
        ("raspberry-pi-5", Arithmetic(activations="int8")),
    ],
)
def test_each_cpu_gets_the_integers_that_it_multiplies_right(profile, wanted):
    cpu = cpu_of(load_profile(profile))

    assert arithmetic_for(cpu, "onnx") == wanted
    assert arithmetic_for(cpu, "tflite") == Arithmetic(activations="int8")


def test_no_cpu_keeps_the_usual_integers():
    assert arithmetic_for(None, "onnx") == Arithmetic()


@pytest.fixture
def model(tmp_path):
    """A float .onnx of a convolution and a dense layer, and samples for it."""
    rng = np.random.default_rng(3)
    constants = [
        onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in (("w", (8, 4, 3, 3)), ("d", (8 * 4 * 4, 5)))
    ]
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1], name="conv"),
        onnx.helper.make_node("Relu", ["c"], ["r"]),
        onnx.helper.make_node("Flatten", ["r"], ["f"]),
        onnx.helper.make_node("MatMul", ["f", "d"], ["y"], name="dense"),
    ]
    ends = [
        [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s)]
        for n, s in (("x", ["n", 4, 4, 4]), ("y", ["n", 5]))
    ]
    graph = onnx.helper.make_graph(nodes, "g", *ends, constants)
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8),
        tmp_path / "float.onnx",
    )
    np.savez(tmp_path / "samples.npz", x=rng.normal(size=(64, 4, 4, 4)).astype(np.float32))
    return tmp_path / "float.onnx"


def small(model, device, **settings):
    output = model.with_name(f"{device}.onnx")
    made = compress(model, load_recipe("int8"), output, data=model.with_name("samples.npz"), device=device, **settings)
    return output, made


def stored(path):
    """The quantized weights of more than one axis; biases have one."""
    initializers = [onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer]
    return [array for array in initializers if array.ndim > 1 and array.dtype in (np.int8, np.uint8)]


def points(path):
    names = {node.input[2] for node in onnx.load(path).graph.node if node.op_type == "QuantizeLinear"}
    return {onnx.numpy_helper.to_array(t).dtype.name for t in onnx.load(path).graph.initializer if t.name in names}


def test_an_artifact_for_avx2_cannot_saturate_and_the_usual_one_can(model):
    usual, _ = small(model, None)
    made, report = small(model, "x86-64-avx2")

    assert len(saturation_of(usual).operators) == 2
    assert saturation_of(made).operators == ()
    assert max(int(np.abs(array.astype(int)).max()) for array in stored(made)) <= 64
    assert points(made) == {"uint8"}
    assert report.measured[0]["integers"] == "uint8 x int8 in 7 bits"
    assert report.delivery.suitability.wrong_there is False
    assert read_artifact(made).lineage.device == "x86-64-avx2"
    assert read_artifact(usual).lineage.device == ""


def test_an_artifact_for_arm_has_signed_activations_and_all_bits(model):
    made, _ = small(model, "raspberry-pi-4")

    assert points(made) == {"int8"}
    assert max(int(np.abs(array.astype(int)).max()) for array in stored(made)) == 127
    assert saturation_of(made).operators == ()


def test_dynamic_weights_obey_too(model):
    output = model.with_name("dynamic.onnx")

    choose_quantizer("onnx").quantize(
        model, output, Plan(scheme=DynamicInt8(), arithmetic=Arithmetic(reduce_range=True))
    )

    assert saturation_of(output).operators == ()
    choose_quantizer("onnx").quantize(model, output, Plan(scheme=DynamicInt8()))
    assert [o.operator for o in saturation_of(output).operators] == ["MatMulInteger"]


def test_for_another_machine_nothing_is_timed_and_the_report_says_so(model):
    _, made = small(model, "x86-64-avx2")

    assert made.balance.speed is None
    latency = made.to_json()["moved"]["latency"]
    assert latency["recommended"] is None
    assert "not_measured" in latency
    assert "nothing was timed here" in latency["verdict"]


def test_for_this_machine_both_are_timed(model):
    _, made = small(model, "local")

    latency = made.to_json()["moved"]["latency"]
    assert latency["recommended"] == (latency["ratio"] <= 1)


@pytest.mark.parametrize(
    ("ratio", "low", "recommended", "said"),
    [
        (0.5, 0.4, True, "recommended here: 2.00 times as fast as float"),
        (1.3, 1.2, False, "not recommended on this machine: 1.30x slower than float here; keep float"),
        (1.1, 0.9, False, "though one of 7 rounds was as fast"),
    ],
)
def test_an_artifact_that_measures_slower_than_float_is_never_recommended(ratio, low, recommended, said):
    pace = Pace(speed=SimpleNamespace(ratio=ratio, low=low, rounds=7))

    assert pace.recommended is recommended
    assert said in pace.said


def test_a_device_that_cannot_run_the_artifact_stops_it_before_anything_is_written(model):
    with pytest.raises(UnsupportedOperatorError, match="generic-armv7 has no engine for"):
        small(model, "generic-armv7")

    assert sorted(path.name for path in model.parent.iterdir()) == ["float.onnx", "samples.npz"]


def test_a_profile_that_is_not_there_is_an_error_of_usage(model):
    with pytest.raises(UsageError, match="there is no profile"):
        small(model, "x86-64-avx3")


def test_the_manifest_carries_what_an_engine_needs(model):
    made, _ = small(model, "x86-64-avx2")

    assert read_artifact(made).needs == requirements_of(made).needs
    assert read_artifact(made).needs["ONNX IR"]


def test_inspect_names_operators_share_and_the_way_out(model, capsys):
    usual, _ = small(model, None)
    capsys.readouterr()

    assert run(["inspect", str(usual), "-d", "x86-64-avx2", "-d", "generic-armv7", "--format", "json"]) == 0
    one, other = json.loads(capsys.readouterr().out)["devices"]
    assert one["preflight"]["runs"] is True
    assert len(one["saturation"]["operators"]) == 2
    assert other["preflight"]["runs"] is False

    assert run(["inspect", str(usual), "-d", "x86-64-avx2"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "can saturate in 2 of 2 operators" in said
    assert "--device" in said
    assert "runs on onnxruntime" in said
