"""Waves hold each device once, and a threshold stops where it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.devices.fleet.waves import Share, Size, exceeds, plan_waves, read_percent, read_steps
from tinsmith.runtime.errors import UsageError

STEPS = st.one_of(
    st.floats(0.1, 100).map(lambda percent: Share(percent=percent)), st.integers(1, 30).map(lambda n: Size(devices=n))
)


@given(total=st.integers(1, 60), steps=st.lists(STEPS, max_size=5), data=st.data())
def test_every_device_has_its_turn_once_and_the_canary_first(total, steps, data):
    devices = [f"d{number}" for number in range(total)]
    canary = data.draw(st.sets(st.sampled_from(devices)))

    waves = plan_waves(devices, canary=tuple(canary), steps=steps)

    in_turn = [device for wave in waves for device in wave.devices]
    rest = [device for device in devices if device not in canary]
    assert sorted(in_turn) == sorted(devices)
    assert in_turn[len(canary) :] == rest
    assert set(in_turn[: len(canary)]) == canary
    assert all(wave.devices for wave in waves)
    assert len({wave.title for wave in waves}) == len(waves)
    assert (waves[0].title == "canary") is bool(canary)


@given(total=st.integers(1, 60), canary=st.integers(0, 60), percents=st.lists(st.integers(1, 100), max_size=4))
def test_after_a_share_so_much_of_all_has_had_its_turn(total, canary, percents):
    devices = [f"d{number}" for number in range(total)]
    steps = [Share(percent=percent) for percent in sorted(percents)]
    waves = plan_waves(devices, canary=devices[:canary], steps=steps)

    ends, done = set(), 0
    for wave in waves:
        done += len(wave.devices)
        ends.add(done)
    for step in steps:
        least = -(-step.percent * total // 100)
        assert least <= min(canary, total) or least in ends


def test_sizes_and_shares_as_a_person_counts_them():
    devices = [f"d{number}" for number in range(20)]

    waves = plan_waves(devices, canary=["d3"], steps=read_steps("10%, 50%"))
    assert [(wave.title, len(wave.devices)) for wave in waves] == [
        ("canary", 1), ("wave 1", 1), ("wave 2", 8), ("wave 3", 10)]  # fmt: skip

    waves = plan_waves(devices, canary=[], steps=read_steps("5,7"))
    assert [(wave.title, len(wave.devices)) for wave in waves] == [("wave 1", 5), ("wave 2", 7), ("wave 3", 8)]


@given(failed=st.integers(0, 100), of=st.integers(1, 100), percent=st.integers(0, 100))
def test_a_wave_bears_its_share_of_failures_and_not_one_more(failed, of, percent):
    assert exceeds(failed, of, percent=percent) is (failed > percent * of // 100)


@given(of=st.integers(1, 100), percent=st.floats(0, 100))
def test_all_may_fail_only_where_all_may(of, percent):
    assert not exceeds(0, of, percent=percent)
    assert exceeds(of, of, percent=percent) is (percent < 100)


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "-5", "ten", "50%,10%", "5,,6", "10 %%", "nan%", "1e2"])
def test_what_is_no_wave_is_refused(text):
    with pytest.raises(UsageError, match="wave"):
        read_steps(text)


@pytest.mark.parametrize("text", ["", "10", "%", "101%", "-1%", "nan%", "1e1%"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(UsageError, match="share"):
        read_percent(text)
    assert read_percent(" 2.5 % ") == 2.5
