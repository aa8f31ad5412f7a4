"""GPT-2-shaped and BERT-shaped .onnx models with random weights, written weight by weight.

python -m benchmarks.transformers gpt2-124m model.onnx
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

_OPSET = 20
_PAGE = 4096
_ROWS_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How large a transformer is.

    Attributes:
        family: ``gpt2`` is a decoder whose last layer is its embedding; ``bert`` an encoder with a pooled answer.
        layers: Blocks of attention and feed-forward.
        hidden: Width; the feed-forward layers are four times as wide.
        heads: Of attention.
        vocabulary: Rows of the embedding.
        positions: The longest text.
    """

    family: str
    layers: int
    hidden: int
    heads: int
    vocabulary: int
    positions: int

    @property
    def parameters(self) -> int:
        layer = 12 * self.hidden**2 + 13 * self.hidden
        return self.layers * layer + (self.vocabulary + self.positions) * self.hidden


SHAPES = {
    "gpt2-tiny": Shape(family="gpt2", layers=2, hidden=32, heads=4, vocabulary=99, positions=16),
    "gpt2-124m": Shape(family="gpt2", layers=12, hidden=768, heads=12, vocabulary=50257, positions=1024),
    "gpt2-1.3b": Shape(family="gpt2", layers=24, hidden=2048, heads=16, vocabulary=50257, positions=2048),
    "bert-tiny": Shape(family="bert", layers=2, hidden=32, heads=4, vocabulary=99, positions=16),
    "bert-110m": Shape(family="bert", layers=12, hidden=768, heads=12, vocabulary=30522, positions=512),
    "bert-1.3b": Shape(family="bert", layers=24, hidden=2048, heads=16, vocabulary=30522, positions=512),
}


def build(name: str, path: Path, *, seed: int = 0) -> Path:
    """Write a model and, beside it, its weights; kept where it is there already.

    Raises:
        OSError: The disk has no room for it.
    """
    shape = SHAPES[name]
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    needed = 4 * shape.parameters + (1 << 28)
    if shutil.disk_usage(path.parent).free < needed:
        raise OSError(f"{name} takes {needed:,} bytes, and the disk has less")
    data = path.with_name(path.name + ".data")
    with data.open("wb") as stream:
        writer = _Writer(stream, data.name, np.random.default_rng(seed))
        model = (_gpt2 if shape.family == "gpt2" else _bert)(shape, writer)
    path.write_bytes(model.SerializeToString())
    return path


class _Writer:
    """Collects nodes, and streams weights to the data file."""

    def __init__(self, stream, location, rng):
        self._stream, self._location, self._rng = stream, location, rng
        self.nodes, self.constants = [], []

    def weight(self, name, *shape, spread=0.02, mean=0.0):
        """A random float32 tensor, a few rows at a time."""
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
        start = -(-self._stream.tell() // _PAGE) * _PAGE
        self._stream.seek(start)
        rest = int(np.prod(shape[1:]))
        step = max(1, _ROWS_BYTES // (4 * rest))
        for row in range(0, shape[0], step):
            part = self._rng.standard_normal((min(step, shape[0] - row), rest), dtype=np.float32)
            part *= np.float32(spread)
            part += np.float32(mean)
            self._stream.write(part)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", self._location), ("offset", start), ("length", 4 * shape[0] * rest)):
            tensor.external_data.add(key=key, value=str(value))
        self.constants.append(tensor)
        return name

    def number(self, name, value, dtype=np.int64):
        self.constants.append(onnx.numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def node(self, kind, inputs, output, **attributes):
        outputs = [output] if isinstance(output, str) else output
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=f"{outputs[0]}_{kind}", **attributes))
        return output

    def dense(self, x, name, inputs, outputs):
        product = self.node("MatMul", [x, self.weight(f"{name}.weight", inputs, outputs)], f"{name}.product")
        return self.node("Add", [product, self.weight(f"{name}.bias", outputs)], f"{name}.out")

    def norm(self, x, name, width):
        gain, bias = self.weight(f"{name}.gain", width, mean=1.0), self.weight(f"{name}.bias", width)
        return self.node("LayerNormalization", [x, gain, bias], f"{name}.out", axis=-1, epsilon=1e-5)

    def model(self, name, inputs, outputs):
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)


def _embedded(w, shape):
    """Token and position embeddings of input_ids [batch, tokens]."""
    w.number("zero", 0), w.number("one", 1)
    tokens = w.node("Gather", [w.weight("wte", shape.vocabulary, shape.hidden), "input_ids"], "tokens")
    w.node("Shape", ["input_ids"], "length_1d", start=1, end=2)
    w.node("Squeeze", ["length_1d"], "length")
    w.node("Range", ["zero", "length", "one"], "places")
    places = w.node("Gather", [w.weight("wpe", shape.positions, shape.hidden), "places"], "place_vectors")
    return w.node("Add", [tokens, places], "embedded")


