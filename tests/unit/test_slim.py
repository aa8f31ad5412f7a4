"""Slim: fewer bytes, the same bits; whatever a file holds comes through."""

import contextlib
import functools
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.compress.bench import Bench
from tinsmith.compress.compression import compress
from tinsmith.compress.passes.slim import Slim, SlimStep
from tinsmith.compress.planner import plan
from tinsmith.compress.recipe import Recipe, load_recipe
from tinsmith.convert.model import Model
from tinsmith.convert.predictors import SandboxedArtifact
from tinsmith.convert.quantization import Plan, WeightsInt4, choose_quantizer
from tinsmith.convert.slimming import reading, slim_content, slim_file, writing
from tinsmith.convert.slimming.proof import prove_identical
from tinsmith.convert.slimming.reading import in_tensors, read_model, same_model
from tinsmith.convert.slimming.writing import write_model
from tinsmith.runtime.errors import ModelError, ModelLoadError, RecipeError, TinsmithError, VerificationError

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ["cnn", "cnn_int8", "dense", "endless"]
CONTENT = (GOLDEN / "cnn_int8.tflite").read_bytes()


def golden_model(name="cnn_int8"):
    return read_model((GOLDEN / f"{name}.tflite").read_bytes(), name)


def written(model):
    return read_model(write_model(model), "written")


def buffer_places(content):
    root = schema.Model.GetRootAs(content, 0)
    buffers = [root.Buffers(i) for i in range(root.BuffersLength())]
    return [b.DataAsNumpy().__array_interface__["data"][0] - place_of(content) for b in buffers if b.DataLength()]


def place_of(content):
    return np.frombuffer(content, np.uint8).__array_interface__["data"][0]


def tensors_named(model, indices, graph=0):
    return [model.subgraphs[graph].tensors[i].name for i in indices]


@pytest.mark.parametrize("name", ["cnn", "cnn_int8", "dense"])
def test_every_golden_model_gets_smaller_and_answers_the_same_bits(tmp_path, name):
    model = Model(path=GOLDEN / f"{name}.tflite", format="tflite")
    source = model.path.read_bytes()

    result = Slim(SlimStep(), target="tflite").apply(model, Bench(folder=tmp_path, dataset=None, seed=0))

    assert result.modified
    assert model.path.read_bytes() == source
    assert result.measured["bit-identical samples"] >= 64
    assert result.measured["file bytes after"] == result.model.path.stat().st_size < 0.8 * len(source)
    assert (
        sum(v for k, v in result.measured.items() if k.endswith("after") and not k.startswith("file"))
        == (result.measured["file bytes after"])
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_same_file_gives_the_same_bytes_and_slimming_again_changes_nothing(name):
    once, again = (slim_file(GOLDEN / f"{name}.tflite") for _ in range(2))
    twice = slim_content(once.content, name)

    assert once.content == again.content
    assert twice.content == once.content
    assert twice.after == twice.before == once.after


def test_a_slim_model_is_given_back_as_it_is(tmp_path):
    path = tmp_path / "slim.tflite"
    path.write_bytes(slim_file(GOLDEN / "cnn.tflite").content)
    model = Model(path=path, format="tflite")

    result = Slim(SlimStep(), target="tflite").apply(model, Bench(folder=tmp_path, dataset=None, seed=0))

    assert not result.modified
    assert result.model == model
    assert result.measured["file bytes after"] == path.stat().st_size


@pytest.mark.parametrize("name", NAMES)
def test_names_of_inputs_outputs_and_signatures_stay(name):
    before, after = golden_model(name), read_model(slim_file(GOLDEN / f"{name}.tflite").content, name)

    for graph, (old, new) in enumerate(zip(before.subgraphs, after.subgraphs, strict=True)):
        assert new.name == old.name
        for ends in ("inputs", "outputs"):
            assert tensors_named(after, getattr(new, ends), graph) == tensors_named(before, getattr(old, ends), graph)
    for old, new in zip(before.signatureDefs or [], after.signatureDefs or [], strict=True):
        assert new.signatureKey == old.signatureKey
        for ends in ("inputs", "outputs"):
            pairs = zip(getattr(old, ends), getattr(new, ends), strict=True)
            assert all((a.name, *tensors_named(before, [a.tensorIndex])) ==
                       (b.name, *tensors_named(after, [b.tensorIndex])) for a, b in pairs)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_inner_names_are_short_and_still_tell_tensors_apart(name):
    model = golden_model(name)
    model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].name = b"0"  # what the first inner tensor would be called

    after = read_model(slim_content(write_model(model), name).content, name)

    names = [tensor.name for graph in after.subgraphs for tensor in graph.tensors]
    ends = {t for i, g in enumerate(after.subgraphs) for t in tensors_named(after, [*g.inputs, *g.outputs], i)}
    inner = [name for name in names if name not in ends]
    assert inner
    assert len(set(inner)) == len(inner)
    assert max(map(len, inner)) <= 3


