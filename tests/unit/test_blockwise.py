import functools
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.__main__ import run
from tinsmith.compress.budget import Budget
from tinsmith.compress.commands.balance_view import balance_view
from tinsmith.compress.compression import compress
from tinsmith.compress.recipe import load_recipe
from tinsmith.compress.recovery import Recovery
from tinsmith.convert.commands.proof_view import proof_facts
from tinsmith.convert.inspection import operator_precisions
from tinsmith.convert.quantization import Plan, WeightsInt4, WeightsInt8, choose_quantizer
from tinsmith.convert.quantization.blockwise import Blocks, pack, unpack
from tinsmith.convert.quantization.out_of_core import data_path, draft, write_in_blocks
from tinsmith.convert.quantization.weight_proof import prove_weights
from tinsmith.convert.room import available_bytes
from tinsmith.runtime.artifact import read_artifact
from tinsmith.runtime.commands.output import console
from tinsmith.runtime.errors import (
    DataError,
    ModelError,
    ModelLoadError,
    OutputError,
    RecipeError,
    UnsafeModelError,
    UsageError,
    VerificationError,
)

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def model_of(path, nodes, constants, *, width, outputs=("y",), external=False):
    """An .onnx file that takes x [n, width]."""
    helper = onnx.helper
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    place = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0} if external else {}
    onnx.save(model, path, **place)
    return path


def two_layers(path, *, depth=70, external=False):
    """x W1 through a Relu into a Gemm with W2 [out, in] and a bias; the depth is no multiple of a block."""
    make = onnx.helper.make_node
    nodes = [
        make("MatMul", ["x", "w1"], ["h"], name="first"),
        make("Relu", ["h"], ["r"]),
        make("Gemm", ["r", "w2", "b"], ["y"], name="second", transB=1),
    ]
    constants = {"w1": weights(depth, 40), "w2": weights(24, 40, seed=1), "b": weights(24, seed=2)}
    return model_of(path, nodes, constants, width=depth, external=external)


def in_blocks(source, output, *, inside_bytes=1 << 20, kept=(), **blocks):
    write_in_blocks(draft(source, Blocks(**blocks), kept=kept), output, inside_bytes=inside_bytes)
    return output


def answers(path, width):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": weights(5, width, seed=9)})


