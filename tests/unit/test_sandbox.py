"""A file that kills or hangs whoever loads it costs a child process, never this one."""

import contextlib
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinsmith.runtime.errors import ModelError, ModelLoadError, ModelTimeoutError
from tinsmith.runtime.sandbox import Sandbox
from tinsmith.runtime.wire import encode, read_message


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(time_limit_s=20) as opened:
        yield opened


def test_says_what_a_model_takes_and_gives(sandbox, golden):
    opened = sandbox.open(golden / "cnn.tflite")

    assert [spec.name for spec in opened.inputs] == ["image"]
    assert opened.engine == "litert"
    assert sandbox.run({"image": np.ones((2, 8, 8, 1))})["score"].shape == (2, 3)


def test_a_model_that_never_ends_is_stopped_at_the_time_limit(golden):
    with (
        Sandbox(time_limit_s=1.0) as sandbox,
        pytest.raises(ModelTimeoutError, match=r"endless\.tflite did not answer within 1 s"),
    ):
        sandbox.open(golden / "endless.tflite")


def test_a_child_that_dies_is_reported_and_replaced(golden):
    with Sandbox(time_limit_s=20) as sandbox:
        sandbox.open(golden / "dense.tflite")
        os.kill(sandbox._process.pid, signal.SIGSEGV)

        with pytest.raises(ModelLoadError, match="SIGSEGV"):
            sandbox.run({"x": np.ones((1, 4))})

        assert sandbox.open(golden / "dense.tflite").engine == "litert"


def test_a_child_that_the_system_killed_may_have_wanted_memory(golden):
    with Sandbox(time_limit_s=20) as sandbox:
        sandbox.open(golden / "dense.tflite")
        os.kill(sandbox._process.pid, signal.SIGKILL)

        with pytest.raises(ModelLoadError, match="SIGKILL") as raised:
            sandbox.run({"x": np.ones((1, 4))})

    assert "memory" in raised.value.hint


def test_where_memory_runs_out_the_child_goes_before_its_parent(sandbox):
    def merit(pid):
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    assert merit(sandbox.pid) == 1000
    assert merit(os.getpid()) < 1000


def test_an_error_of_the_child_arrives_as_the_same_error_and_the_child_goes_on(sandbox, golden, tmp_path):
    (tmp_path / "text.tflite").write_text("no model")

    with pytest.raises(ModelLoadError, match=r"text\.tflite"):
        sandbox.open(tmp_path / "text.tflite")

    assert sandbox.open(golden / "dense.onnx").engine == "onnxruntime"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["cnn_int8.tflite", "cnn.onnx"]))
def test_damaged_files_are_refused_or_run_but_never_harm(sandbox, golden, tmp_path, data, name):
    content = bytearray((golden / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    damaged = tmp_path / name
    damaged.write_bytes(content[: data.draw(st.integers(1, len(content)))])

    # any other error, and a dead or hanging child, would come through
    with contextlib.suppress(ModelError):
        sandbox.open(damaged)


@given(
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
    st.lists(st.sampled_from([np.zeros((0, 3)), np.arange(4, dtype=np.int8), np.float32(2)]), max_size=3),
)
def test_messages_survive_the_wire(document, arrays):
    import io

    got, received = read_message(io.BytesIO(encode(document, arrays)).read)

    assert got == document
    for sent, came in zip(arrays, received, strict=True):
        np.testing.assert_array_equal(sent, came)
        assert np.asarray(sent).dtype == came.dtype


def test_objects_never_cross_the_wire():
    with pytest.raises(ValueError, match="Object arrays"):
        encode({}, [np.array([{}], dtype=object)])
