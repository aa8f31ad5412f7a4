"""The board that counts: the same program executes the same number of instructions, whatever this machine does."""

import contextlib
import json
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_S = 120.0
THERE = PurePosixPath("/root/counted")
FILES = ("runtime/errors.py", "runtime/instructions.py")
PROGRAM = """
import json
from tinsmith.runtime.instructions import count_runs
# zeros: numbers that Python makes anew would cost more or less by where its memory lies
print(json.dumps([count_runs(lambda: sum(data), runs=5) for data in (bytes(20_000), bytes(200_000))]))
"""


@pytest.fixture(scope="module")
def transport(start):
    with contextlib.closing(start("counting", "icount").open()) as transport:
        package = THERE / "tinsmith" / "runtime"
        assert transport.run(["mkdir", "-p", str(package)], time_limit_s=LIMIT_S).code == 0
        for name in FILES:
            transport.put(ROOT / name, THERE / "tinsmith" / name, time_limit_s=LIMIT_S)
        yield transport


def counted(transport):
    arguments = ["env", f"PYTHONPATH={THERE}", "PYTHONHASHSEED=0", "python3", "-c", PROGRAM]
    ran = transport.run(arguments, time_limit_s=LIMIT_S)
    assert ran.code == 0, ran
    return json.loads(ran.stdout)


def test_two_processes_count_the_same_and_ten_times_the_work_is_ten_times_as_much(transport):
    (few, many), again = counted(transport), counted(transport)

    assert 8 < min(many) / min(few) < 12
    for one, other in zip((few, many), again, strict=True):
        assert sorted(other)[2] == pytest.approx(sorted(one)[2], rel=0.005)