def _attended(w, name, parts, mask):
    """Multi-head attention of queries, keys and values [batch, tokens, hidden], with what is added to the scores."""
    heads = []
    for part, x, order in zip("qkv", parts, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True):
        split = w.node("Reshape", [x, "split_heads"], f"{name}.{part}.split")
        heads.append(w.node("Transpose", [split], f"{name}.{part}.heads", perm=order))
    scores = w.node("MatMul", heads[:2], f"{name}.scores")
    scaled = w.node("Mul", [scores, "attention_scale"], f"{name}.scaled")
    masked = w.node("Add", [scaled, mask], f"{name}.masked")
    shares = w.node("Softmax", [masked], f"{name}.shares", axis=-1)
    mixed = w.node("MatMul", [shares, heads[2]], f"{name}.mixed")
    turned = w.node("Transpose", [mixed], f"{name}.turned", perm=[0, 2, 1, 3])
    return w.node("Reshape", [turned, "join_heads"], f"{name}.joined")


def _constants(w, shape):
    size = shape.hidden // shape.heads
    w.number("split_heads", [0, 0, shape.heads, size]), w.number("join_heads", [0, 0, shape.hidden])
    w.number("attention_scale", size**-0.5, np.float32)


def _gpt2(shape, w):
    x = _embedded(w, shape)
    _constants(w, shape)
    w.number("never", [-1e9], np.float32)
    w.node("Concat", ["length_1d", "length_1d"], "square", axis=0)
    w.node("Expand", ["never", "square"], "nowhere")
    future = w.node("Trilu", ["nowhere", "one"], "future", upper=1)
    width = shape.hidden
    for layer in range(shape.layers):
        name = f"h.{layer}"
        qkv = w.dense(w.norm(x, f"{name}.ln_1", width), f"{name}.attn.c_attn", width, 3 * width)
        parts = w.node("Split", [qkv], [f"{name}.{part}" for part in "qkv"], axis=-1, num_outputs=3)
        joined = _attended(w, name, parts, future)
        x = w.node("Add", [x, w.dense(joined, f"{name}.attn.c_proj", width, width)], f"{name}.mid")
        wide = w.dense(w.norm(x, f"{name}.ln_2", width), f"{name}.mlp.c_fc", width, 4 * width)
        active = w.node("Gelu", [wide], f"{name}.gelu", approximate="tanh")
        x = w.node("Add", [x, w.dense(active, f"{name}.mlp.c_proj", 4 * width, width)], f"{name}.out")
    turned = w.node("Transpose", ["wte"], "wte_turned", perm=[1, 0])
    w.node("MatMul", [w.norm(x, "ln_f", width), turned], "logits")
    tokens = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "tokens", shape.vocabulary])
    return w.model("gpt2", [tokens], [logits])


def _bert(shape, w):
    x = w.norm(_embedded(w, shape), "embeddings.ln", shape.hidden)
    _constants(w, shape)
    w.number("never", -1e9, np.float32), w.number("one_float", 1, np.float32), w.number("head_axes", [1, 2])
    seen = w.node("Cast", ["attention_mask"], "seen", to=TensorProto.FLOAT)
    hidden = w.node("Mul", [w.node("Sub", ["one_float", seen], "unseen"), "never"], "hidden")
    mask = w.node("Unsqueeze", [hidden, "head_axes"], "mask")
    width = shape.hidden
    for layer in range(shape.layers):
        name = f"layer.{layer}"
        parts = [w.dense(x, f"{name}.{part}", width, width) for part in ("query", "key", "value")]
        mixed = w.dense(_attended(w, name, parts, mask), f"{name}.attention", width, width)
        x = w.norm(w.node("Add", [x, mixed], f"{name}.mid"), f"{name}.ln_1", width)
        active = w.node("Gelu", [w.dense(x, f"{name}.up", width, 4 * width)], f"{name}.gelu")
        down = w.dense(active, f"{name}.down", 4 * width, width)
        x = w.norm(w.node("Add", [x, down], f"{name}.sum"), f"{name}.ln_2", width)
    first = w.node("Gather", [x, "zero"], "first", axis=1)
    pooled = [first, w.weight("pooler.weight", width, width), w.weight("pooler.bias", width)]
    w.node("Tanh", [w.node("Gemm", pooled, "pooled.product", transB=1)], "pooled")
    w.node("Identity", [x], "last_hidden")
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [
        helper.make_tensor_value_info("last_hidden", TensorProto.FLOAT, ["batch", "tokens", width]),
        helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["batch", width]),
    ]
    return w.model("bert", inputs, outputs)


if __name__ == "__main__":
    print(build(sys.argv[1], Path(sys.argv[2])))
