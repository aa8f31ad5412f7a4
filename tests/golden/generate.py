"""Make the small models of this folder again: python tests/golden/generate.py (needs TensorFlow, takes 20 s).

cnn.keras, cnn.tflite, cnn.onnx   the same network: 8x8x1 in, 4 filters, 3 classes, free batch axis
cnn_int8.tflite                   the same, int8 with int8 inputs and outputs
dense.tflite, dense.onnx          one layer, 4 in, 3 out
endless.tflite                    structurally valid, and its loop never ends
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf2onnx
from tensorflow import keras
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

HERE = Path(__file__).parent
RANDOM = "random_normal"  # converters leave out biases that are zero


def main() -> None:
    keras.utils.set_random_seed(0)
    cnn = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(4, 3, activation="relu", bias_initializer=RANDOM),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax", name="score", bias_initializer=RANDOM),
        ]
    )
    dense = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, name="y", bias_initializer=RANDOM)])
    cnn.save(HERE / "cnn.keras")
    write_pair(cnn, "cnn", [None, 8, 8, 1], "image", "score")
    write_pair(dense, "dense", [None, 4], "x", "y")
    write_int8(cnn)
    write_endless()


def write_pair(model: keras.Model, name: str, shape: list[int | None], source: str, answer: str) -> None:
    signature = [tf.TensorSpec(shape, tf.float32, name=source)]
    function = tf.function(lambda x: {answer: model(x, training=False)}, input_signature=signature)
    with tempfile.TemporaryDirectory() as folder:
        # Constants instead of variables: tflite-runtime 2.14 can't read variables.
        frozen = convert_variables_to_constants_v2(function.get_concrete_function())
        plain = tf.function(lambda x: {answer: frozen(x)[0]}, input_signature=signature)
        tf.saved_model.save(tf.Module(), folder, signatures=plain.get_concrete_function())
        content = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
    (HERE / f"{name}.tflite").write_bytes(content)
    tf2onnx.convert.from_function(function, signature, opset=17, output_path=str(HERE / f"{name}.onnx"))


def write_int8(model: keras.Model) -> None:
    rng = np.random.default_rng(0)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([rng.random((1, 8, 8, 1), np.float32)] for _ in range(32))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    (HERE / "cnn_int8.tflite").write_bytes(converter.convert())


def write_endless() -> None:
    @tf.function(input_signature=[tf.TensorSpec([1], tf.float32, name="x")])
    def spin(x: tf.Tensor) -> tf.Tensor:
        return tf.while_loop(lambda v: tf.reduce_all(v < 1.0), lambda v: (v * 0.5,), (x,))[0]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([spin.get_concrete_function()])
    (HERE / "endless.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main()
