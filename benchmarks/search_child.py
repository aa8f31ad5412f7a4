"""A search that is measured by its artifacts' bytes: python -m benchmarks.search_child MODEL DATA OUTPUT."""

from __future__ import annotations

import sys
from pathlib import Path

from tinsmith.compress.search.bounds import Ask
from tinsmith.compress.search.search import Hands, Settings, search
from tinsmith.compress.search.searching import Limits
from tinsmith.compress.search.spreading import Care, LocalSpread
from tinsmith.compress.search.subject import Subject
from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.placement import Placement

_TRIALS = 16


class _Bytes:
    """Satisfies ``Stopwatch``: the hash says how long it takes."""

    facts = ({"name": "local", "profile": "local", "threads": 1, "emulated": False},)

    def __call__(self, artifact, _device, _threads):
        return _Measured(1 + int(sha256_of(artifact)[:8], 16) / 2**32)


class _Measured:
    def __init__(self, ms):
        self.median_ms, self.interval_ms, self.peak_memory_bytes = ms, None, 1 << 20
        self.placement = Placement(units={})


def main(model, data, output):
    settings = Settings(limits=Limits(trials=_TRIALS, minutes=600), resume=output.exists(), training=False)
    hands = Hands(stopwatch=_Bytes(), hiring=lambda subject, folder: LocalSpread(subject, folder.work, Care()))
    search(Subject(model=model, data=str(data)), Ask(), output, hands, settings=settings)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
