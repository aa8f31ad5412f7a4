"""Measure what the project promises: python -m benchmarks [PART ...]."""

from __future__ import annotations

import sys
import time

from benchmarks import (
    accuracy,
    arithmetic,
    calibration,
    damaged,
    demo,
    evaluated,
    flash,
    fleet,
    fragile,
    honesty,
    hygiene,
    instructions,
    large,
    monitor,
    overhead,
    overload,
    peer,
    power,
    sampling,
    scale_out,
    searches,
    serving,
    startup,
    swaps,
    training,
)

PARTS = {
    "accuracy": accuracy.figures,
    "arithmetic": arithmetic.figures,
    "hygiene": hygiene.figures,
    "overhead": overhead.figures,
    "startup": startup.figures,
    "peer": peer.figures,
    "monitor": monitor.figures,
    "demo": demo.figures,
    "flash": flash.figures,
    "fleet": fleet.figures,
    "power": power.figures,
    "fragile": fragile.figures,
    "honesty": honesty.figures,
    "evaluated": evaluated.figures,
    "instructions": instructions.figures,
    "calibration": calibration.figures,
    "training": training.figures,
    "large": large.figures,
    "searches": searches.figures,
    "sampling": sampling.figures,
    "killed": sampling.killed,
    "scale_out": scale_out.figures,
    "serving": serving.figures,
    "swaps": swaps.figures,
    "overload": overload.figures,
    "damaged": damaged.figures,
}
# Only when asked for by name.
_HOURS = (
    "training", "flash", "fleet", "power", "fragile", "honesty", "evaluated", "instructions", "large", "searches",
    "sampling", "killed", "scale_out", "serving", "swaps", "overload", "damaged",
)  # fmt: skip


def main(asked: list[str]) -> int:
    missed = 0
    for name in asked or [name for name in PARTS if name not in _HOURS]:
        started = time.perf_counter()
        print(f"\n{name}")
        for figure in PARTS[name]():
            print(f"  {figure}")
            missed += figure.missed
        print(f"  ({time.perf_counter() - started:.0f} s)")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
