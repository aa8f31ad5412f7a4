"""The text of /metrics, judged by Prometheus' own parser, and what the kernel tells of heat."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinsmith.runtime.monitor.drift import Comparison, DriftReport
from tinsmith.runtime.monitor.reference import Statistic
from tinsmith.runtime.server.exposition import Exposition
from tinsmith.runtime.server.heat import Heat, read_heat
from tinsmith.runtime.server.metrics import ServerFacts, metrics_text
from tinsmith.runtime.server.serving import ModelState, Servable
from tinsmith.runtime.server.statistics import BUCKETS_S, Statistics

COLD = Heat(celsius={}, throttled=None, low_voltage=None, throttle_events=None)
LABELS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def parsed(text):
    parser = pytest.importorskip("prometheus_client.parser")
    return {family.name: family for family in parser.text_string_to_metric_families(text)}


def value(families, name, **labels):
    (found,) = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return found


@dataclass
class Metered:
    """A served model that is there, without an engine."""

    name: str = "cat"
    version: str = "3"
    waiting: int = 4
    engine: str = "litert 2.3.0"
    statistics: Statistics = field(default_factory=Statistics)

    @property
    def servable(self):
        return Servable(name=self.name, version=self.version, path=Path("x"), format="tflite", sha256="a" * 64)


def busy():
    model = Metered()
    for total_ms in (1, 3, 700):
        model.statistics.executed(1)
        model.statistics.succeeded(
            total_ns=total_ms * 1_000_000, input_ns=10_000, queue_ns=2_000_000, infer_ns=500_000, output_ns=1, now_ms=1
        )
    model.statistics.failed("queue-full", total_ns=5, now_ms=2)
    return model


def facts(**more):
    return ServerFacts(started_s=0.0, **more)


class TestPage:
    def test_prometheus_reads_what_was_counted(self):
        families = parsed(metrics_text([busy()], facts(), COLD))

        assert value(families, "tinsmith_requests_total", model="cat", version="3", outcome="success") == 3
        assert value(families, "tinsmith_requests_total", outcome="failure") == 1
        assert value(families, "tinsmith_request_failures_total", reason="queue-full") == 1
        assert value(families, "tinsmith_executions_total") == 3
        assert value(families, "tinsmith_inferences_total") == 3
        assert value(families, "tinsmith_queue_depth", model="cat") == 4
        assert value(families, "tinsmith_model_info", sha256="a" * 64, engine="litert 2.3.0") == 1

    def test_times_are_in_seconds_and_queue_and_compute_stand_apart(self):
        families = parsed(metrics_text([busy()], facts(), COLD))

        assert value(families, "tinsmith_queue_duration_seconds_sum") == pytest.approx(0.006)
        assert value(families, "tinsmith_compute_infer_duration_seconds_sum") == pytest.approx(0.0015)
        assert value(families, "tinsmith_request_duration_seconds_sum") == pytest.approx(0.704)
        assert families["tinsmith_request_duration_seconds"].type == "histogram"

    def test_buckets_count_all_below_their_end(self):
        families = parsed(metrics_text([busy()], facts(), COLD))
        name = "tinsmith_request_duration_seconds"
        buckets = {
            float(sample.labels["le"]): sample.value
            for sample in families[name].samples
            if sample.name == f"{name}_bucket"
        }

        assert list(buckets) == [*BUCKETS_S, math.inf]
        assert (buckets[0.0005], buckets[0.001], buckets[0.005], buckets[0.5], buckets[1.0]) == (0, 1, 2, 2, 3)
        assert buckets[math.inf] == value(families, f"{name}_count") == 3

    def test_the_server_tells_of_itself(self):
        states = (
            ModelState(name="cat", version="3", state="READY"),
            ModelState(name="dog", version="", state="LOADING"),
        )
        families = parsed(metrics_text([], facts(states=states, events={("cat", "swap"): 2}), COLD))

        assert value(families, "tinsmith_model_ready", model="cat") == 1
        assert value(families, "tinsmith_model_ready", model="dog") == 0
        assert value(families, "tinsmith_model_events_total", model="cat", event="swap") == 2
        assert 1e6 < value(families, "process_resident_memory_bytes") < 1e11
        assert value(families, "tinsmith_uptime_seconds") > 0

    def test_drift_is_told_by_tensor_and_statistic(self):
        found = Comparison(
            statistic=Statistic("inputs", "image", "mean"),
            test="psi",
            figure=0.5,
            threshold=0.25,
            reference=(50, 50),
            window=(90, 10),
        )
        report = DriftReport(false_alarm=0.01, reference_samples=100, samples=100, comparisons=(found,))
        families = parsed(metrics_text([busy()], facts(drift={"cat": report}), COLD))

        where = {"model": "cat", "side": "inputs", "tensor": "image", "statistic": "mean", "test": "psi"}
        assert value(families, "tinsmith_drift", **where) == 0.5
        assert value(families, "tinsmith_drift_threshold", **where) == 0.25
        assert value(families, "tinsmith_drifted", model="cat") == 1

    def test_the_order_does_not_depend_on_who_comes_first(self):
        models = [Metered(name=name) for name in ("b", "a", "c")]
        one, other = (metrics_text(order, facts(), COLD).splitlines() for order in (models, models[::-1]))

        changing = ("tinsmith_uptime_seconds ", "process_resident")
        assert [line for line in one if not line.startswith(changing)] == [
            line for line in other if not line.startswith(changing)
        ]

    def test_each_family_is_said_once_and_in_one_piece(self):
        text = metrics_text([Metered(name="a"), Metered(name="b")], facts(), COLD)
        kinds = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
        pieces = []
        for line in text.splitlines():
            if not line.startswith("#"):
                name = next(kind for kind in sorted(kinds, key=len, reverse=True) if line.startswith(kind))
                pieces += [name] if pieces[-1:] != [name] else []

        assert len(kinds) == len(set(kinds))
        assert pieces == kinds

    @example('a \\n \\ "b"\n', '{le="1"} #')
    @settings(max_examples=30)
    @given(LABELS, LABELS)
    def test_any_name_comes_back(self, name, version):
        families = parsed(metrics_text([Metered(name=name, version=version)], facts(), COLD))

        assert families["tinsmith_queue_depth"].samples[0].labels == {"model": name, "version": version}

    @given(st.floats())
    def test_any_number_comes_back(self, number):
        page = Exposition()
        page.gauge("x", "A number\nwith a \\.", number)
        (sample,) = parsed(page.text())["x"].samples

        assert sample.value == number or math.isnan(number)


def device(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return read_heat(root)


THROTTLED = "devices/platform/soc/soc:firmware/get_throttled"


class TestHeat:
    def test_a_machine_that_tells_nothing_has_no_metric(self, tmp_path):
        assert read_heat(tmp_path) == COLD
        assert "temperature" not in metrics_text([], facts(), read_heat(tmp_path))

    def test_temperatures_are_in_degrees(self, tmp_path):
        zone = "class/thermal/thermal_zone0"
        found = device(tmp_path, {f"{zone}/temp": "48312\n", f"{zone}/type": "cpu-thermal\n",
                                  "class/thermal/thermal_zone1/temp": "broken"})  # fmt: skip

        assert found.celsius == {("0", "cpu-thermal"): 48.312}
        families = parsed(metrics_text([], facts(), found))
        assert value(families, "tinsmith_temperature_celsius", zone="0", type="cpu-thermal") == 48.312

    @pytest.mark.parametrize(
        ("word", "throttled", "low_voltage"),
        [
            ("0\n", False, False),
            ("50000\n", False, False),
            ("50005", True, True),
            ("8", True, False),
            ("2", True, False),
        ],
    )
    def test_a_raspberry_pi_says_what_holds_now(self, tmp_path, word, throttled, low_voltage):
        found = device(tmp_path, {THROTTLED: word})

        assert (found.throttled, found.low_voltage) == (throttled, low_voltage)

    @pytest.mark.parametrize(("kind", "state", "throttled"), [("cpufreq-cpu0", "2", True), ("Processor", "0", False),
                                                             ("pwm-fan", "3", None)])  # fmt: skip
    def test_a_processor_that_is_cooled_is_slow_and_a_fan_is_not(self, tmp_path, kind, state, throttled):
        where = "class/thermal/cooling_device0"

        assert device(tmp_path, {f"{where}/type": kind, f"{where}/cur_state": state}).throttled is throttled

    def test_cores_count_together(self, tmp_path):
        found = device(
            tmp_path,
            {f"devices/system/cpu/cpu{core}/thermal_throttle/core_throttle_count": "3" for core in range(2)},
        )

        assert found.throttle_events == 6
        assert value(parsed(metrics_text([], facts(), found)), "tinsmith_cpu_throttle_events_total") == 6
