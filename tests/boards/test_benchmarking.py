"""Measuring on a board that is real but for its CPU: what it answers, and what is kept when cable or memory fail."""

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinsmith.convert.elsewhere import evaluate_elsewhere
from tinsmith.devices.answering import DeviceAnswers
from tinsmith.devices.benchmarking.benchmark import benchmark
from tinsmith.devices.benchmarking.effort import EFFORTS, Plan
from tinsmith.devices.benchmarking.instructions import count_instructions
from tinsmith.devices.benchmarking.measurer import DeviceMeasurer
from tinsmith.devices.boards import faults
from tinsmith.devices.device import Device
from tinsmith.devices.setup.report import Wanted
from tinsmith.devices.setup.setting_up import set_up
from tinsmith.devices.transports.addresses import parse_address
from tinsmith.devices.transports.ssh import SshTransport
from tinsmith.devices.transports.ssh_connection import SshSettings
from tinsmith.runtime.errors import HostError
from tinsmith.runtime.measuring.requests import Amount
from tinsmith.runtime.profile import load_profile

GOLDEN = Path(__file__).parents[1] / "golden"
MODEL = GOLDEN / "cnn_int8.tflite"
AMOUNT = Amount(runs=5, most_s=1, warm_s=0.1)
PLAN = Plan(effort=replace(EFFORTS["rapid"], amount=AMOUNT))


@pytest.fixture(scope="module")
def device(ssh_board):
    made = Device(name="pi", profile=load_profile("virtual-arm64"), profile_name="virtual-arm64",
                  address=ssh_board.address, host_key=ssh_board.host_key, base="/data/measured")  # fmt: skip
    with contextlib.closing(ssh_board.open()) as transport:
        try:
            set_up(made, transport, wanted=Wanted(service=False))
        except HostError as error:
            pytest.skip(f"there are no wheels for the board: {error.message}")
    return made


def impatient(board):
    """Finds out within seconds that the cable is out; an emulated processor that measures takes its time to answer."""
    address = parse_address(f"{board.address}&hostkey={board.host_key}")
    return SshTransport(address, SshSettings(connect_limit_s=5.0, keepalive_s=1.0))


class Pulling:
    """Pulls the cable out once so many processes have measured."""

    def __init__(self, board, after):
        self._board, self._after = board, after

    def sent(self, device, done_bytes, size_bytes):
        pass

    def measured(self, device, artifact, number, processes):
        if number == self._after:
            faults.link_down(self._board)


def test_an_int8_model_is_as_good_there_as_here_at_the_same_version(device, tmp_path):
    rng = np.random.default_rng(7)
    np.savez(tmp_path / "d.npz", x=rng.random((80, 8, 8, 1), np.float32), y=rng.integers(0, 3, 80))

    [found] = evaluate_elsewhere([MODEL], tmp_path / "d.npz", lambda path: [DeviceAnswers(device, path)])

    (there,) = found.there
    assert there.error is None
    if (there.engine, there.engine_version) != (found.engine, found.engine_version):
        pytest.skip(f"another engine there: {there.engine_version}")
    assert (there.samples, there.evaluation.score, there.other_answers) == (80, found.here.score, 0)


def test_a_cable_that_is_pulled_out_keeps_what_was_measured(ssh_board, device):
    try:
        report = benchmark(
            [MODEL], [device], PLAN, watch=Pulling(ssh_board, after=1),
            measurer_of=lambda device: DeviceMeasurer(device, impatient(ssh_board)),
        )  # fmt: skip
    finally:
        faults.link_up(ssh_board)

    (measurement,) = report.measurements
    assert (len(measurement.processes), report.exit_code) == (1, 5)
    assert measurement.verdict.state == "noisy"
    assert any("ended early: " in reason for reason in measurement.verdict.reasons)


def test_a_model_that_is_killed_for_memory_is_no_lost_device(ssh_board, device):
    plan = replace(PLAN, effort=replace(PLAN.effort, processes=1))
    try:
        faults.limit_memory(ssh_board, limit_bytes=90 << 20)
    except HostError as error:
        pytest.skip(error.message)
    try:
        report = benchmark([MODEL], [device], plan)
    finally:
        faults.limit_memory(ssh_board, limit_bytes=None)

    (failure,) = report.failures
    assert (failure.error.exit_code, report.measurements) == (4, ())
    assert "SIGKILL" in failure.error.message
    assert "memory" in failure.error.hint


def test_a_governor_that_the_board_does_not_tell_is_said(device):
    plan = replace(PLAN, effort=replace(PLAN.effort, processes=1))

    (measurement,) = benchmark([MODEL], [device], plan).measurements

    assert "governor" in measurement.verdict.unseen
    assert "governor" in measurement.processes[0].before.unread


def test_a_cpu_that_counts_no_instructions_says_so(device):
    report = count_instructions([MODEL], [device])

    assert (report.counts, report.worst.exit_code) == ((), 3)
    assert "perf_event_open" in report.worst.message
    assert "--kind icount" in report.worst.hint
