"""Ask an installed engine which operator versions it runs: python -m benchmarks.operator_table ENGINE.

Prints one release for ``runtime/operators/ENGINE.toml``, in full. For another version than the one that is installed,
put that one's wheel in front of PYTHONPATH.
"""

from __future__ import annotations

import sys
from importlib import metadata

_MOST_VERSIONS = 20
_OPSETS, _IRS = range(7, 40), range(3, 20)


def main(engine: str) -> int:
    found = _onnxruntime() if engine == "onnxruntime" else _tflite(engine)
    package = {"litert": "ai-edge-litert"}.get(engine, engine)
    print(f'[[releases]]\nversion = "{metadata.version(package)}"\n[releases.operators]')
    for name, version in sorted(found.items()):
        print(f'"{name}" = {version}' if "." in name or " " in name else f"{name} = {version}")
    return 0


def _tflite(engine):
    """An interpreter looks up each operator that a file lists before anything else, so a file needs no graph."""
    if engine == "litert":
        from ai_edge_litert.interpreter import Interpreter
    else:
        from tflite_runtime.interpreter import Interpreter
    from ai_edge_litert import schema_py_generated as schema

    found = {}
    for name, code in vars(schema.BuiltinOperator).items():
        if isinstance(code, int) and name not in ("CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"):
            able = [v for v in range(1, _MOST_VERSIONS + 1) if _loads(Interpreter, _file(schema, code, v))]
            if able:
                found[name] = max(able)
    return found


def _loads(interpreter, content):
    try:
        interpreter(model_content=content)
    except (RuntimeError, ValueError):
        return False
    return True


def _file(schema, code, version):
    import flatbuffers

    model, graph, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    operator.builtinCode, operator.deprecatedBuiltinCode, operator.version = code, min(code, 127), version
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [operator], [graph]
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _onnxruntime():
    import onnxruntime
    from onnx import TensorProto, helper
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    def loads(ir, opset, ml=None):
        value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
        graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:])
        opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid("ai.onnx.ml", ml)] if ml else [])]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=ir).SerializeToString()
        try:
            onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 - onnxruntime's exceptions share no base of their own
            return False
        return True

    onnxruntime.set_default_logger_severity(4)
    own = {f"com.microsoft.{s.name}": 1 for s in native.get_all_operator_schema() if s.domain == "com.microsoft"}
    return own | {
        "ONNX IR": max(ir for ir in _IRS if loads(ir, 13)),
        "ai.onnx": max(opset for opset in _OPSETS if loads(8, opset)),
        "ai.onnx.ml": max(ml for ml in range(1, 12) if loads(8, 13, ml)),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