def constants_of(path):
    return {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("external", [True, False])
def test_weights_scales_and_zero_points_are_those_of_onnxruntimes_own_quantizer(tmp_path, bits, symmetric, external):
    quantizer = pytest.importorskip("onnxruntime.quantization.matmul_nbits_quantizer")
    source = two_layers(tmp_path / "m.onnx", external=external)
    made = constants_of(in_blocks(source, tmp_path / "small.onnx", bits=bits, symmetric=symmetric))
    theirs = quantizer.MatMulNBitsQuantizer(onnx.load(str(source)), bits=bits, block_size=32, is_symmetric=symmetric)
    theirs.process()
    expected = {t.name: onnx.numpy_helper.to_array(t) for t in theirs.model.model.graph.initializer}
    parts = [f"w1_Q{bits}", "w1_scales", *([] if symmetric else ["w1_zero_points"])]

    assert all(np.array_equal(made[name], expected[name]) for name in parts)
    assert not {"w1", "w2"} & made.keys()
    assert np.array_equal(made["b"], expected["b"])


@pytest.mark.parametrize("inside_bytes", [0, 1 << 20])
@pytest.mark.parametrize(("bits", "off"), [(4, 0.15), (8, 0.01)])
def test_the_artifact_runs_and_answers_like_its_source(tmp_path, bits, off, inside_bytes):
    source = two_layers(tmp_path / "m.onnx", external=True)
    made = in_blocks(source, tmp_path / "small.onnx", bits=bits, inside_bytes=inside_bytes)
    (before,), (after,) = answers(source, 70), answers(made, 70)

    assert data_path(made).exists() == (inside_bytes == 0)
    assert np.linalg.norm(after - before) < off * np.linalg.norm(before)
    assert 0.01 < prove_weights(source, made).largest_steps <= 0.501


def test_a_gemm_a_transposed_and_a_shared_weight_become_blocks_and_a_tied_embedding_stays(tmp_path):
    make = onnx.helper.make_node
    nodes = [
        make("MatMul", ["x", "shared"], ["a"]),
        make("MatMul", ["a", "shared"], ["b"]),
        make("Transpose", ["turned"], ["t"], perm=[1, 0]),
        make("MatMul", ["b", "t"], ["c"]),
        make("Transpose", ["tied"], ["u"]),
        make("MatMul", ["c", "u"], ["y"]),
        make("Gather", ["tied", "row"], ["z"]),
    ]
    arrays = {name: weights(64, 64, seed=at) for at, name in enumerate(("shared", "turned", "tied"))}
    constants = {**arrays, "row": np.array([3])}
    source = model_of(tmp_path / "m.onnx", nodes, constants, width=64, outputs=("y", "z"))
    made = in_blocks(source, tmp_path / "small.onnx", bits=8)
    kinds = [node.op_type for node in onnx.load(str(made)).graph.node]
    before, after = answers(source, 64), answers(made, 64)

    assert kinds == ["MatMulNBits", "MatMulNBits", "MatMulNBits", "Transpose", "MatMul", "Gather"]
    assert np.linalg.norm(after[0] - before[0]) < 0.02 * np.linalg.norm(before[0])
    assert np.array_equal(after[1], before[1])
    assert prove_weights(source, made).weights == 2


@pytest.mark.parametrize(
    "attributes", [{"alpha": 0.5}, {"beta": 2.0}, {"transA": 1}], ids=["alpha", "beta", "transposed input"]
)
def test_a_gemm_that_does_more_than_multiply_and_add_is_left_alone(tmp_path, attributes):
    nodes = [onnx.helper.make_node("Gemm", ["x", "w", "b"], ["y"], **attributes)]
    source = model_of(tmp_path / "m.onnx", nodes, {"w": weights(64, 8), "b": weights(8)}, width=64)

    with pytest.raises(RecipeError, match="no float32 matrix"):
        draft(source, Blocks())


def test_kept_operators_keep_their_weights(tmp_path):
    source = two_layers(tmp_path / "m.onnx")
    made = constants_of(in_blocks(source, tmp_path / "small.onnx", kept=["h"]))

    assert np.array_equal(made["w1"], weights(70, 40))
    assert "w2" not in made


@pytest.mark.parametrize(("scheme", "word"), [(WeightsInt8(), "weight-only-int8"), (WeightsInt4(), "weight-only-int4")])
def test_the_schemes_give_operators_that_compute_with_floats(tmp_path, scheme, word):
    made = tmp_path / "small.onnx"
    choose_quantizer("onnx").quantize(two_layers(tmp_path / "m.onnx"), made, Plan(scheme=scheme))
    uses = [use for use in operator_precisions(made) if use.name == "com.microsoft.MatMulNBits"]

    assert [(use.count, use.precision) for use in uses] == [(2, word)]


@settings(max_examples=40, deadline=None)
@given(
    depth=st.integers(1, 150),
    columns=st.integers(1, 9),
    bits=st.sampled_from([4, 8]),
    symmetric=st.booleans(),
    size=st.sampled_from([16, 32, 64]),
    seed=st.integers(0, 99),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 1e4]),
)
def test_what_was_packed_lies_within_half_a_step(depth, columns, bits, symmetric, size, seed, scale):
    matrix = weights(depth, columns, seed=seed) * np.float32(scale)
    blocks = Blocks(bits=bits, block_size=size, symmetric=symmetric)
    packed = pack(matrix, blocks)
    steps = np.abs(np.repeat(packed.scales, size, axis=1)[:, :depth])
    off = np.abs(unpack(packed, blocks, depth) - matrix.T)

    assert np.all(off <= steps * (1.001 if symmetric else 0.501) + 1e-30)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_portions_give_the_bytes_that_one_piece_gives(tmp_path, monkeypatch, rows):
    source = two_layers(tmp_path / "m.onnx", depth=330, external=True)
    whole = in_blocks(source, tmp_path / "whole.onnx").read_bytes()
    monkeypatch.setattr("tinsmith.convert.quantization.out_of_core._PORTION_BYTES", rows * 64 * 40 * 4)
    monkeypatch.setattr("tinsmith.convert.quantization.weight_proof._PORTION", rows * 64 * 40)
    parts = in_blocks(source, tmp_path / "parts.onnx")

    assert parts.read_bytes() == whole
    assert prove_weights(source, parts).largest_steps <= 0.501


