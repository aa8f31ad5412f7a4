"""What watches a served model: the window, the capture, and what is said of both."""

import json
import stat
import threading
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.convert.data import open_dataset
from tinsmith.runtime.errors import OutputError, UsageError
from tinsmith.runtime.monitor.building import build_reference
from tinsmith.runtime.monitor.capture import Capture, CaptureLimits
from tinsmith.runtime.monitor.health import describe_errors, describe_latency
from tinsmith.runtime.monitor.monitors import Monitors, MonitorSettings
from tinsmith.runtime.monitor.reference import Statistic
from tinsmith.runtime.monitor.watching import DriftWatch
from tinsmith.runtime.server.serving import Servable
from tinsmith.runtime.server.statistics import RECENT, Statistics
from tinsmith.runtime.session import open_session
from tinsmith.runtime.tensors import Quantization, TensorSpec

X = TensorSpec(name="image", dtype="float32", shape=(None, 3))
MEAN = Statistic("inputs", "x", "mean")


def batch(samples, *, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(shift, 1, (samples, 20)).astype(np.float32)}, {"y": rng.dirichlet(np.ones(3), samples)}


@pytest.fixture(scope="module")
def reference():
    return build_reference([batch(1000)])


class TestDriftWatch:
    @settings(max_examples=20)
    @given(st.lists(st.integers(1, 300), min_size=1, max_size=6))
    def test_it_counts_as_the_reference_was_counted(self, lengths):
        feeds, outputs = batch(sum(lengths))
        own = build_reference([(feeds, outputs)])
        watch = DriftWatch(own, window=10**6)
        ends = np.cumsum(lengths)
        for start, end in zip([0, *ends], ends, strict=False):
            watch.saw({"x": feeds["x"][start:end]}, {"y": outputs["y"][start:end]})

        report = watch.report()

        assert report.samples == sum(lengths)
        assert all(found.window == found.reference for found in report.comparisons)

    def test_the_window_forgets(self, reference):
        watch = DriftWatch(reference, window=400)
        for seed in range(10):
            watch.saw(*batch(50, seed=seed, shift=3))
        drifted = watch.report()
        for seed in range(10):
            watch.saw(*batch(50, seed=seed))
        after = watch.report()

        assert drifted.state == "drift"
        assert after.state == "ok"
        assert 400 <= after.samples <= 450

    def test_its_age_is_that_of_the_oldest_sample_in_it(self, reference):
        now = [100.0]
        watch = DriftWatch(reference, window=80, clock=lambda: now[0])
        for _ in range(30):
            watch.saw(*batch(10))
            now[0] += 1

        assert watch.began_s == 130 - 8
        assert watch.report().samples == 80

    def test_every_third_request_is_measured(self, reference):
        watch = DriftWatch(reference, every=3)
        for _ in range(10):
            watch.saw(*batch(1))

        assert watch.report().samples == 4

    def test_threads_lose_nothing(self, reference):
        watch = DriftWatch(reference, window=10**6)
        requests = [batch(1, seed=seed) for seed in range(50)]
        barrier = threading.Barrier(4)

        def ask():
            barrier.wait()
            for feeds, outputs in requests:
                watch.saw(feeds, outputs)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert watch.report().samples == 200
        assert {sum(found.window) for found in watch.report().comparisons} == {200}

    def test_a_request_that_can_not_be_measured_costs_nobody_anything(self, reference, caplog):
        watch = DriftWatch(reference)
        watch.saw({"x": None}, {})
        watch.saw({"unknown": np.ones((1, 20))}, {})

        assert watch.report().samples == 0
        assert "could not be measured" in caplog.text


def capture_of(tmp_path, clock=lambda: 0.0, inputs=(X,), **limits):
    return Capture(tmp_path / "x.npz", inputs, limits=CaptureLimits(**limits), clock=clock)


def feed(capture, values):
    for value in values:
        capture.saw({"image": np.full((1, 3), value, np.float32)}, {})


def written(capture):
    capture.write()
    with np.load(capture.path) as arrays:
        return {name: arrays[name] for name in arrays.files}