@pytest.mark.parametrize("name", NAMES)
def test_every_buffer_stays_aligned(name):
    places = buffer_places(slim_file(GOLDEN / f"{name}.tflite").content)

    assert places
    assert all(place % 16 == 0 for place in places)


def test_what_no_runtime_reads_is_gone_and_the_rest_of_the_metadata_stays():
    model = golden_model()
    note = schema.BufferT(data=np.frombuffer(b"for my own tool", np.uint8))
    model.buffers += [note, schema.BufferT(data=np.ones(4000, np.uint8))]
    model.metadata.append(schema.MetadataT(name=b"TFLITE_METADATA", buffer=len(model.buffers) - 2))
    model.operatorCodes.append(schema.OperatorCodeT(builtinCode=99, version=1))
    graph = model.subgraphs[0]
    graph.tensors.insert(0, schema.TensorT(name=b"unread", shape=np.array([4000], np.int32), type=9, buffer=1))
    shift(model)
    graph.tensors[1].quantization.min = graph.tensors[1].quantization.max = np.ones(3, np.float32)

    slim = slim_content(write_model(model), "model")
    after = read_model(slim.content, "slim")

    assert {m.name for m in after.metadata} == {b"min_runtime_version", b"TFLITE_METADATA"}
    assert after.buffers[after.metadata[-1].buffer].data.tobytes() == b"for my own tool"
    assert 99 not in {code.builtinCode for code in after.operatorCodes}
    assert len(after.subgraphs[0].tensors) == len(graph.tensors) - 1
    assert slim.before["min and max"] == 12
    assert slim.after["min and max"] == 0
    assert slim.after["buffers"] <= slim.before["buffers"] - 4000


def test_only_what_a_converter_says_of_itself_is_dropped_from_the_description():
    for said, left in ((b"MLIR Converted.", None), (b"made for the pump in hall 3", b"made for the pump in hall 3")):
        model = golden_model()
        model.description = said
        assert read_model(slim_content(write_model(model), "model").content, "slim").description == left


@pytest.mark.parametrize("name", ["cnn", "cnn_int8"])
def test_gaps_that_alignment_leaves_are_filled(monkeypatch, name):
    filled = write_model(golden_model(name))
    monkeypatch.setattr(writing, "_write_aligned", lambda *_: None)
    plain = write_model(golden_model(name))

    assert len(filled) < len(plain)
    assert same_model(read_model(filled, "filled"), read_model(plain, "plain"))


def shift(model):
    """All tensors have moved down by one."""
    graph = model.subgraphs[0]
    for holder in (graph, *graph.operators):
        holder.inputs, holder.outputs = holder.inputs + (holder.inputs >= 0), holder.outputs + 1
    for signature in model.signatureDefs:
        for entry in (*signature.inputs, *signature.outputs):
            entry.tensorIndex += 1
    for details in filter(None, map(in_tensors, graph.tensors)):
        details.scales += 1


def test_tensors_that_moved_answer_the_same_bits(tmp_path):
    model = golden_model("cnn")
    model.subgraphs[0].tensors.insert(0, schema.TensorT(name=b"unread", shape=np.array([1], np.int32)))
    shift(model)
    (tmp_path / "a.tflite").write_bytes(write_model(model))
    (tmp_path / "b.tflite").write_bytes(slim_file(tmp_path / "a.tflite").content)

    assert prove_identical(tmp_path / "a.tflite", tmp_path / "b.tflite", dataset=None, seed=0) == 64


@pytest.fixture(scope="module")
def blocks(matrix_model, tmp_path_factory):
    """Two matrices in 4 bits: the first by blocks whose scales are a tensor, the second channel by channel."""
    folder = tmp_path_factory.mktemp("blocks")
    path = matrix_model(folder / "float.tflite")
    choose_quantizer("tflite").quantize(path, folder / "blocks.tflite", Plan(scheme=WeightsInt4()))
    return folder / "blocks.tflite"