@pytest.mark.parametrize("name", ["w1_Q4", "w1_scales", "w1_zero_points", "b"])
def test_a_changed_number_fails_the_proof(tmp_path, name):
    source = two_layers(tmp_path / "m.onnx")
    made = in_blocks(source, tmp_path / "small.onnx")
    model = onnx.load(str(made))
    tensor = next(t for t in model.graph.initializer if t.name == name)
    array = onnx.numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[0] = array.reshape(-1)[0] * 2 + 3
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, made)

    with pytest.raises(VerificationError, match="does not compute what its source does"):
        prove_weights(source, made)


def test_a_changed_operator_fails_the_proof(tmp_path):
    source = two_layers(tmp_path / "m.onnx")
    made = in_blocks(source, tmp_path / "small.onnx")
    model = onnx.load(str(made))
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Tanh"
    onnx.save(model, made)

    with pytest.raises(VerificationError, match="Relu 'r' became Tanh"):
        prove_weights(source, made)


def place(path, **said):
    """Say something else of where w1 lies."""
    model = onnx.load(str(path), load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.name == "w1")
    for item in tensor.external_data:
        item.value = str(said.get(item.key, item.value))
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("said", "refused", "match"),
    [
        ({"location": "../secret.bin"}, UnsafeModelError, "outside"),
        ({"location": "{folder}/weights.bin"}, UnsafeModelError, "outside"),
        ({"location": "sub/../weights.bin"}, UnsafeModelError, "outside"),
        ({"location": "link.bin"}, UnsafeModelError, "outside"),
        ({"location": ""}, UnsafeModelError, "outside"),
        ({"location": "gone.bin"}, ModelLoadError, "no such file"),
        ({"location": "."}, ModelLoadError, "no such file"),
        ({"offset": 1 << 40}, ModelLoadError, "don't belong together"),
        ({"offset": -4}, ModelLoadError, "don't belong together"),
        ({"offset": "first"}, ModelLoadError, "don't belong together"),
        ({"length": 12}, ModelLoadError, "don't belong together"),
    ],
)
def test_external_data_that_do_not_fit_or_lead_elsewhere_are_refused(tmp_path, said, refused, match):
    home = tmp_path / "home"
    home.mkdir()
    source = two_layers(home / "m.onnx", external=True)
    (tmp_path / "secret.bin").write_bytes(bytes(1 << 16))
    (home / "link.bin").symlink_to(tmp_path / "secret.bin")
    place(source, **{key: str(value).format(folder=home) for key, value in said.items()})

    with pytest.raises(refused, match=match):
        draft(source, Blocks())


def test_external_data_that_are_cut_off_are_refused(tmp_path):
    source = two_layers(tmp_path / "m.onnx", external=True)
    data = tmp_path / "weights.bin"
    data.write_bytes(data.read_bytes()[:-1])

    with pytest.raises(ModelLoadError, match=r"weights\.bin don't belong together"):
        draft(source, Blocks())


