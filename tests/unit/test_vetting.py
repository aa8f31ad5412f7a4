"""The trial in a child process, and the watchdog of those that passed it."""

import threading

import numpy as np
import pytest

from tinsmith.runtime.bundle.golden import Golden
from tinsmith.runtime.errors import ModelTimeoutError, VerificationError
from tinsmith.runtime.server.serving import Limits, Servable
from tinsmith.runtime.server.vetting import vet_in_child
from tinsmith.runtime.server.watchdog import Watchdog
from tinsmith.runtime.session import open_vetted


def servable(path, golden=None):
    return Servable(name="m", version="1", path=path, format=path.suffix[1:], sha256="", golden=golden)


def golden_of(path, *, off=0):
    """What the model answers here, or something else."""
    images = np.random.default_rng(0).integers(-128, 127, (3, 8, 8, 1)).astype(np.int8)
    with open_vetted(path, engine=None, accelerator="cpu", threads=1) as session:
        (output,) = session.outputs
        answers = np.concatenate([session.run_raw({"image": image[None]})[output.name] for image in images])
    answers[2] += np.int8(off)
    return Golden(
        inputs={"image": images}, outputs={"litert": {output.name: answers}}, tolerance={"litert": {output.name: 1.0}}
    )


def test_golden_inputs_are_run_in_the_child_on_stored_dtypes(golden):
    path = golden / "cnn_int8.tflite"

    vet_in_child(servable(path, golden_of(path)), Limits(max_batch=4))
    with pytest.raises(VerificationError, match="golden sample 2 is off by 3, and 1 is allowed on litert"):
        vet_in_child(servable(path, golden_of(path, off=3)), Limits())


def test_a_model_that_never_ends_does_not_get_in(golden):
    with pytest.raises(ModelTimeoutError, match="did not answer within 1 s"):
        vet_in_child(servable(golden / "endless.tflite"), Limits(), time_limit_s=1.0)


class Pool:
    """Tells when it is looked at."""

    def __init__(self, next_s, time_limit_s=8.0):
        self.next_s, self.time_limit_s = next_s, time_limit_s
        self.looked = threading.Semaphore(0)

    def give_up_overdue(self):
        self.looked.release()
        return self.next_s


def test_the_watchdog_looks_at_every_pool_until_it_is_forgotten():
    watchdog, first, second = Watchdog(), Pool(0.0), Pool(0.0)
    watchdog.watch(first)
    watchdog.watch(second)

    for pool in (first, second, first, second):
        assert pool.looked.acquire(timeout=20)
    watchdog.forget(first)
    watchdog.close()
    assert not watchdog._thread.is_alive()


@pytest.mark.parametrize(("next_s", "wait_s"), [(5.0, 2.0), (1.5, 1.5), (0.0, 0.05)])
def test_the_watchdog_is_late_by_a_quarter_of_the_time_limit_at_most(next_s, wait_s):
    watchdog = Watchdog()
    watchdog._pools = [Pool(next_s), Pool(7.0)]

    assert watchdog.look() == wait_s
