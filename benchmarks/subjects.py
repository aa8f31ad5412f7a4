"""The models that are measured, made once and kept below build/bench."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "bench"


def data_folder() -> Path | None:
    folder = Path(os.environ.get("TINSMITH_DATA", ROOT.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


def mobilenet_v2() -> Path:
    """MobileNetV2 of keras.applications with random weights as float .tflite, 14 MB."""
    return _mobilenet_v2("tflite")


def mobilenet_v2_onnx() -> Path:
    """The same as float .onnx, exported by tinsmith."""
    return _mobilenet_v2("onnx")


def _mobilenet_v2(suffix: str) -> Path:
    path = BUILD / f"mobilenet_v2.{suffix}"
    if not path.exists():
        import keras

        from tinsmith.convert.conversion import convert

        BUILD.mkdir(parents=True, exist_ok=True)
        keras.utils.set_random_seed(0)
        keras.applications.MobileNetV2(weights=None).save(BUILD / "mobilenet_v2.keras")
        convert(BUILD / "mobilenet_v2.keras", path)
    return path


def mobilenet_v2_int8() -> Path:
    """The same, int8, calibrated on noise: its speed is what counts here."""
    path = BUILD / "mobilenet_v2_int8.tflite"
    if not path.exists():
        import numpy as np

        from tinsmith.compress.compression import compress
        from tinsmith.compress.recipe import load_recipe
        from tinsmith.convert.delivery import Allowances

        source = mobilenet_v2()
        noise = np.random.default_rng(0).random((8, 224, 224, 3), np.float32)
        np.savez(BUILD / "noise.npz", x=noise)
        recipe = load_recipe("int8", overrides=["steps.0.io=int8"])
        compress(source, recipe, path, data=BUILD / "noise.npz", allow=Allowances(parity=True))
    return path