def by_blocks(model):
    """The tensors whose scales are tensors."""
    return [tensor for tensor in model.subgraphs[0].tensors if in_tensors(tensor)]


def test_scales_that_only_a_quantization_names_stay_and_answer_the_same_bits(blocks, tmp_path):
    model = read_model(blocks.read_bytes(), "blocks")
    (before,) = by_blocks(model)
    scales = model.subgraphs[0].tensors[before.quantization.details.scales]
    model.subgraphs[0].tensors.insert(0, schema.TensorT(name=b"unread", shape=np.array([1], np.int32)))
    shift(model)
    (tmp_path / "a.tflite").write_bytes(write_model(model))
    (tmp_path / "b.tflite").write_bytes(slim_file(tmp_path / "a.tflite").content)

    after = read_model((tmp_path / "b.tflite").read_bytes(), "slim")
    (weights,) = by_blocks(after)
    found = after.subgraphs[0].tensors[weights.quantization.details.scales]

    assert len(after.subgraphs[0].tensors) == len(model.subgraphs[0].tensors) - 1
    assert (found.type, found.shape.tolist()) == (schema.TensorType.FLOAT16, [40, 2])
    assert after.buffers[found.buffer].data.tobytes() == model.buffers[scales.buffer].data.tobytes()
    assert weights.quantization.details.zeroPoints == -1
    assert prove_identical(tmp_path / "a.tflite", tmp_path / "b.tflite", dataset=None, seed=0) == 64


def test_scales_of_weights_that_nobody_reads_go_with_them(blocks):
    model = read_model(blocks.read_bytes(), "blocks")
    (weights,) = by_blocks(model)
    operator = model.subgraphs[0].operators[0]
    plain = schema.TensorT(name=b"plain", shape=weights.shape, buffer=weights.buffer, type=weights.type)
    model.subgraphs[0].tensors.append(plain)
    operator.inputs = np.array([operator.inputs[0], len(model.subgraphs[0].tensors) - 1, operator.inputs[2]], np.int32)

    after = read_model(slim_content(write_model(model), "model").content, "slim")

    assert by_blocks(after) == []
    assert len(after.subgraphs[0].tensors) == len(model.subgraphs[0].tensors) - 2


def test_scales_and_zero_points_over_several_axes_keep_their_tensors():
    model = golden_model("cnn")
    tensors = model.subgraphs[0].tensors
    tensors[1].quantization.detailsType = schema.QuantizationDetails.MultiAxisQuantization
    details = schema.MultiAxisQuantizationT(scales=len(tensors) + 1, zeroPoints=len(tensors) + 2)
    tensors[1].quantization.details = details
    tensors += [schema.TensorT(name=name, shape=np.array([1], np.int32)) for name in (b"unread", b"scales", b"zeros")]
    tensors[-2].shape, tensors[-1].shape = np.array([3, 2], np.int32), np.array([3, 4], np.int32)

    graph = read_model(slim_content(write_model(model), "model").content, "slim").subgraphs[0]
    (weights,) = [tensor for tensor in graph.tensors if in_tensors(tensor)]
    found = [graph.tensors[at] for at in (in_tensors(weights).scales, in_tensors(weights).zeroPoints)]

    assert [tensor.shape.tolist() for tensor in found] == [[3, 2], [3, 4]]
    assert len(graph.tensors) == len(tensors) - 1


def test_equal_buffers_vectors_and_tables_are_stored_once():
    model = golden_model("cnn")
    data = np.arange(2000, dtype=np.uint8)
    for _ in range(3):
        model.buffers.append(schema.BufferT(data=data))
        model.metadata.append(schema.MetadataT(name=b"twin", buffer=len(model.buffers) - 1))
    plain = slim_file(GOLDEN / "cnn.tflite").after["file"]

    slim = slim_content(write_model(model), "model")

    assert len({m.buffer for m in read_model(slim.content, "slim").metadata if m.name == b"twin"}) == 1
    assert slim.after["file"] < plain + 2000 + 100


