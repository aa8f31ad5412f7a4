import subprocess
import sys

import numpy as np
import pytest

from tinsmith.convert.calibration import METHOD_NAMES, method_named
from tinsmith.convert.quantization import DynamicInt8, Float16, Int8, Int16x8, Plan, choose_quantizer
from tinsmith.runtime.engines import choose_engine, open_engine
from tinsmith.runtime.errors import DataError, RecipeError, UnsupportedOperatorError
from tinsmith.runtime.session import Session

CONVERTER = choose_quantizer("tflite", "tflite-converter")


def images(seed):
    return np.random.default_rng(seed).random((16, 8, 8, 1), np.float32)


def batches():
    return ({"image": part} for part in np.split(images(0), 4))


def answers(path, x):
    session = Session(open_engine(path, choose_engine("tflite")))
    (output,) = session.run({session.inputs[0].name: x}).values()
    session.close()
    return output


@pytest.fixture(scope="module")
def savedmodel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("savedmodel")
    program = (
        "import sys, keras; keras.utils.set_random_seed(0); "
        "keras.Sequential([keras.Input((8, 8, 1), name='image'), keras.layers.Conv2D(4, 3, activation='relu'), "
        "keras.layers.Flatten(), keras.layers.Dense(3)]).export(sys.argv[1], verbose=False)"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True, capture_output=True)
    return folder


@pytest.mark.tensorflow
class TestTfliteConverter:
    def test_every_scheme_stays_near_the_float_model(self, savedmodel, tmp_path):
        reference = tmp_path / "float16.tflite"
        CONVERTER.quantize(savedmodel, reference, Plan(scheme=Float16()))
        expected = answers(reference, images(1)[:1])

        calibration = CONVERTER.calibrate(savedmodel, batches())
        for scheme in (DynamicInt8(), Int8(), Int8(io="int8")):
            output = tmp_path / "small.tflite"
            report = CONVERTER.quantize(savedmodel, output, Plan(scheme=scheme), calibration)

            found = answers(output, images(1)[:1])
            assert np.abs(found - expected).max() <= 0.05 * np.abs(expected).max()
            assert report.samples == (16 if scheme.static else 0)

    def test_one_calibration_serves_every_method(self, savedmodel, tmp_path):
        calibration = CONVERTER.calibrate(savedmodel, batches())
        calibration.check_model(CONVERTER.fingerprint(savedmodel))
        for name in METHOD_NAMES:
            CONVERTER.quantize(
                savedmodel, tmp_path / f"{name}.tflite", Plan(scheme=Int8(), method=method_named(name)), calibration
            )

        expected, *others = (answers(tmp_path / f"{name}.tflite", images(1)[:1]) for name in METHOD_NAMES)
        assert all(np.abs(found - expected).max() <= 0.1 * np.abs(expected).max() for found in others)
        assert not all(np.array_equal(found, expected) for found in others)

    def test_static_schemes_never_make_samples_up(self, savedmodel, tmp_path):
        with pytest.raises(DataError, match="must see real samples"):
            CONVERTER.quantize(savedmodel, tmp_path / "small.tflite", Plan(scheme=Int8()))
        with pytest.raises(DataError, match="must see real samples"):
            CONVERTER.calibrate(savedmodel, ())

    def test_16_bits_are_refused_before_any_work(self, savedmodel, tmp_path):
        with pytest.raises(RecipeError, match="no 16-bit activations") as caught:
            CONVERTER.quantize(savedmodel, tmp_path / "small.tflite", Plan(scheme=Int16x8()))

        assert "ai-edge-quantizer" in caught.value.hint

    def test_a_folder_that_is_no_savedmodel_is_refused(self, tmp_path):
        with pytest.raises(UnsupportedOperatorError, match="can't turn"):
            CONVERTER.quantize(tmp_path, tmp_path / "small.tflite", Plan(scheme=Float16()))
