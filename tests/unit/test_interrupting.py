"""A run that never ends, in an engine that can be told to stop."""

import threading

import numpy as np
import pytest

from tinsmith.runtime.engines import Interruptible, choose_engine, open_engine
from tinsmith.runtime.errors import ModelError, ModelTimeoutError
from tinsmith.runtime.pool import Pool
from tinsmith.runtime.session import Session

ONE = {"x": np.ones(1, np.float32)}


@pytest.fixture
def endless(tmp_path):
    """A loop whose condition is always true."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto

    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    inside = [helper.make_node("Identity", [a], [b]) for a, b in (("go", "goes"), ("v", "w"))]
    body = helper.make_graph(
        inside,
        "body",
        [value("i", kinds.INT64, []), value("go", kinds.BOOL, []), value("v", kinds.FLOAT, [1])],
        [value("goes", kinds.BOOL, []), value("w", kinds.FLOAT, [1])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)],
        "endless",
        [value("x", kinds.FLOAT, [1])],
        [value("y", kinds.FLOAT, [1])],
        [helper.make_tensor("true", kinds.BOOL, [], [True])],
    )
    path = tmp_path / "endless.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_onnxruntime_ends_the_run_that_is_under_way(endless):
    engine = open_engine(endless, choose_engine("onnx"))
    assert isinstance(engine, Interruptible)
    raised = []

    def run():
        try:
            engine.run([ONE["x"]])
        except ModelError as error:
            raised.append(error)

    running = threading.Thread(target=run, daemon=True)
    running.start()
    engine.interrupt()
    running.join(20)

    assert "terminate" in raised[0].message


def test_a_pool_frees_the_thread_and_goes_on(endless, golden):
    now = [0.0]
    hanging = Session(open_engine(endless, choose_engine("onnx")))
    pool = Pool(
        [hanging],
        lambda: Session(open_engine(golden / "dense.onnx", choose_engine("onnx"))),
        queue=1,
        time_limit_s=1.0,
        clock=lambda: now[0],
    )
    raised = []

    def run():
        try:
            pool.run(ONE)
        except ModelTimeoutError as error:
            raised.append(error)

    running = threading.Thread(target=run, daemon=True)
    running.start()
    while not any(slot.started_s is not None for slot in tuple(pool._taken)):
        pass
    now[0] = 1.0
    pool.give_up_overdue()
    running.join(20)

    assert "did not end within 1 s" in raised[0].message
    assert pool.run({"x": np.ones((1, 4), np.float32)}).outputs["y"].shape == (1, 3)
