"""Energy counters, from files of /sys as real machines have them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.runtime.fields import Fields
from tinsmith.runtime.measuring.energy import Energy, Gauge, RailMeter, find_meter, open_gauge

RAPL = "sys/class/powercap/intel-rapl:"
XEON = {
    f"{RAPL}0/name": "package-0\n", f"{RAPL}0/energy_uj": "999000000\n", f"{RAPL}0/max_energy_range_uj": "1000000000\n",
    f"{RAPL}0:0/name": "core\n", f"{RAPL}0:0/energy_uj": "5\n", f"{RAPL}0:0/max_energy_range_uj": "1000000000\n",
    f"{RAPL}0:1/name": "dram\n", f"{RAPL}0:1/energy_uj": "7000000\n", f"{RAPL}0:1/max_energy_range_uj": "65000000\n",
    f"{RAPL}1/name": "psys\n", f"{RAPL}1/energy_uj": "1\n", f"{RAPL}1/max_energy_range_uj": "1000000000\n",
}  # fmt: skip
HWMON = "sys/class/hwmon/hwmon"
JETSON = {
    f"{HWMON}0/name": "cpu_thermal\n", f"{HWMON}1/name": "ina3221\n",
    f"{HWMON}1/in1_label": "VDD_CPU_GPU_CV\n", f"{HWMON}1/in1_input": "5000\n", f"{HWMON}1/curr1_input": "200\n",
    f"{HWMON}1/in2_label": "VDD_IN\n", f"{HWMON}1/in2_input": "5000\n", f"{HWMON}1/curr2_input": "1400\n",
}  # fmt: skip


@pytest.fixture
def machine(tmp_path):
    def make(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return make


class Counter:
    method = "a counter"

    def __init__(self, *joules):
        self._joules = list(joules)

    def joules(self):
        if not self._joules:
            raise OSError("gone")
        return self._joules.pop(0)


def test_packages_and_memory_count_and_what_counts_them_again_does_not(machine):
    meter = find_meter(root := machine(XEON))
    (root / f"{RAPL}0:1/energy_uj").write_text("9000000")
    (root / f"{RAPL}0:0/energy_uj").write_text("900000000")

    assert meter.method == "RAPL package-0 + dram"
    assert meter.joules() == 2.0


def test_a_counter_that_begins_anew_is_made_up_for(machine):
    meter = find_meter(root := machine(XEON))
    (root / f"{RAPL}0/energy_uj").write_text("500000")

    assert meter.joules() == 1.5
    assert meter.joules() == 1.5


def test_the_rail_that_feeds_the_board_is_taken_and_not_its_first(machine):
    meter = find_meter(machine(JETSON))
    first = meter.joules()
    meter.close()

    assert meter.method == "power rail ina3221 VDD_IN"
    assert meter._watts() == 7.0
    assert meter.joules() > first


def test_a_sensor_of_power_says_microwatts(machine):
    files = {f"{HWMON}2/name": "ina226\n", f"{HWMON}2/power1_input": "2500000\n"}

    meter = find_meter(machine(files))
    meter.close()

    assert (meter.method, meter._watts()) == ("power rail ina226 power1", 2.5)


def test_power_between_readings_is_their_mean():
    watts = iter([1.0, 3.0])
    meter = RailMeter("x", lambda: next(watts), every_s=3600)
    began = meter._last[0]

    joules = meter.joules()
    meter.close()

    assert joules == pytest.approx(2.0 * (meter._last[0] - began))


def test_a_machine_without_a_counter_says_so(machine):
    with open_gauge(machine({f"{HWMON}0/name": "nvme\n"})) as gauge:
        gauge.begin()
        energy = gauge.energy()

    assert energy.joules is None
    assert "no RAPL" in energy.why


def test_a_counter_that_only_root_may_read_is_named(machine):
    root = machine(XEON)
    (root / f"{RAPL}0/energy_uj").unlink()  # to root, no mode is a hindrance

    with open_gauge(root) as gauge:
        assert gauge.energy().why == f"/{RAPL}0/energy_uj: No such file or directory"


def test_idle_power_is_taken_off():
    gauge = Gauge(Counter(0.0, 1.0, 10.0, 20.0), idle_s=0)
    gauge._idle_watts = 2.0
    gauge.begin()

    energy = gauge.energy()

    assert energy.joules == 10.0
    assert energy.net_joules == pytest.approx(10.0 - 2.0 * energy.seconds)


def test_a_counter_that_goes_away_gives_no_figure():
    gauge = Gauge(Counter(0.0, 1.0, 10.0), idle_s=0)
    gauge.begin()

    energy = gauge.energy()

    assert (energy.joules, energy.net_joules) == (None, None)
    assert "no longer" in energy.why


@given(st.floats(0, 1e6), st.floats(0, 1e3), st.floats(0, 1e3))
def test_no_inference_gives_energy_back(joules, seconds, idle_watts):
    energy = Energy(method="x", joules=joules, seconds=seconds, idle_watts=idle_watts)

    assert energy.net_joules is None or 0 < energy.net_joules <= joules
    assert Energy.read(Fields(energy.to_json(), of="it", hint="")) == energy
