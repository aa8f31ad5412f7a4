"""Flash over SSH to an arm64 board with an address of its own: its time beside scp's, its bytes, what breaks it.

The board is QEMU's, so nothing that runs there is said to be as fast as a device; what Python, hashes and the model
take there is printed apart from what goes over the link.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.figure import Figure
from benchmarks.flashed import GOLDEN, flashed
from benchmarks.proxy import Proxy
from tinsmith.devices.boards.starting import KINDS, lack_of
from tinsmith.runtime.errors import TinsmithError

_MIB = 1 << 20
_PAIRS = 5
_CUTS = 20
_CHUNK_BYTES = 1 << 19  # what SFTP keeps on the way: 16 blocks of 32 KiB


def figures():
    if lack := lack_of(KINDS["ssh"]):
        yield Figure(name="flash over SSH", value=None, bar=0, seen=lack.message)
        return
    with tempfile.TemporaryDirectory() as folder, flashed("flash-bench", "ssh", Path(folder)) as board:
        yield from _bits(board)
        yield from _bytes(board)
        yield from _cuts(board)
        yield from _times(board)


def _bits(board):
    """Golden outputs are this machine's; a tolerance of 0 asks for them bit by bit."""
    worst = []
    for version, model in enumerate(_int8_models(), start=1):
        path = board.make_of(model, version)
        found = board.flash(path, downgrade=True)
        worst.append((model.name, found.engine_version, found.golden))
    seen = "; ".join(f"{name}: {engine}: {golden}" for name, engine, golden in worst)
    differing = sum("off by 0," not in golden for _, _, golden in worst)
    yield Figure(name="int8 models whose outputs differ between x86-64 and arm64", value=differing, bar=0, seen=seen)


def _int8_models():
    data = os.environ.get("TINSMITH_DATA")
    tiny = () if data is None else (
        Path(data) / "mlperf_tiny/ic/pretrainedResnet_quant.tflite",
        Path(data) / "mlperf_tiny/vww/vww_96_int8.tflite",
        Path(data) / "mlperf_tiny/kws/kws_ref_model.tflite",
        Path(data) / "mlperf_tiny/ad/ad01_int8.tflite",
    )  # fmt: skip
    return (GOLDEN / "cnn_int8.tflite", *(path for path in tiny if path.is_file()))


def _bytes(board):
    """A light fine-tune: a tenth of the weights, one off."""
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 20, 3_000_000).clip(-127, 127).astype(np.int8)
    moved = weights + rng.choice([-1, 1], weights.size).astype(np.int8) * (rng.random(weights.size) < 0.1)
    before = board.make_with(11, weights.tobytes())
    board.flash(before)
    with Proxy(*board.where) as proxy:
        found = board.through(proxy).flash(board.make_with(12, moved.astype(np.int8).tobytes()))
        yield Figure(name="a tenth of the int8 weights of 3 MB one off: sent", value=found.sent.size_bytes, bar=270_000,
                     unit=" bytes", seen=f"[{found.sent.form}; {proxy.up_bytes:,} over the wire]")  # fmt: skip
    with Proxy(*board.where) as proxy:
        found = board.through(proxy).flash(board.folder / "cnn-12.tin")
        yield Figure(name="the same bundle again: over the wire, both ways", value=proxy.up_bytes + proxy.down_bytes,
                     bar=20_000, unit=" bytes", seen=f"[changed: {found.changed}]")  # fmt: skip


def _cuts(board):
    """The connection is closed at offsets over the whole of the upload, each one later than the one before."""
    path = board.make(21, 10 * _MIB)
    size_bytes = path.stat().st_size
    rng = np.random.default_rng(0)
    offsets, wire_bytes, kept, wrong = sorted(rng.integers(1, size_bytes, _CUTS)), 0, 0, []
    for offset in offsets:
        with Proxy(*board.where, cut_after_bytes=int(offset) - kept) as proxy:
            try:
                board.through(proxy).flash(path)
                wrong.append(f"{offset}: it was not cut")
            except TinsmithError as error:
                if error.exit_code != 5:
                    wrong.append(f"{offset}: exit code {error.exit_code}: {error.message}")
            wire_bytes += proxy.up_bytes
        kept = board.held_bytes(path)
    with Proxy(*board.where) as proxy:
        found = board.through(proxy).flash(path)
        wire_bytes += proxy.up_bytes
    if found.active.version != 21:
        wrong.append(f"version {found.active.version} is active")
    again = round(wire_bytes / size_bytes - 1, 3)
    bar = round(_CUTS * _CHUNK_BYTES / size_bytes, 3)
    seen = f"[{wire_bytes:,} over the wire for {size_bytes:,}, SSH's own among them]"
    yield Figure(name=f"{_CUTS} cuts: bytes sent twice, of the bundle's; a chunk each", value=again, bar=bar, seen=seen)
    yield Figure(name="cuts after which it did not go on", value=len(wrong), bar=0, seen="; ".join(wrong))


def _times(board):
    """In turn: scp, and a first flash to an empty board by a host that never packed the bundle."""
    flash_s, scp_s = [], []
    for number in range(_PAIRS + 1):
        path = board.make(100 + number, 10 * _MIB)
        board.empty()
        pair = [lambda path=path: scp_s.append(board.scp(path)), lambda path=path: flash_s.append(board.first(path))]
        for call in pair if number % 2 else pair[::-1]:
            call()
    flash_s, scp_s = flash_s[1:], scp_s[1:]  # the first of each warms caches
    link_s = [found.durations_ms["sending"] / 1e3 for _, found in flash_s]
    ratios = [a / b for a, b in zip(link_s, scp_s, strict=True)]
    apart = {
        stage: median(f.durations_ms.get(stage, 0.0) for _, f in flash_s) / 1e3 for stage in flash_s[0][1].durations_ms
    }
    said = ", ".join(f"{stage} {spent_s:.2f} s" for stage, spent_s in apart.items())
    yield Figure(name="first flash of 10 MB over scp of the same file, by what goes over the link",
                 value=round(median(ratios), 2), bar=1.5,
                 seen=f"[{min(ratios):.2f} to {max(ratios):.2f} over {len(ratios)} pairs; scp {median(scp_s):.2f} s; "
                 f"whole flash {median(s for s, _ in flash_s):.1f} s: {said}]")  # fmt: skip
