"""A real delegate on a real interpreter: what it takes is told, and what it does not take is never silent."""

import shutil
import subprocess

import pytest

from tinsmith.runtime.engines import choose_engine, open_engine
from tinsmith.runtime.engines.delegation import placed
from tinsmith.runtime.errors import AcceleratorError


@pytest.fixture(scope="module")
def delegate(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    golden = __file__.rpartition("contract")[0] + "golden"
    library = tmp_path_factory.mktemp("delegate") / "libtoy.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, f"{golden}/delegate.c"], check=True)
    return f"delegate:{library}"


def test_what_a_delegate_took_is_told_apart_from_the_default_delegate(golden, delegate):
    engine = open_engine(golden / "cnn_int8.tflite", choose_engine("tflite"), accelerator=delegate)

    assert engine.placement().units == {
        delegate: {"SOFTMAX": 1},
        "xnnpack": {"CONV_2D": 1, "FULLY_CONNECTED": 1, "MEAN": 1},
    }


@pytest.mark.parametrize(("behaviour", "said"), [("nothing", "takes no operator of"), ("refuse", "does not take")])
def test_a_delegate_that_takes_nothing_is_a_refusal(golden, delegate, monkeypatch, behaviour, said):
    monkeypatch.setenv("TOY_DELEGATE", behaviour)

    with pytest.raises(AcceleratorError, match=said):
        open_engine(golden / "cnn.tflite", choose_engine("tflite"), accelerator=delegate)

    engine = open_engine(golden / "cnn.tflite", choose_engine("tflite"), accelerator=f"{delegate},cpu")
    assert engine.accelerator == "cpu"
    assert said in engine.placement().refusals[0]
    assert engine.placement().counts == {"xnnpack": 4}


def node(index, name, inputs, outputs):
    return {"index": index, "op_name": name, "inputs": inputs, "outputs": outputs}


def test_parts_of_a_graph_are_told_by_their_borders():
    nodes = [
        node(0, "A", [0, 10], [1]),
        node(1, "B", [1], [2]),
        node(2, "C", [2], [3]),
        node(3, "A", [3, 1], [4]),
        node(4, "D", [4, -1], [5, 6]),
        node(5, "DELEGATE", [2], [3]),
        node(6, "DELEGATE", [0, 10], [1, 2]),
        node(7, "DELEGATE", [3, 1], [4]),
    ]

    assert list(placed(nodes, "npu", 1)) == [
        ("xnnpack", "A"), ("xnnpack", "B"), ("npu", "C"), ("xnnpack", "A"), ("cpu", "D"),
    ]  # fmt: skip