def test_sparse_tensors_custom_options_and_variables_come_through():
    model = golden_model("cnn")
    dense, sparse = schema.DimensionType.DENSE, schema.DimensionType.SPARSE_CSR
    segments = schema.Int32VectorT(values=np.array([0, 2], np.int32))
    indices = schema.Uint8VectorT(values=np.array([1, 3], np.uint8))
    graph = model.subgraphs[0]
    graph.tensors[1].sparsity = schema.SparsityParametersT(
        traversalOrder=np.array([0, 1], np.int32),
        dimMetadata=[
            schema.DimensionMetadataT(format=dense, denseSize=4),
            schema.DimensionMetadataT(format=sparse, arraySegmentsType=1, arraySegments=segments,
                                      arrayIndicesType=3, arrayIndices=indices),
        ],
    )  # fmt: skip
    graph.tensors[2].isVariable = True
    graph.operators[0].customOptions = np.arange(5, dtype=np.uint8)
    graph.operators[0].mutatingVariableInputs = np.array([False, True])

    after = read_model(slim_content(write_model(model), "model").content, "slim").subgraphs[0]

    assert same_model(after.tensors[1].sparsity, graph.tensors[1].sparsity)
    assert after.tensors[2].isVariable
    assert after.operators[0].customOptions.tobytes() == bytes(range(5))
    assert after.operators[0].mutatingVariableInputs.tolist() == [False, True]


def test_several_signatures_on_one_graph_come_through():
    model = golden_model("cnn")
    first = model.signatureDefs[0]
    model.signatureDefs.append(
        schema.SignatureDefT(inputs=first.inputs, outputs=first.outputs, signatureKey=b"other", subgraphIndex=0)
    )

    after = read_model(slim_content(write_model(model), "model").content, "slim")

    assert [s.signatureKey for s in after.signatureDefs] == [first.signatureKey, b"other"]
    assert after.subgraphs[0].tensors[after.signatureDefs[1].inputs[0].tensorIndex].name


def archive(prefix):
    stream = io.BytesIO(prefix)
    with zipfile.ZipFile(stream, "a") as packed:
        packed.writestr(zipfile.ZipInfo("labels.txt"), "cat\ndog\n")
        packed.writestr(zipfile.ZipInfo("vocab.txt"), "the\nof\n")
    return stream.getvalue()


@pytest.mark.parametrize("absolute", [True, False])
def test_attached_files_can_still_be_unpacked(tmp_path, absolute):
    slim = slim_content(archive(CONTENT) if absolute else CONTENT + archive(b""), "model")

    with zipfile.ZipFile(io.BytesIO(slim.content)) as packed:
        assert packed.testzip() is None
        assert packed.namelist() == ["labels.txt", "vocab.txt"]
        assert packed.read("labels.txt") == b"cat\ndog\n"
    assert slim.after["attached files"] == slim.before["attached files"] > 0
    assert slim_content(slim.content, "again").content == slim.content
    path = tmp_path / "slim.tflite"
    path.write_bytes(slim.content)
    with SandboxedArtifact(path) as artifact:
        assert artifact.inputs


def test_one_changed_bit_is_found(tmp_path):
    model = golden_model("cnn")
    bias = next(t for t in model.subgraphs[0].tensors if t.shape.tolist() == [3] and t.buffer)
    data = model.buffers[bias.buffer].data.copy()
    data[0] ^= 1
    model.buffers[bias.buffer].data = data
    (tmp_path / "other.tflite").write_bytes(write_model(model))

    with pytest.raises(VerificationError, match="answers differently"):
        prove_identical(GOLDEN / "cnn.tflite", tmp_path / "other.tflite", dataset=None, seed=0)


def test_a_changed_name_is_found(tmp_path):
    model = golden_model("cnn")
    model.signatureDefs[0].inputs[0].name = b"photo"
    model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].name = b"photo"
    (tmp_path / "other.tflite").write_bytes(write_model(model))

    with pytest.raises(VerificationError, match="different inputs or outputs"):
        prove_identical(GOLDEN / "cnn.tflite", tmp_path / "other.tflite", dataset=None, seed=0)


def test_onnx_is_refused_and_told_why(tmp_path):
    recipe = Recipe.model_validate({"version": 1, "steps": [{"kind": "slim"}]})

    with pytest.raises(RecipeError, match=r"slim takes \.tflite files only"):
        plan(Model(path=GOLDEN / "cnn.onnx", format="onnx"), recipe, "onnx")
    with pytest.raises(RecipeError, match="makes tflite"):
        compress(GOLDEN / "cnn.tflite", load_recipe("slim"), tmp_path / "small.onnx")


