"""Inspection of .tflite files: precision, costs, operators that no engine knows, and files made to harm."""

import json
import time

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tinsmith.__main__ import run
from tinsmith.convert.inspection import inspect_model, operator_precisions
from tinsmith.runtime.errors import ModelLoadError

OP, TYPE = schema.BuiltinOperator, schema.TensorType
NUMPY = {TYPE.FLOAT32: np.float32, TYPE.FLOAT16: np.float16, TYPE.INT8: np.int8, TYPE.INT32: np.int32}


def tensor(name, kind, shape, *, scale=None, zero_point=0, stored=None):
    made = schema.TensorT()
    made.name, made.type, made.shape = name, kind, list(shape)
    made.stored = stored if stored is None else np.asarray(stored, NUMPY[kind])
    if scale is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [scale], [zero_point]
    return made


def ones(name, kind, shape, *, scale=None):
    return tensor(name, kind, shape, scale=scale, stored=np.ones(shape))


def write(path, operators, *, inputs, outputs, signature=None):
    """A .tflite file; an operator is its code or its custom name, then its input and output tensors."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
    graph.tensors, graph.operators = [], []

    def index(item):
        if item not in graph.tensors:
            graph.tensors.append(item)
            if item.stored is not None:
                buffer = schema.BufferT()
                buffer.data = np.frombuffer(item.stored.tobytes(), np.uint8)
                item.buffer = len(model.buffers)
                model.buffers.append(buffer)
        return graph.tensors.index(item)

    for kind, given, made, *options in operators:
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.version = 1
        code.builtinCode = OP.CUSTOM if isinstance(kind, str) else kind
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.customCode = kind if isinstance(kind, str) else None
        operator.opcodeIndex = len(model.operatorCodes)
        operator.inputs = [-1 if item is None else index(item) for item in given]
        operator.outputs = [index(item) for item in made]
        if options:
            operator.builtinOptionsType, operator.builtinOptions = options
        model.operatorCodes.append(code)
        graph.operators.append(operator)
    graph.inputs, graph.outputs = [index(item) for item in inputs], [index(item) for item in outputs]
    model.subgraphs = [graph]
    if signature:
        model.signatureDefs = [schema.SignatureDefT()]
        model.signatureDefs[0].inputs, model.signatureDefs[0].outputs = [schema.TensorMapT()], []
        model.signatureDefs[0].inputs[0].name, model.signatureDefs[0].inputs[0].tensorIndex = signature, graph.inputs[0]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def precision(path, name):
    return {use.name: use.precision for use in operator_precisions(path)}[name]


@pytest.mark.parametrize(
    ("activation", "weight", "expected"),
    [
        (TYPE.FLOAT32, TYPE.FLOAT32, "float32"),
        (TYPE.INT8, TYPE.INT8, "int8"),
        (TYPE.INT16, TYPE.INT8, "int16x8"),
        (TYPE.FLOAT32, TYPE.INT8, "dynamic-int8"),
    ],
)
def test_the_types_of_activations_and_weights_say_the_precision(tmp_path, activation, weight, expected):
    x, y = tensor("x", activation, (1, 4)), tensor("y", activation, (1, 3))
    w = ones("w", weight, (3, 4), scale=0.1)

    path = write(tmp_path / "m.tflite", [(OP.FULLY_CONNECTED, [x, w], [y])], inputs=[x], outputs=[y])

    assert precision(path, "FULLY_CONNECTED") == expected
    assert inspect_model(path).macs == 12
    assert inspect_model(path).weights.parameters == 12


@pytest.mark.parametrize(("stored", "expected"), [(TYPE.INT8, "weight-only-int8"), (TYPE.FLOAT16, "float16")])
def test_weights_that_are_unpacked_to_floats_are_weight_only(tmp_path, stored, expected):
    x, y = tensor("x", TYPE.FLOAT32, (1, 4)), tensor("y", TYPE.FLOAT32, (1, 3))
    w, f = ones("w", stored, (3, 4), scale=0.1), tensor("f", TYPE.FLOAT32, (3, 4))
    operators = [(OP.DEQUANTIZE, [w], [f]), (OP.FULLY_CONNECTED, [x, f], [y])]

    path = write(tmp_path / "m.tflite", operators, inputs=[x], outputs=[y])

    assert precision(path, "FULLY_CONNECTED") == expected
    assert precision(path, "DEQUANTIZE") == "-"


def test_a_float_operator_behind_dequantize_is_float(tmp_path):
    x, f, y = tensor("x", TYPE.INT8, (1, 4), scale=0.1), tensor("f", TYPE.FLOAT32, (1, 4)), tensor("y", 0, (1, 4))
    operators = [(OP.DEQUANTIZE, [x], [f]), (OP.SOFTMAX, [f], [y])]

    path = write(tmp_path / "m_int8.tflite", operators, inputs=[x], outputs=[y])

    assert precision(path, "SOFTMAX") == "float32"
    assert any("the name says quantized" in remark for remark in inspect_model(path).remarks)


def test_arithmetic_on_indices_is_no_precision_of_the_model(tmp_path):
    x, y = tensor("x", TYPE.INT32, (1,)), tensor("y", TYPE.INT32, (1,))

    path = write(tmp_path / "m.tflite", [(OP.ADD, [x, x], [y])], inputs=[x], outputs=[y])

    assert precision(path, "ADD") == "integer"
    assert inspect_model(path).precision_shares == {}


def test_macs_of_depthwise_transposed_and_batched_products_are_those_counted_by_hand(tmp_path):
    x, d = tensor("x", TYPE.FLOAT32, (1, 6, 6, 2)), tensor("d", TYPE.FLOAT32, (1, 4, 4, 2))
    t, b = tensor("t", TYPE.FLOAT32, (1, 8, 8, 3)), tensor("b", TYPE.FLOAT32, (1, 5, 7))
    left, right = tensor("l", TYPE.FLOAT32, (1, 4, 5)), tensor("r", TYPE.FLOAT32, (1, 4, 7))
    turned = schema.BatchMatMulOptionsT()
    turned.adjX = True
    shape = tensor("s", TYPE.INT32, (4,), stored=[1, 8, 8, 3])
    operators = [
        (OP.DEPTHWISE_CONV_2D, [x, ones("dw", TYPE.FLOAT32, (1, 3, 3, 2))], [d]),
        (OP.TRANSPOSE_CONV, [shape, ones("tw", TYPE.FLOAT32, (3, 2, 2, 2)), d], [t]),
        (OP.BATCH_MATMUL, [left, right], [b], schema.BuiltinOptions.BatchMatMulOptions, turned),
    ]

    found = inspect_model(write(tmp_path / "m.tflite", operators, inputs=[x, left, right], outputs=[t, b]))

    assert found.macs == 4 * 4 * 2 * 9 + 4 * 4 * 2 * (3 * 2 * 2) + 5 * 7 * 4
    assert found.weights.parameters == 18 + 24
    assert found.weights.channels == 2 + 3


def test_operators_that_no_engine_knows_are_shown_and_flagged(tmp_path):
    x, y, z = (tensor(name, TYPE.FLOAT32, (1, 4)) for name in "xyz")

    found = inspect_model(
        write(tmp_path / "m.tflite", [("Sinh", [x], [y]), ("FlexErf", [y], [z])], inputs=[x], outputs=[z])
    )

    assert found.custom == found.uncounted == ("FlexErf", "Sinh")
    assert [word in " ".join(found.remarks) for word in ("Sinh: custom", "FlexErf: the runtime needs the Flex")]


def test_inputs_bear_the_names_of_the_only_signature(tmp_path):
    x, y = tensor("serving_default_x:0", TYPE.FLOAT32, (1, 4)), tensor("y", TYPE.FLOAT32, (1, 4))

    path = write(tmp_path / "m.tflite", [(OP.RELU, [x], [y])], inputs=[x], outputs=[y], signature="image")

    assert inspect_model(path).inputs[0].name == "image"


def test_names_and_scales_from_a_hostile_file_reach_neither_terminal_nor_json_as_orders(tmp_path, capsys):
    x = tensor("x[/b]", TYPE.INT8, (1, 4), scale=float("nan"))
    y = tensor("\x1b[2J[red]y", TYPE.INT8, (1, 4), scale=0.1)
    path = write(tmp_path / "m.tflite", [(OP.SOFTMAX, [x], [y])], inputs=[x], outputs=[y])

    assert run(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert run(["inspect", str(path), "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)

    assert "x[/b]" in shown
    assert "[red]y" in shown
    assert "\x1b" not in shown
    assert document["inspection"]["inputs"][0]["quantization"] is None


@pytest.mark.parametrize(
    ("keep", "said"), [(slice(0, 60), "points beyond its end"), (slice(8, None), "no TFLite file")]
)
def test_a_file_that_was_cut_says_so(golden, tmp_path, keep, said):
    path = tmp_path / "cut.tflite"
    path.write_bytes((golden / "cnn.tflite").read_bytes()[keep])

    with pytest.raises(ModelLoadError, match=said):
        inspect_model(path)


def bomb(tables):
    """As many subgraphs as tensors in each, which are all the same two tables."""
    builder = flatbuffers.Builder(1024)
    schema.TensorStart(builder)
    inner = schema.TensorEnd(builder)

    def repeated(start, table):
        start(builder, tables)
        for _ in range(tables):
            builder.PrependUOffsetTRelative(table)
        return builder.EndVector()

    tensors = repeated(schema.SubGraphStartTensorsVector, inner)
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    subgraphs = repeated(schema.ModelStartSubgraphsVector, schema.SubGraphEnd(builder))
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, subgraphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def test_tables_that_name_each_other_a_hundred_million_times_are_refused_at_once(tmp_path):
    path = tmp_path / "bomb.tflite"
    path.write_bytes(bomb(10_000))
    before = time.monotonic()

    with pytest.raises(ModelLoadError, match="name each other"):
        inspect_model(path)

    assert time.monotonic() - before < 5