def test_a_full_disk_is_found_out_before_any_weight_is_read(tmp_path, monkeypatch):
    source = two_layers(tmp_path / "m.onnx", external=True)
    planned = draft(source, Blocks())
    (tmp_path / "weights.bin").unlink()
    usage = type("usage", (), {"free": planned.output_bytes - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)

    with pytest.raises(OutputError, match="the disk has"):
        write_in_blocks(planned, tmp_path / "small.onnx")


@pytest.mark.parametrize("inside_bytes", [0, 1 << 20])
def test_a_weight_that_is_not_finite_leaves_nothing_behind(tmp_path, inside_bytes):
    source = two_layers(tmp_path / "m.onnx", external=True)
    data = tmp_path / "weights.bin"
    data.write_bytes(b"\xff" * data.stat().st_size)
    before = sorted(tmp_path.iterdir())

    with pytest.raises(ModelError, match="NaN"):
        in_blocks(source, tmp_path / "small.onnx", inside_bytes=inside_bytes)
    assert sorted(tmp_path.iterdir()) == before


def test_a_quantized_model_is_refused(tmp_path):
    made = in_blocks(two_layers(tmp_path / "m.onnx"), tmp_path / "small.onnx")

    with pytest.raises(RecipeError, match="quantized already"):
        draft(made, Blocks())


def test_a_block_size_that_no_kernel_has_is_refused():
    with pytest.raises(RecipeError, match="blocks of 33"):
        Blocks(block_size=33)


def test_where_both_fit_into_memory_both_are_run(tmp_path):
    source = two_layers(tmp_path / "m.onnx", external=True)
    made = compress(source, load_recipe("int4-weights"), tmp_path / "small.onnx")

    assert made.delivery.proof.unrun == ""
    assert made.delivery.proof.differences[0].snr_db > 10
    assert "2 matrices of 3,760 numbers within 0.500 steps" in made.measured[0]["weights"]
    assert made.source_bytes == source.stat().st_size + (tmp_path / "weights.bin").stat().st_size
    assert made.balance.speed.ratio > 0


@pytest.mark.parametrize(
    ("available", "said"), [(20_000, "was run on 8 samples"), (1_000, r"running small\.onnx takes about")]
)
def test_a_source_too_large_for_memory_is_proven_weight_by_weight_and_that_is_said(
    tmp_path, monkeypatch, capsys, available, said
):
    source = two_layers(tmp_path / "m.onnx", external=True)
    monkeypatch.setattr("tinsmith.convert.room.available_bytes", lambda: available)
    made = compress(source, load_recipe("int4-weights"), tmp_path / "small.onnx")
    proof = made.delivery.proof
    console().print(*proof_facts(proof), *balance_view(made.balance))
    printed = capsys.readouterr().out

    assert proof.unrun.startswith("weight by weight; ")
    assert re.search(said, proof.unrun)
    assert "running m.onnx takes about" in proof.origin
    assert (made.balance.speed, made.balance.judged) == (None, None)
    assert read_artifact(tmp_path / "small.onnx") == made.delivery.artifact
    assert "not timed" in printed
    assert json.loads(json.dumps(made.to_json(), allow_nan=False))["moved"]["latency"]["not_timed"] == proof.origin


def test_a_budget_can_not_be_held_where_nothing_is_run(tmp_path, monkeypatch):
    source = two_layers(tmp_path / "m.onnx", external=True)
    np.savez(tmp_path / "d.npz", x=weights(40, 70))
    monkeypatch.setattr("tinsmith.convert.room.available_bytes", lambda: 1_000)

    with pytest.raises(DataError, match="the budget can't be held: running"):
        compress(
            source,
            load_recipe("int4-weights"),
            tmp_path / "small.onnx",
            data=tmp_path / "d.npz",
            recovery=Recovery(budget=Budget(min_agreement=0.5)),
        )
    assert not (tmp_path / "small.onnx").exists()


def compressed_beside(tmp_path, monkeypatch):
    """An artifact whose weights lie in a file of their own, as those of a large model do."""
    source = two_layers(tmp_path / "m.onnx", external=True)
    beside = functools.partial(write_in_blocks, inside_bytes=0)
    monkeypatch.setattr("tinsmith.convert.quantization.ort.write_in_blocks", beside)
    return compress(source, load_recipe("int4-weights"), tmp_path / "small.onnx")


def test_data_beside_an_artifact_go_with_it_and_are_in_its_manifest(tmp_path, monkeypatch):
    made = compressed_beside(tmp_path, monkeypatch).delivery.artifact
    names = {path.name for path in tmp_path.iterdir()}

    assert names == {"m.onnx", "weights.bin", "small.onnx", "small.onnx.data", "small.onnx.json"}
    assert [file.name for file in made.data] == ["small.onnx.data"]
    assert read_artifact(tmp_path / "small.onnx") == made
    assert made.total_bytes > made.size_bytes
    assert len(answers(tmp_path / "small.onnx", 70)) == 1

    data = tmp_path / "small.onnx.data"
    data.write_bytes(data.read_bytes()[:-1] + b"\1")
    with pytest.raises(VerificationError, match=r"small\.onnx\.data is not the file"):
        read_artifact(tmp_path / "small.onnx")


def test_the_report_counts_what_lies_beside_the_artifact_and_knows_its_types(tmp_path, monkeypatch):
    made = compressed_beside(tmp_path, monkeypatch)
    moved = made.balance.bytes_moved
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}

    assert made.delivery.artifact.total_bytes == sizes["small.onnx"] + sizes["small.onnx.data"]
    assert sizes["small.onnx.data"] < moved["file"][1] == moved["flash"][1]
    assert moved["zip"][0] > 0.8 * sizes["weights.bin"]
    # a Relu behind a product with packed weights
    assert {use.precision for use in made.delivery.proof.operators} == {"weight-only-int4", "float32"}
    assert moved["ram"][1] == moved["ram"][0]


