"""Hot swap by file change: only what is whole, only once."""

import os
import threading

import pytest

from tinsmith.runtime.server.watching import FileWatcher


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


class Looking:
    """A watcher of one file, and a clock that moves with each look."""

    def __init__(self, path):
        self.heard = []
        self.clock = Clock()
        self.watcher = FileWatcher({"m": path}, self.heard.append, settle_s=1.0, clock=self.clock)

    def look(self, times=1):
        for _ in range(times):
            self.clock.now_s += 0.5
            self.watcher.look()
        return len(self.heard)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"one")
    return path


def test_a_file_that_stays_is_not_taken(path):
    assert Looking(path).look(5) == 0


def test_a_file_that_was_replaced_is_taken_once_it_has_settled(path, tmp_path):
    looking = Looking(path)
    other = tmp_path / "other"
    other.write_bytes(b"two")
    other.replace(path)

    assert looking.look(2) == 0
    assert looking.look() == 1
    assert looking.look(5) == 1


def test_a_file_that_is_being_written_is_left_alone_until_it_is_whole(path):
    looking = Looking(path)
    with path.open("ab") as stream:
        for _ in range(10):
            stream.write(b"x")
            stream.flush()
            assert looking.look() == 0

    assert looking.look(3) == 1


def test_a_file_rewritten_with_the_same_size_is_taken(path):
    looking = Looking(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))

    assert looking.look(3) == 1


def test_a_file_that_is_missing_for_a_while_is_taken_when_it_is_back(path):
    looking = Looking(path)
    path.unlink()
    assert looking.look(5) == 0
    path.write_bytes(b"two, longer")

    assert looking.look(3) == 1


def test_a_new_manifest_beside_the_file_counts(path, tmp_path):
    looking = Looking(path)
    (tmp_path / "m.tflite.json").write_text("{}")

    assert looking.look(3) == 1


def test_a_thread_looks_until_it_is_closed(path):
    heard = threading.Event()
    watcher = FileWatcher({"m": path}, lambda name: heard.set(), settle_s=0.0)
    path.write_bytes(b"two, longer")
    watcher.start(interval_s=0.001)

    assert heard.wait(20)
    watcher.close()
    assert not watcher._thread.is_alive()
