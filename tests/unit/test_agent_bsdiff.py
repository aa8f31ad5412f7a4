"""Patches: what bsdiff4 makes comes out right, and what anyone else makes is refused."""

import bz2
import contextlib
import struct

import bsdiff4
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.runtime.agent.bsdiff import patched
from tinsmith.runtime.errors import VerificationError


@pytest.fixture(scope="module")
def apply(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patch")

    def call(old, patch, size):
        (folder / "old").write_bytes(old)
        (folder / "patch").write_bytes(patch)
        return b"".join(patched(folder / "old", folder / "patch", size_bytes=size))

    return call


def number(value):
    return struct.pack("<Q", value if value >= 0 else (1 << 63) - value)


def container(triples, diff=b"", extra=b"", *, size=None, tail=b""):
    blocks = [bz2.compress(b"".join(number(n) for t in triples for n in t)), bz2.compress(diff), bz2.compress(extra)]
    size = sum(t[0] + t[1] for t in triples) if size is None else size
    head = b"BSDIFF40" + number(len(blocks[0])) + number(len(blocks[1])) + number(size)
    return head + b"".join(blocks) + tail


@given(st.lists(st.binary(max_size=40), max_size=12), st.randoms(), st.data())
def test_it_makes_what_bsdiff4_meant(apply, pieces, random, data):
    old = b"".join(pieces) * 4
    shuffled = random.sample(pieces, len(pieces))
    new = b"".join(shuffled) * 3 + data.draw(st.binary(max_size=20))

    assert apply(old, bsdiff4.diff(old, new), len(new)) == new


def test_four_moves_in_a_row_are_bsdiff4s_own(apply):
    old, new = (
        (bytes([0, 0, 1, 1, 0, 0, 1, 1, 2]) + b"\x01\x01") * 4,
        b"".join([b"\x01\x01", b"\0\0\1\1\0\0\1\1\0\2"] * 3),
    )

    assert apply(old, bsdiff4.diff(old, new), len(new)) == new
    assert apply(b"ab", container([(0, 0, 0)] * 9 + [(0, 2, 0)] + [(0, 0, 0)] * 9, extra=b"xy"), 2) == b"xy"


def test_a_large_file_with_a_tenth_of_it_off_by_one(apply):
    rng = np.random.default_rng(0)
    old = rng.integers(0, 256, 1_500_000, dtype=np.uint8)
    new = old + (rng.random(old.size) < 0.1).astype(np.uint8)

    assert apply(old.tobytes(), bsdiff4.diff(old.tobytes(), new.tobytes()), old.size) == new.tobytes()


@given(st.data())
def test_a_changed_patch_gives_other_bytes_or_an_error_and_nothing_else(apply, data):
    old, new = bytes(range(200)) * 3, bytes(range(200)) * 2 + b"end"
    patch = bytearray(bsdiff4.diff(old, new))
    cut = data.draw(st.integers(0, len(patch)))
    at = data.draw(st.integers(0, len(patch) - 1))
    patch[at] ^= data.draw(st.integers(1, 255))
    for content in (bytes(patch), bytes(patch[:cut])):
        with contextlib.suppress(VerificationError):
            assert len(apply(old, content, len(new))) == len(new)


@pytest.mark.parametrize(
    ("patch", "size", "said"),
    [
        (container([(4, 0, 0)], b"\0" * 4), 5, "makes 4 bytes"),
        (container([(11, 0, 0)], b"\0" * 11), 11, "out of the file"),
        (container([(1, 0, -5), (2, 0, 0)], b"\0" * 3), 3, "out of the file"),
        (container([(1, 0, 1 << 62), (2, 0, 0)], b"\0" * 3), 3, "out of the file"),
        (container([(-1, 4, 0)], b"", b"abc", size=3), 3, "beyond the new file"),
        (container([(2, -1, 0)], b"\0\0", size=1), 1, "beyond the new file"),
        (container([(1 << 62, 0, 0)], b"\0", size=3), 3, "beyond the new file"),
        (container([(0, 0, 0)] * 2000, size=3), 3, "beyond the new file"),
        (container([(3, 0, 0)], b"\0\0"), 3, "diff block is too short"),
        (container([(0, 3, 0)], b"", b"ab"), 3, "extra block is too short"),
        (container([(1, 0, 0)], b"\0", size=3), 3, "control block is too short"),
        (container([(2, 0, 0)], b"\0\0\0"), 2, "more than it uses"),
        (container([(2, 0, 0), (1, 0, 0)], b"\0\0\0", size=2), 2, "beyond the new file"),
        (container([(2, 0, 0)], b"\0\0", tail=b"x"), 2, "behind its extra block"),
        (b"BSDIFF40" + number(-1) + number(9) + number(2) + b"x" * 30, 2, "longer than the file"),
        (b"BSDIFF40" + number(1 << 60) + number(9) + number(2), 2, "longer than the file"),
        (b"BSDIFF41" + bytes(24), 2, "does not begin"),
        (b"", 2, "does not begin"),
    ],
)
def test_a_patch_that_is_made_to_harm_is_refused(apply, patch, size, said):
    with pytest.raises(VerificationError, match=said):
        apply(bytes(10), patch, size)


def test_a_block_that_unpacks_to_a_gigabyte_is_left_at_its_first_unused_byte(apply):
    with pytest.raises(VerificationError, match="more than it uses"):
        apply(bytes(10), container([(2, 0, 0)], bytes(30_000_000)), 2)
