"""Make the small models of this folder again: python tests/golden/generate.py (needs TensorFlow, takes 30 s).

cnn.keras, cnn.tflite, cnn.onnx   the same network: 8x8x1 in, 4 filters, 3 classes, free batch axis
cnn_int8.tflite                   the same, int8 with int8 inputs and outputs
dense.tflite, dense.onnx          one layer, 4 in, 3 out
signs.keras, signs.tflite, signs.onnx   trained: 16x16x3 in, 0 to 255, three classes of strokes, all told apart
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
    write_signs()
    write_endless()


def strokes(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bright strokes under noise: level, upright or aslant; float32 [samples, 16, 16, 3] of whole numbers, labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, samples)
    images = rng.normal(70, 25, (samples, 16, 16, 3))
    for image, label, at in zip(images, labels, rng.integers(4, 12, samples), strict=True):
        along = np.arange(16)
        rows, columns = [(at, along), (along, at), (along, np.clip(along + at - 8, 0, 15))][label]
        image[rows, columns] += rng.uniform(90, 140, 3)
    return np.clip(images, 0, 255).astype(np.uint8).astype("f4"), labels


def write_signs() -> None:
    layers = keras.layers
    signs = keras.Sequential(
        [
            keras.Input((16, 16, 3), name="image"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.GlobalMaxPooling2D(),
            layers.Dense(3, activation="softmax", name="score", bias_initializer=RANDOM),
        ]
    )
    images, labels = strokes(2000, seed=0)
    signs.compile(optimizer=keras.optimizers.Adam(5e-3), loss="sparse_categorical_crossentropy", jit_compile=False)
    signs.fit(images, labels, epochs=12, batch_size=64, verbose=0)
    signs.save(HERE / "signs.keras", include_optimizer=False)
    write_pair(signs, "signs", [None, 16, 16, 3], "image", "score")


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
