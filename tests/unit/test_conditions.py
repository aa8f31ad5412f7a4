"""Conditions and counters, from files of /proc and /sys as real machines have them."""

import pytest

from tinsmith.runtime.fields import Fields
from tinsmith.runtime.measuring.conditions import Conditions, read_conditions, read_machine
from tinsmith.runtime.measuring.usage import Clocks, Usage, read_counters, usage_between

PI = {
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "600000\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1500000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1500000\n",
    "sys/class/thermal/thermal_zone0/temp": "48212\n",
    "sys/class/thermal/cooling_device0/type": "cpufreq-cpu0\n",
    "sys/class/thermal/cooling_device0/cur_state": "1\n",
    "sys/class/thermal/cooling_device1/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device1/cur_state": "4\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
    "proc/loadavg": "0.52 0.58 0.59 1/389 1234\n",
    "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 108.00\n\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
}


def machine(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_the_conditions_of_a_raspberry_pi(tmp_path):
    assert read_conditions(machine(tmp_path, PI)) == Conditions(
        governor="ondemand", frequency_mhz=1500.0, limit_mhz=1500.0, temperature_c=48.212, cooling=1,
        throttled_bits=0x50005, load_1m=0.52, unread={},
    )  # fmt: skip
    assert read_machine(tmp_path).cpu == "Raspberry Pi 4 Model B Rev 1.4"


def test_what_can_t_be_read_is_null_with_its_reason(tmp_path):
    found = read_conditions(tmp_path)

    nothing = {name for name in Conditions.__slots__ if getattr(found, name) is None}
    assert nothing == set(found.unread) == {*Conditions.__slots__} - {"unread"}
    assert "scaling_governor: No such file" in found.unread["governor"]
    assert read_machine(tmp_path).cpu == "unknown"


def test_a_zone_that_sleeps_hides_no_other(tmp_path):
    asleep = {"sys/class/thermal/thermal_zone1/temp": "", "sys/class/thermal/thermal_zone2/temp": "90000"}

    assert read_conditions(machine(tmp_path, {**PI, **asleep})).temperature_c == 90.0


def test_conditions_and_usage_survive_their_documents(tmp_path):
    conditions = read_conditions(machine(tmp_path, {"proc/loadavg": "1.00 1 1 1/1 1"}))
    usage = Usage(wall_s=1.5, own_cores=0.5, involuntary_switches=3, clock_jump_ms=-2.0, unread={"quota_share": "no"})

    assert Conditions.read(Fields(conditions.to_json(), of="it", hint="")) == conditions
    assert Usage.read(Fields(usage.to_json(), of="it", hint="")) == usage


def counters(root, *, steady_s, day_s=0.0, stat="0 0 0 0 0 0 0 0 0 0", threads=(), throttled_us=0):
    files = {"proc/stat": f"cpu  {stat}\ncpu0 {stat}\n", "sys/fs/cgroup/cpu.stat": f"throttled_usec {throttled_us}\n"}
    for number, (on_core_ns, ready_ns, switches) in enumerate(threads):
        files[f"proc/7/task/{number}/schedstat"] = f"{on_core_ns} {ready_ns} 12\n"
        files[f"proc/7/task/{number}/status"] = f"Name:\tx\nnonvoluntary_ctxt_switches:\t{switches}\n"
    clocks = Clocks(steady=lambda: int(steady_s * 1e9), day=lambda: int(day_s * 1e9))
    return read_counters(7, root=machine(root, files), clocks=clocks)


def test_who_used_the_cores_is_told_apart(tmp_path):
    """Ten seconds: 1.5 cores busy, one of them ours in two threads; a tenth stolen; clock set back by a minute."""
    before = counters(tmp_path, steady_s=100, day_s=5000, stat="100 5 50 900 3 2 1 10 0 0",
                      threads=[(0, 0, 5), (10**9, 10**9, 0)])  # fmt: skip
    after = counters(tmp_path, steady_s=110, day_s=4950, stat="1100 105 350 1400 3 52 51 110 0 0",
                     threads=[(6 * 10**9, 10**9, 9), (5 * 10**9, 2 * 10**9, 1)], throttled_us=2_000_000)  # fmt: skip

    usage = usage_between(before, after)

    assert usage.wall_s == 10
    assert usage.own_cores == pytest.approx(1.0, abs=0.05)
    assert usage.others_cores == pytest.approx(0.5, abs=0.05)
    assert usage.steal_cores == pytest.approx(0.1)
    assert usage.waited_share == pytest.approx(0.2)
    assert usage.quota_share == pytest.approx(0.2)
    assert usage.involuntary_switches == 5
    assert usage.clock_jump_ms == pytest.approx(-60_000)


def test_a_kernel_without_counters_gives_nulls_with_reasons(tmp_path):
    empty = read_counters(7, root=tmp_path)

    usage = usage_between(empty, empty)

    assert (usage.own_cores, usage.others_cores, usage.waited_share, usage.involuntary_switches) == (None,) * 4
    assert set(usage.unread) == {"others_cores", "own_cores", "involuntary_switches", "quota_share"}


def test_this_machine_counts_its_own_work():
    import os
    import time

    before = read_counters(os.getpid())
    end = time.thread_time() + 0.02
    while time.thread_time() < end:
        pass
    usage = usage_between(before, read_counters(os.getpid()))

    if usage.own_cores is None:
        pytest.skip(f"no schedstat here: {usage.unread}")
    assert usage.own_cores * usage.wall_s >= 0.02