def test_int8_slim_quantizes_and_then_slims(tmp_path):
    images = np.random.default_rng(0).random((40, 8, 8, 1), np.float32)
    np.savez(tmp_path / "data.npz", x=images)

    plain = compress(GOLDEN / "cnn.tflite", load_recipe("int8"), tmp_path / "a.tflite", data=tmp_path / "data.npz")
    slim = compress(GOLDEN / "cnn.tflite", load_recipe("int8-slim"), tmp_path / "b.tflite", data=tmp_path / "data.npz")

    assert (tmp_path / "b.tflite").stat().st_size < (tmp_path / "a.tflite").stat().st_size
    assert slim.measured[1]["bit-identical samples"] == 64 + 40
    assert slim.delivery.proof.differences == plain.delivery.proof.differences
    assert (tmp_path / "b.tflite").read_bytes() == slim_file(tmp_path / "a.tflite").content


@pytest.mark.parametrize("code", [0, 77])
def test_what_does_not_read_back_as_it_was_written_is_no_damage_of_the_file(monkeypatch, code):
    def write_spoiled(model):
        model = read_model(write_model(model), "again")
        model.subgraphs[0].name, model.subgraphs[0].operators[0].opcodeIndex = b"another", code
        return write_model(model)

    monkeypatch.setattr("tinsmith.convert.slimming.writing.write_model", write_spoiled)

    with pytest.raises(VerificationError, match="what slim makes of mine does not read back"):
        slim_content(CONTENT, "mine")


def test_what_slim_can_not_follow_is_refused(monkeypatch):
    outside, newer = golden_model(), golden_model()
    outside.buffers[1].offset, outside.buffers[1].size = 4096, 16
    newer.subgraphs[0].operators[0].builtinOptionsType = 250

    with pytest.raises(ModelError, match="outside of the flatbuffer"):
        slim_content(write_model(outside), "model")
    with pytest.raises(ModelError, match="does not know"):
        slim_content(write_model(newer), "model")
    monkeypatch.setattr(reading, "_LARGEST_BYTES", 1000)
    with pytest.raises(ModelError, match="up to 2 GiB"):
        slim_file(GOLDEN / "cnn.tflite")


@pytest.mark.parametrize("spoil", ["tensor", "buffer", "code", "graph", "signature", "scales", "zero points"])
def test_an_index_that_leads_nowhere_is_damage(spoil):
    model = golden_model()
    graph = model.subgraphs[0]
    match spoil:
        case "tensor":
            graph.operators[0].inputs = np.array([77], np.int32)
        case "buffer":
            graph.tensors[0].buffer = 77
        case "code":
            graph.operators[0].opcodeIndex = 77
        case "graph":
            model.signatureDefs[0].subgraphIndex = 77
        case "signature":
            model.signatureDefs[0].inputs[0].tensorIndex = 77
        case "scales" | "zero points":
            named = {"scales": 77, "zeroPoints": 0} if spoil == "scales" else {"scales": 0, "zeroPoints": 77}
            graph.tensors[0].quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
            graph.tensors[0].quantization.details = schema.BlockwiseQuantizationT(**named)

    with pytest.raises(ModelLoadError, match=r"damaged.*77"):
        slim_content(write_model(model), "model")


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0\0\0\0TFL3", CONTENT[:200], b"x" * 100])
def test_damaged_files_are_refused(content):
    with pytest.raises(ModelLoadError, match="damaged"):
        slim_content(content, "model")


def test_a_small_file_that_claims_to_be_endless_is_refused():
    model = golden_model()
    graph = model.subgraphs[0]
    graph.tensors += [graph.tensors[0]] * 1000
    graph.Pack = functools.cache(graph.Pack)  # written once, and named a thousand times
    model.subgraphs *= 1000

    content = write_model(model)

    assert len(content) < 12_000
    with pytest.raises(ModelLoadError, match="name each other"):
        slim_content(content, "model")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelLoadError, match="cannot read"):
        slim_file(tmp_path / "none.tflite")


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, len(CONTENT)),
)
def test_damage_never_ends_in_anything_but_an_error_of_ours(changes, cut):
    content = bytearray(CONTENT)
    for place, value in changes:
        content[place] = value
    for damaged in (bytes(content), bytes(content[:cut])):
        with contextlib.suppress(TinsmithError):
            slim_content(damaged, "model")


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_no_tail_is_mistaken_for_an_archive(tail):
    read_model(slim_content(CONTENT + tail + b"PK\5\6" + tail, "model").content, "slim")
