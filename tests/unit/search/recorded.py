"""Records of the arithmetic search, as the search itself writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinsmith.compress.compression import compress
from tinsmith.compress.recipe import load_recipe
from tinsmith.compress.search.record import Record

GOLDEN = Path(__file__).parents[2] / "golden"

COMMAND = "tinsmith search 'my model.keras' --data data.yaml --metric top-5 --max-size 60kB -o run"


def record_of(found, ask, *, artifacts=None, **changed):
    """What a search leaves in its folder."""
    said = {
        "finished": True,
        "command": COMMAND,
        "source": {"path": "my model.keras", "format": "keras", "sha256": "5f" * 32, "bytes": 1_116_712},
        "data": {"reference": "data.yaml", "name": "data.yaml", "sha256": "63" * 32, "judged": 500},
        "metric": "top-5",
        "score": 0.9,
        "ask": tuple(ask.to_json()),
        "devices": tuple(
            {"name": name, "profile": name, "threads": 1, "emulated": False} for name in ask.devices
        ),
        "settings": {"training": True, "sampler": "tpe", "population": 8, "trials": 40, "minutes": 30.0, "seed": 3,
                     "device": None},
        "environment": {"system": "Linux", "machine": "x86_64", "cores": "2", "python": "3.11.9", "tinsmith": "0.1.0"},
        "began": "2026-11-27T13:00:00+00:00",
        "seconds": 912.5,
        "ended": found.ended,
        "trials": found.trials,
        "front": tuple(trial.number for trial in found.front),
        "chosen": None if found.chosen is None else found.chosen.number,
        "nearest": None if found.nearest is None else found.nearest.number,
        "loosenings": found.loosenings,
        "artifacts": {},
        **changed,
    }  # fmt: skip
    best = said["chosen"] or said["nearest"]
    if artifacts is not None and best:
        path = f"artifacts/{best:03d}"
        said["artifacts"] = {best: {"path": f"{path}.tflite", "recipe": f"{path}.yaml", "report": artifacts}}
    return Record(**said)


def compressed(folder):
    """What ``compress`` makes of a small model in int8, in truth."""
    rng = np.random.default_rng(0)
    np.savez(folder / "d.npz", x=rng.random((60, 8, 8, 1), np.float32), y=rng.integers(0, 3, 60))
    return compress(GOLDEN / "cnn.tflite", load_recipe("int8"), folder / "x.tflite", data=folder / "d.npz")