class TestCapture:
    def test_what_it_writes_is_a_dataset(self, tmp_path):
        capture = capture_of(tmp_path)
        feed(capture, range(5))
        capture.write()

        dataset = open_dataset(str(capture.path), [X])

        (held,) = dataset.batches(8)
        np.testing.assert_array_equal(held.feeds["image"][:, 0], np.arange(5))

    def test_only_the_owner_reads_it(self, tmp_path):
        capture = capture_of(tmp_path)
        feed(capture, [1])
        capture.write()

        assert stat.S_IMODE(capture.path.stat().st_mode) == 0o600
        assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]

    def test_the_draw_is_even_and_bounded(self, tmp_path):
        kept = np.concatenate(
            [self._drawn(tmp_path, seed) for seed in range(60)],
        )

        # 8 of 80 each time: from each quarter of the stream, 120 of 480 are expected; 4 standard deviations are 38
        assert len(kept) == 480
        assert abs(np.bincount(kept // 20, minlength=4) - 120).max() < 38

    @staticmethod
    def _drawn(tmp_path, seed):
        limits = CaptureLimits(most_samples=8)
        capture = Capture(tmp_path / "x.npz", [X], limits=limits, clock=lambda: 0.0, seed=seed)
        feed(capture, range(80))
        return written(capture)["x"][:, 0].astype(int)

    def test_bytes_are_bounded(self, tmp_path):
        capture = capture_of(tmp_path, most_bytes=9 * 12)
        feed(capture, range(100))

        assert len(written(capture)["x"]) == 9

    def test_a_busy_hour_does_not_push_out_a_quiet_week(self, tmp_path):
        now = [0.0]
        capture = capture_of(tmp_path, lambda: now[0], most_samples=16, most_age_s=80)
        for hour in range(8):
            now[0] = hour * 10.0
            feed(capture, [hour] * (1000 if hour in {0, 7} else 2))

        assert sorted(written(capture)["x"][:, 0]) == sorted([*range(8)] * 2)

    def test_one_hour_alone_has_all_of_the_room(self, tmp_path):
        capture = capture_of(tmp_path, most_samples=16)
        feed(capture, range(100))

        assert len(written(capture)["x"]) == 16

    def test_what_is_too_old_leaves_memory_and_file(self, tmp_path):
        now = [0.0]
        capture = capture_of(tmp_path, lambda: now[0], most_age_s=80)
        feed(capture, [1])
        now[0] = 50
        feed(capture, [2])
        assert written(capture)["x"][:, 0].tolist() == [1, 2]
        now[0] = 81
        assert written(capture)["x"][:, 0].tolist() == [2]
        now[0] = 131
        capture.write()

        assert not capture.path.exists()
        assert capture.to_json()["samples"] == 0

    def test_a_sample_keeps_nothing_else_alive(self, tmp_path):
        capture = capture_of(tmp_path)
        body = np.ones((1, 3), np.float32)
        capture.saw({"image": body}, {})
        body[:] = 7

        assert written(capture)["x"].tolist() == [[1, 1, 1]]

    def test_another_shape_is_passed_over(self, tmp_path):
        capture = capture_of(tmp_path)
        feed(capture, [1])
        capture.saw({"image": np.ones((1, 4), np.float32)}, {})

        assert written(capture)["x"].shape == (1, 3)

    def test_integers_are_written_with_what_they_stand_for(self, tmp_path):
        quantized = TensorSpec(
            name="image", dtype="int8", shape=(None, 3), quantization=Quantization(scale=(0.5,), zero_point=(-3,))
        )
        capture = capture_of(tmp_path, inputs=[quantized])
        capture.saw({"image": np.full((1, 3), 7, np.int8)}, {})
        capture.write()

        dataset = open_dataset(str(capture.path), [X])
        (held,) = dataset.batches(8)
        assert held.feeds["image"].tolist() == [[5.0, 5.0, 5.0]]

    def test_inputs_stand_under_their_names_where_there_are_several(self, tmp_path):
        capture = capture_of(tmp_path, inputs=[X, TensorSpec(name="other", dtype="int32", shape=(None,))])
        capture.saw({"image": np.ones((2, 3), np.float32), "other": np.arange(2, dtype=np.int32)}, {})

        assert written(capture)["other"].tolist() == [0, 1]

    def test_a_write_that_fails_is_made_up_for(self, tmp_path):
        capture = Capture(tmp_path / "none" / "x.npz", [X], clock=lambda: 0.0)
        feed(capture, [1])
        with pytest.raises(OutputError):
            capture.write()
        capture.path.parent.mkdir()

        assert len(written(capture)["x"]) == 1

    def test_closing_writes_a_last_time(self, tmp_path):
        capture = capture_of(tmp_path, write_every_s=3600)
        capture.start()
        feed(capture, [1])
        capture.close()

        assert capture.path.exists()

    def test_text_and_too_little_room_are_refused(self, tmp_path):
        with pytest.raises(UsageError, match="text"):
            capture_of(tmp_path, inputs=[TensorSpec(name="t", dtype="str", shape=(None,))])
        with pytest.raises(UsageError, match="8 samples"):
            capture_of(tmp_path, most_samples=7)


@dataclass(frozen=True)
class Promised:
    p50_ms: float | None = 10.0
    p90_ms: float | None = 20.0


def statistics_of(*outcomes):
    """Milliseconds of a run, or the reason of a failure."""
    statistics = Statistics()
    for outcome in outcomes:
        if isinstance(outcome, str):
            statistics.failed(outcome, total_ns=1, now_ms=1)
        else:
            statistics.succeeded(
                total_ns=1, input_ns=1, queue_ns=1, infer_ns=round(outcome * 1e6), output_ns=1, now_ms=1
            )
    return statistics


class TestHealth:
    @pytest.mark.parametrize(
        ("outcomes", "state"),
        [
            ([9.0] * 100, "ok"),
            ([12.0] * 100, "ok"),
            ([13.0] * 100, "slow"),
            ([9.0] * 70 + [26.0] * 30, "slow"),
            ([9.0] * 90 + [26.0] * 10, "ok"),
            ([13.0] * 58 + [9.0] * 42, "ok"),
            ([13.0] * 65 + [9.0] * 35, "slow"),
            ([99.0] * 10, "waiting"),
        ],
    )
    def test_runs_are_held_to_the_promise(self, outcomes, state):
        assert describe_latency(statistics_of(*outcomes).snapshot(), Promised())["state"] == state

    def test_only_recent_runs_count(self):
        found = describe_latency(statistics_of(*[99.0] * 500, *[9.0] * RECENT).snapshot(), Promised())

        assert found["state"] == "ok"
        assert found["runs"] == RECENT
        assert found["p90_ms"] == 9.0

    def test_a_percentile_needs_its_runs(self):
        found = describe_latency(statistics_of(*[9.0] * 63).snapshot(), Promised())

        assert found["p50_ms"] == 9.0
        assert found["p90_ms"] is None

    @pytest.mark.parametrize("promise", [None, Promised(None, None)])
    def test_nobody_promised_anything(self, promise):
        assert describe_latency(statistics_of(9.0).snapshot(), promise)["state"] == "no-promise"

    def test_half_a_promise_is_held_to(self):
        assert describe_latency(statistics_of(*[30.0] * 50).snapshot(), Promised(p50_ms=None))["state"] == "slow"

    @pytest.mark.parametrize(
        ("outcomes", "state", "faults"),
        [
            ([1.0] * 100, "ok", 0),
            ([1.0] * 99 + ["lost"], "ok", 1),
            ([1.0] * 90 + ["deadline"] * 10, "errors", 10),
            (["shape"] * 100, "ok", 0),
            ([1.0] + ["lost"] * 2, "errors", 2),
            ([], "ok", 0),
        ],
    )
    def test_faults_of_clients_are_no_errors(self, outcomes, state, faults):
        found = describe_errors(statistics_of(*outcomes).snapshot())

        assert (found["state"], found["faults"]) == (state, faults)


class Served:
    """A served model that is there, without an engine."""

    def __init__(self, servable, statistics):
        self.servable, self.statistics = servable, statistics
        self.engine = "litert 2.3.0"


def servable_of(tmp_path, reference=None, version="1"):
    return Servable(name="a b", version=version, path=tmp_path, format="tflite", sha256="f" * 64, reference=reference)


class TestMonitors:
    def test_a_model_is_described(self, tmp_path, reference):
        monitors = Monitors(MonitorSettings(window=500, capture=tmp_path))
        servable = servable_of(tmp_path, reference)
        spec = TensorSpec(name="x", dtype="float32", shape=(None, 20))
        feeds, outputs = batch(500, shift=1)
        for watcher in monitors.watch(servable, [spec]):
            watcher.saw(feeds, outputs)

        served = Served(servable, statistics_of(*[1.0] * 20))
        told = json.loads(json.dumps(monitors.document(served, promise=Promised()), allow_nan=False))
        monitors.close()

        assert told["drift"]["state"] == "drift"
        assert told["latency"]["state"] == told["errors"]["state"] == "ok"
        assert told["ok"] is False
        assert told["capture"]["samples"] == 500
        with np.load(tmp_path / "a b.npz") as captured:
            assert captured["x"].shape == (500, 20)
        assert monitors.drift(servable).state == "drift"

    def test_one_without_a_reference_has_nothing_to_drift_from(self, tmp_path):
        monitors = Monitors()
        servable = servable_of(tmp_path)

        assert monitors.watch(servable, [X]) == ()
        told = monitors.document(Served(servable, statistics_of()))
        assert told["drift"]["state"] == "no-reference"
        assert told["ok"] is True
        assert told["capture"] is None

    def test_versions_have_windows_of_their_own_and_old_ones_go(self, tmp_path, reference):
        monitors = Monitors()
        versions = [servable_of(tmp_path, reference, version=str(number)) for number in range(4)]
        for version in versions:
            (watch,) = monitors.watch(version, [X])
            watch.saw(*batch(60))

        assert [monitors.drift(version) is not None for version in versions] == [False, False, True, True]
        assert monitors.drift(versions[3]).samples == 60

    def test_a_folder_that_is_not_there_is_made_for_its_owner_alone(self, tmp_path):
        folder = tmp_path / "kept"
        Monitors(MonitorSettings(capture=folder)).watch(servable_of(tmp_path), [X])

        assert folder.stat().st_mode & 0o777 == 0o700

    def test_a_folder_that_can_not_be_is_said_at_once(self, tmp_path):
        (tmp_path / "file").write_text("")
        monitors = Monitors(MonitorSettings(capture=tmp_path / "file" / "kept"))

        with pytest.raises(OutputError, match="kept"):
            monitors.watch(servable_of(tmp_path), [X])

    def test_the_next_version_goes_on_with_the_capture(self, tmp_path):
        monitors = Monitors(MonitorSettings(capture=tmp_path))
        (first,) = monitors.watch(servable_of(tmp_path), [X])
        (second,) = monitors.watch(servable_of(tmp_path, version="2"), [X])
        (other,) = monitors.watch(
            servable_of(tmp_path, version="3"), [TensorSpec(name="n", dtype="int8", shape=(None,))]
        )
        monitors.close()

        assert first is second is not other


class TestRealModel:
    def test_pictures_of_another_kind_are_found_in_inputs_and_answers(self, golden):
        path = golden / "cnn_int8.tflite"
        with open_session(path) as session:
            (spec,) = session.inputs

            def asked(kind, seed):
                """Each sample alone, as clients send them."""
                rng = np.random.default_rng(seed)
                for _ in range(200):
                    noise = rng.normal(0, 20, spec.fixed(1)) + kind * rng.normal(60, 10)
                    feeds = {spec.name: np.clip(noise, -128, 127).astype(spec.dtype)}
                    yield feeds, session.run_raw(feeds)

            reference = build_reference(asked(0, seed=1))
            reports = []
            for kind, seed in ((0, 2), (1, 3)):
                watch = DriftWatch(reference)
                for feeds, outputs in asked(kind, seed):
                    watch.saw(feeds, outputs)
                reports.append(watch.report())

        assert [report.state for report in reports] == ["ok", "drift"]
        assert {found.statistic.side for found in reports[1].drifted} == {"inputs", "outputs"}
