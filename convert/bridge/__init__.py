"""The bridge from Keras 3 to tf_keras, which tfmot needs: configuration and weights, checked by the outputs."""

from __future__ import annotations

from tinsmith.convert.bridge.crossing import to_tf_keras

__all__ = ["to_tf_keras"]
