"""Many at once, and never more than that."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.devices.fleet.pool import in_order, in_parallel


@given(items=st.lists(st.integers()), parallel=st.integers(1, 9))
def test_results_stand_in_the_order_of_the_items(items, parallel):
    assert in_order(lambda item: item * 2, items, parallel=parallel) == [item * 2 for item in items]


def test_so_many_run_at_once_and_no_more():
    lock, together = threading.Lock(), threading.Barrier(3, timeout=10)
    running, most = 0, 0

    def work(item):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait()  # goes on when three are here
        with lock:
            running -= 1
        return item

    assert sorted(in_parallel(work, range(9), parallel=3)) == list(range(9))
    assert most == 3


def test_nothing_begins_once_it_is_told_to_stop_and_what_runs_is_heard():
    begun = []

    def starting(item):
        if len(begun) == 4:
            return False
        begun.append(item)
        return True

    assert sorted(in_parallel(lambda item: item, range(10), parallel=2, starting=starting)) == [0, 1, 2, 3]


def test_a_defect_begins_nothing_more_and_is_raised_when_what_runs_has_been_heard():
    begun = []

    def work(item):
        begun.append(item)
        return 12 // (3 - item)

    results = in_parallel(work, range(9), parallel=1)
    assert [next(results), next(results), next(results)] == [4, 6, 12]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert begun == [0, 1, 2, 3]


def test_what_runs_beside_a_defect_is_heard():
    failing = threading.Event()

    def work(item):
        if item == 0:
            failing.set()
            raise ZeroDivisionError
        assert failing.wait(10)
        return item

    results = in_parallel(work, [0, 1], parallel=2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
