"""Whether an engine runs an artifact, from data alone."""

import itertools
from importlib import metadata

import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.runtime.artifact import OperatorUse
from tinsmith.runtime.engine_tables import order, table_of
from tinsmith.runtime.engines import ENGINES
from tinsmith.runtime.errors import UnsupportedOperatorError
from tinsmith.runtime.preflight import check_operators, refuse_unless_runs
from tinsmith.runtime.profile import Accelerator, EngineThere, Profile, load_profile

ENGINE_NAMES = [choice.name for choice in ENGINES]


def uses(*operators, custom=False):
    return [OperatorUse(name=n, version=v, count=1, precision="-", custom=custom) for n, v in operators]


def device(*engines, accelerators=()):
    there = tuple(EngineThere(name=n, oldest=o, newest=w) for n, o, w in engines)
    return Profile(
        name="board", title="", kind="board", engines=there,
        accelerators=tuple(Accelerator(name=a) for a in accelerators), threads=1, soc="",
        cpu=None, ram_bytes=None, sources={},
    )  # fmt: skip


OLD = device(("tflite-runtime", "2.14.0", "2.14.0"))
NEW = device(("litert", "1.0.1", "2.3.0"))
ORT = device(("onnxruntime", "1.16.3", "1.32.0"))


def check(operators, profile, kind="tflite", **needs):
    return check_operators(kind, operators, profile, needs={k.replace("_", " "): v for k, v in needs.items()})


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_later_releases_run_all_that_earlier_ones_run(engine):
    releases = table_of(engine).releases

    for before, after in itertools.pairwise(releases):
        assert order(before.version) < order(after.version)
        assert all(after.newest[name] >= version for name, version in before.newest.items())


@pytest.mark.parametrize(
    ("engine", "release", "operator", "newest"),
    [
        # what tensorflow's runtime_version.cc says: FULLY_CONNECTED 12 came with 2.17, CONV_2D 8 with 2.15
        ("tflite-runtime", "2.14.0", "FULLY_CONNECTED", 10),
        ("tflite-runtime", "2.14.0", "CONV_2D", 7),
        ("tflite-runtime", "2.14.0", "TRANSPOSE", 6),
        ("litert", "2.3.0", "FULLY_CONNECTED", 14),
        ("litert", "2.3.0", "CONV_2D", 8),
        ("onnxruntime", "1.18.1", "ai.onnx", 21),
    ],
)
def test_the_tables_agree_with_what_was_published(engine, release, operator, newest):
    assert table_of(engine).at(release).newest[operator] == newest


def test_a_dynamic_range_file_of_tensorflow_2_19_is_caught():
    found = check(uses(("FULLY_CONNECTED", 12), ("SOFTMAX", 1)), OLD, TFLite_runtime="2.17.0")

    assert found.runs is False
    (obstacle,) = found.verdicts[0].obstacles
    assert (obstacle.operator, obstacle.needed, obstacle.there, obstacle.since) == ("FULLY_CONNECTED", 12, 10, "")
    assert found.said == (
        "does not run on tflite-runtime 2.14.0: FULLY_CONNECTED version 12 is needed, and 10 is the newest there",
    )
    with pytest.raises(UnsupportedOperatorError, match=r"small\.tflite is nothing for board") as caught:
        refuse_unless_runs(found, "small.tflite")
    assert caught.value.exit_code == 4


def test_the_same_file_runs_on_litert_and_needs_a_later_one_than_the_oldest():
    found = check(uses(("FULLY_CONNECTED", 14)), NEW)

    assert found.runs is True
    assert found.said == ("runs on litert 2.3.0, 2.1.2 or later",)
    refuse_unless_runs(found, "small.tflite")


def test_a_release_between_two_that_were_asked_counts_as_the_one_before():
    assert check(uses(("FULLY_CONNECTED", 14)), device(("litert", "2.0.3", "2.1.1"))).runs is False
    assert check(uses(("FULLY_CONNECTED", 14)), device(("litert", "2.0.3", "2.1.4"))).runs is True
    assert check(uses(("FULLY_CONNECTED", 14)), device(("litert", "2.0.3", "9.0.0"))).runs is True


def test_one_able_engine_is_enough():
    both = device(("litert", "2.3.0", "2.3.0"), ("tflite-runtime", "2.14.0", "2.14.0"))

    found = check(uses(("FULLY_CONNECTED", 12)), both)

    assert [verdict.runs for verdict in found.verdicts] == [True, False]
    assert found.runs is True