def test_a_model_that_is_not_changed_takes_its_data_along(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    source = two_layers(tmp_path / "in" / "m.onnx", external=True)
    compress(source, load_recipe("float32"), tmp_path / "same.onnx")

    assert np.array_equal(answers(source, 70), answers(tmp_path / "same.onnx", 70))


def test_the_data_of_the_source_are_never_overwritten(tmp_path):
    source = two_layers(tmp_path / "m.onnx", external=True)
    (tmp_path / "weights.bin").rename(tmp_path / "small.onnx.data")
    place(source, location="small.onnx.data")
    model = onnx.load(str(source), load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "small.onnx.data"
    source.write_bytes(model.SerializeToString())

    with pytest.raises(UsageError, match="would change the source"):
        compress(source, load_recipe("int4-weights"), tmp_path / "small.onnx")


def test_a_disk_too_small_for_the_output_is_the_first_that_is_said(tmp_path, monkeypatch):
    source = two_layers(tmp_path / "m.onnx", external=True)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("usage", (), {"free": 100}))
    monkeypatch.setattr("tinsmith.convert.delivery.Sandbox", None)

    assert run(["compress", str(source), "-r", "int4-weights", "-o", str(tmp_path / "small.onnx")]) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "weights.bin"}


@pytest.mark.parametrize("recipe", ["int4-weights", "dynamic-int8", "float32"])
def test_no_recipe_reads_weights_from_outside_the_models_folder(tmp_path, recipe):
    home = tmp_path / "home"
    home.mkdir()
    source = two_layers(home / "m.onnx", external=True)
    (home / "weights.bin").rename(tmp_path / "weights.bin")
    (home / "weights.bin").symlink_to(tmp_path / "weights.bin")

    assert run(["compress", str(source), "-r", recipe, "-o", str(tmp_path / "small.onnx")]) == 4
    assert not (tmp_path / "small.onnx").exists()


def test_the_memory_of_a_container_counts(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    monkeypatch.setattr("tinsmith.convert.room._CGROUP", tmp_path)

    assert available_bytes() == 600