def test_custom_and_flex_operators_are_named():
    found = check(uses(("FlexErf", 1), ("Mine", 1), ("edgetpu-custom-op", 1), custom=True), NEW)

    reasons = [obstacle.reason for obstacle in found.verdicts[0].obstacles]
    assert reasons == [
        "FlexErf needs the Flex delegate, and with it most of TensorFlow",
        "Mine is a custom operator, whose code the engine does not have",
        "edgetpu-custom-op needs an Edge TPU",
    ]


def test_custom_operators_that_the_engine_or_the_device_brings_run():
    coral = device(("litert", "2.3.0", "2.3.0"), accelerators=("edgetpu",))

    assert check(uses(("edgetpu-custom-op", 1), custom=True), coral).runs is True
    assert check(uses(("TFLite_Detection_PostProcess", 1), custom=True), NEW).runs is True


def test_before_the_first_known_release_the_files_word_counts():
    coral = load_profile("coral-dev-board")

    assert check(uses(("CONV_2D", 3)), coral, TFLite_runtime="1.14.0").runs is True
    assert check(uses(("CONV_2D", 3)), coral, TFLite_runtime="2.11.0").runs is False
    unknown = check(uses(("CONV_2D", 3)), coral, TFLite_runtime="not stated")
    assert unknown.runs is None
    refuse_unless_runs(unknown, "small.tflite")


def test_an_onnx_file_needs_its_opset_its_ir_and_operators_of_microsoft():
    old = device(("onnxruntime", "1.16.3", "1.16.3"))
    operators = uses(("Conv", 21), ("Relu", 21), ("com.microsoft.MatMulNBits", 1))

    found = check(operators, old, "onnx", ONNX_IR="10")

    assert {(o.operator, o.needed, o.there, o.since) for o in found.verdicts[0].obstacles} >= {
        ("ai.onnx", 21, 19, "1.18.1"),
        ("ONNX IR", 10, 9, "1.18.1"),
    }
    assert check(operators, ORT, "onnx", ONNX_IR="10").runs is True


def test_functions_that_an_onnx_file_holds_itself_need_nothing_and_foreign_domains_their_code():
    assert check(uses(("pkg.Mine", 1)), ORT, "onnx").runs is True
    assert check(uses(("pkg.Mine", 1), custom=True), ORT, "onnx").runs is False


def test_a_device_without_an_engine_for_the_format_runs_nothing_of_it():
    found = check(uses(("Conv", 13)), load_profile("generic-armv7"), "onnx")

    assert found.runs is False
    assert found.said == ("does not run: generic-armv7 has no engine for .onnx files",)
    with pytest.raises(UnsupportedOperatorError):
        refuse_unless_runs(found, "small.onnx")


@given(st.sampled_from(ENGINE_NAMES), st.data())
def test_what_a_release_lists_runs_there_and_one_version_more_does_not(engine, data):
    release = data.draw(st.sampled_from(table_of(engine).releases))
    listed = sorted(item for item in release.newest.items() if not item[0].startswith("com.microsoft"))
    name, newest = data.draw(st.sampled_from(listed))
    kind = "onnx" if engine == "onnxruntime" else "tflite"
    there = device((engine, release.version, release.version))
    if name == "ONNX IR":
        verdicts = [check([], there, kind, ONNX_IR=str(v)).runs for v in (newest, newest + 1)]
    else:
        asked = {"ai.onnx": "Conv", "ai.onnx.ml": "ai.onnx.ml.Scaler"}.get(name, name)
        verdicts = [check(uses((asked, v)), there, kind).runs for v in (newest, newest + 1)]

    assert verdicts == [True, False]


def listing(operator, version):
    """A .tflite of an empty graph that lists one operator; the engine looks it up before anything else."""
    code = getattr(schema.BuiltinOperator, operator)
    model, graph, listed = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    listed.builtinCode, listed.deprecatedBuiltinCode, listed.version = code, min(code, 127), version
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [listed], [graph]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def test_the_table_of_the_installed_engine_is_what_it_does():
    installed = metadata.version("ai-edge-litert")
    release = table_of("litert").at(installed)

    for operator, newest in release.newest.items():
        Interpreter(model_content=listing(operator, newest))
        if release.version == installed:
            with pytest.raises(ValueError, match="Didn't find op"):
                Interpreter(model_content=listing(operator, newest + 1))
