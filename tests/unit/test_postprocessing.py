"""Operations on outputs, against simple reference implementations and onnxruntime's NonMaxSuppression."""

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinsmith.runtime.errors import DataError, ModelError
from tinsmith.runtime.postprocessing import (
    Argmax,
    Binary,
    Boxes,
    Class,
    Classes,
    Detected,
    Labels,
    Output,
    Postprocessing,
    Sigmoid,
    Softmax,
    Threshold,
    TopK,
    default_postprocessing,
)
from tinsmith.runtime.postprocessing.suppression import overlaps, suppress, suppress_by_class
from tinsmith.runtime.tensors import Quantization, TensorSpec

NAMES = ("cat", "dog", "cow", "hen")
SSD = "TFLite_Detection_PostProcess"


def answer(*operations, **outputs):
    return Postprocessing(operations=operations).apply({k: np.asarray(v, np.float32) for k, v in outputs.items()})


logits = hnp.arrays(np.float32, st.integers(1, 12), elements=st.floats(-1e4, 1e4, width=32))


class TestScores:
    @given(logits)
    def test_softmax_keeps_the_order_and_sums_to_one(self, values):
        found = answer(Softmax(), y=values).values

        assert found.sum() == pytest.approx(1)
        assert (np.diff(found[np.argsort(values, kind="stable")]) >= 0).all()

    @given(hnp.arrays(np.float32, 5, elements=st.floats(-30, 30, width=32)))
    def test_softmax_and_sigmoid_are_their_formulas(self, values):
        exact = values.astype(np.float64)
        np.testing.assert_allclose(answer(Softmax(), y=values).values, np.exp(exact) / np.exp(exact).sum())
        np.testing.assert_allclose(answer(Sigmoid(), y=values).values, 1 / (1 + np.exp(-exact)), atol=1e-15)

    def test_masked_classes_get_nothing(self):
        np.testing.assert_array_equal(answer(Softmax(), y=[0, -np.inf, 0]).values, [0.5, 0, 0.5])
        np.testing.assert_array_equal(answer(Softmax(), y=[-np.inf, -np.inf]).values, [0.5, 0.5])

    def test_one_probability_stands_for_two_classes(self):
        found = answer(Sigmoid(), Binary(), TopK(k=2), Labels(names=("no", "yes")), y=[[0.0]])

        assert found.to_json() == {
            "classes": [{"label": "no", "index": 0, "score": 0.5}, {"label": "yes", "index": 1, "score": 0.5}]
        }

    @given(logits, st.integers(1, 14))
    def test_top_k_is_sorting(self, values, k):
        found = answer(TopK(k=k), y=values).found

        by_hand = sorted(range(len(values)), key=lambda n: (-values[n], n))[:k]
        assert [item.index for item in found] == by_hand
        assert [item.score for item in found] == [float(values[n]) for n in by_hand]

    @given(logits)
    def test_argmax_is_the_first_of_the_best(self, values):
        assert answer(Argmax(), y=values).found == (Class(index=int(np.argmax(values)), score=float(values.max())),)

    @given(logits, st.floats(-1e4, 1e4, width=32))
    def test_a_threshold_leaves_all_that_reach_it(self, values, least):
        found = answer(Threshold(least=least), y=values).found

        assert sorted(item.index for item in found) == [n for n, v in enumerate(values) if v >= least]
        assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)

    def test_axes_of_length_one_do_not_count(self):
        assert answer(Argmax(), y=np.array([0, 3, 1]).reshape(1, 1, 3)).found[0].index == 1

    def test_without_operations_the_outputs_are_the_answer(self):
        outputs = {"y": np.array([[0.1, 2]], np.float32), "n": np.array(3, np.int64)}

        said = Postprocessing().apply(outputs).to_json()

        assert said == {"outputs": {"y": [[0.1, 2.0]], "n": 3}}
        assert json.dumps(said) == '{"outputs": {"y": [[0.1, 2.0]], "n": 3}}'

    @pytest.mark.parametrize(
        ("operations", "outputs", "said"),
        [
            ((Argmax(),), {"a": [1, 2], "b": [1, 2]}, "2 outputs: a, b"),
            ((Output(name="c"), Argmax()), {"a": [1, 2], "b": [1, 2]}, "no output 'c'"),
            ((Argmax(),), {"a": np.zeros((4, 4))}, r"shape \[4, 4\] does not hold one score a class"),
            ((Argmax(),), {"a": []}, r"shape \[0\] does not hold"),
            ((Binary(), Argmax()), {"a": [1, 2]}, "a single probability, not 2"),
            ((Binary(), Argmax()), {"a": [1.5]}, "1.5 is no probability"),
            ((Argmax(), Labels(names=("x",))), {"a": [1, 2]}, "gave class 1, and there are 1 names"),
        ],
    )
    def test_outputs_that_do_not_fit_are_named(self, operations, outputs, said):
        with pytest.raises(DataError, match=said) as caught:
            answer(*operations, **outputs)

        assert caught.value.hint

    @pytest.mark.parametrize("operation", [Softmax(), Sigmoid(), Argmax(), TopK(k=2), Threshold(least=0)])
    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_scores_that_are_no_numbers_are_the_models_fault(self, operation, bad):
        with pytest.raises(ModelError, match="NaN or infinity"):
            answer(operation, y=[0, bad])

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_json_has_no_words_for_them_either(self, bad):
        with pytest.raises(ModelError, match="NaN or infinity"):
            answer(y=[0, bad]).to_json()


corner = st.integers(0, 20)
rows = st.lists(st.tuples(corner, corner, corner, corner, st.integers(0, 3)), max_size=24)


@st.composite
def scenes(draw):
    """Boxes [n, 4] with sorted corners on a coarse grid, scores that all differ, and class numbers."""
    drawn = draw(rows)
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d, _ in drawn], float).reshape(-1, 4)
    scores = np.array(draw(st.permutations(range(1, len(drawn) + 1))), float) / (len(drawn) + 1)
    return boxes, scores, np.array([number for *_, number in drawn], np.intp)


def iou(a, b):
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(height, 0) * max(width, 0)
    united = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / united if united else 0.0


def by_brute_force(boxes, scores, classes, threshold, most):
    kept = []
    for n in sorted(range(len(boxes)), key=lambda n: -scores[n]):
        if all(classes[n] != classes[m] or iou(boxes[n], boxes[m]) <= threshold for m in kept):
            kept.append(n)
    return kept[:most]


class TestSuppression:
    @given(scenes(), st.sampled_from([0.0, 0.3, 0.5, 0.999]), st.integers(1, 30))
    def test_agrees_with_brute_force(self, scene, threshold, most):
        boxes, scores, classes = scene

        kept = suppress_by_class(boxes, scores, classes, iou_threshold=threshold, most=most)

        assert kept.tolist() == by_brute_force(boxes, scores, classes, threshold, most)

    @given(scenes(), st.sampled_from([0.0, 0.3, 0.5]))
    def test_what_stays_is_sorted_and_does_not_overlap_and_what_goes_does(self, scene, threshold):
        boxes, scores, _ = scene

        kept = suppress(boxes, scores, iou_threshold=threshold, most=100).tolist()

        assert [scores[n] for n in kept] == sorted((scores[n] for n in kept), reverse=True)
        assert all(iou(boxes[a], boxes[b]) <= threshold for a in kept for b in kept if a != b)
        assert all(
            any(scores[m] > scores[n] and iou(boxes[n], boxes[m]) > threshold for m in kept)
            for n in set(range(len(boxes))) - set(kept)
        )

    @given(scenes(), st.randoms(use_true_random=False))
    def test_the_order_of_the_boxes_does_not_matter(self, scene, random):
        boxes, scores, classes = scene
        order = list(range(len(boxes)))
        random.shuffle(order)

        kept = suppress_by_class(boxes, scores, classes, iou_threshold=0.5, most=100)

        shuffled = suppress_by_class(boxes[order], scores[order], classes[order], iou_threshold=0.5, most=100)
        assert [order[n] for n in shuffled] == kept.tolist()

    @given(scenes())
    def test_overlap_is_that_of_the_formula(self, scene):
        boxes, _, _ = scene
        for box in boxes:
            np.testing.assert_allclose(overlaps(box, boxes), [iou(box, other) for other in boxes])


@pytest.fixture(scope="module")
def outside_judge():
    """onnxruntime's own NonMaxSuppression: (boxes, scores by class, threshold) -> kept (class, box) pairs."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    helper, kinds = onnx.helper, onnx.TensorProto
    inputs = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (
            ("boxes", kinds.FLOAT, [1, None, 4]),
            ("scores", kinds.FLOAT, [1, None, None]),
            ("most", kinds.INT64, [1]),
            ("iou", kinds.FLOAT, [1]),
            ("least", kinds.FLOAT, [1]),
        )
    ]
    node = helper.make_node("NonMaxSuppression", [i.name for i in inputs], ["kept"])
    graph = helper.make_graph([node], "nms", inputs, [helper.make_tensor_value_info("kept", kinds.INT64, [None, 3])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def judge(boxes, scores, threshold):
        feeds = {"boxes": boxes[None], "scores": scores[None], "most": [1000], "iou": [threshold], "least": [0.0]}
        feeds = {k: np.asarray(v, np.int64 if k == "most" else np.float32) for k, v in feeds.items()}
        return {(int(c), int(b)) for _, c, b in session.run(None, feeds)[0]}

    return judge


class TestBoxes:
    @given(scenes(), st.sampled_from([0.25, 0.5]))
    def test_agrees_with_onnxruntime(self, outside_judge, scene, threshold):
        boxes, scores, classes = scene
        assume(len(boxes))
        table = np.zeros((4, len(boxes)))
        table[classes, np.arange(len(boxes))] = scores

        found = answer(
            Boxes(boxes="b", scores="s", format="yxyx", score_threshold=0.001, iou_threshold=threshold),
            b=boxes, s=table.T,
        ).found  # fmt: skip

        judged = outside_judge(boxes, table, threshold)
        assert {(item.index, round(item.score * (len(boxes) + 1))) for item in found} == {
            (c, round(scores[b] * (len(boxes) + 1))) for c, b in judged
        }

    @pytest.mark.parametrize(
        ("form", "numbers"), [("xyxy", [20, 10, 60, 50]), ("yxyx", [10, 20, 50, 60]), ("cxcywh", [40, 30, 40, 40])]
    )
    @pytest.mark.parametrize("pixels", [True, False])
    @pytest.mark.parametrize("transposed", [True, False])
    def test_every_form_says_the_same_box(self, form, numbers, pixels, transposed):
        across = np.array([100, 200] if form == "yxyx" else [200, 100])
        scaled = np.array(numbers) if pixels else np.array(numbers) / np.tile(across, 2)
        size = {"height": 100, "width": 200} if pixels else {}
        table = np.array([[*scaled, 0.1, 0.9]])

        found = answer(Boxes(format=form, transposed=transposed, **size), y=table.T if transposed else table)

        (said,) = found.to_json()["detections"]
        assert said == {
            "index": 1,
            "score": 0.9,
            "box": {"top": 0.1, "left": 0.1, "bottom": 0.5, "right": 0.3},
        }

    def test_objectness_multiplies_each_score(self):
        (found,) = answer(Boxes(objectness=True), y=[[0.5, 0.5, 1, 1, 0.5, 0.2, 0.8], [0.1] * 7]).found

        assert (found.index, found.score) == (1, pytest.approx(0.4))

    def test_nothing_likely_is_no_detection(self):
        assert answer(Boxes(), y=np.zeros((8, 6))).to_json() == {"detections": []}
        assert answer(Boxes(), y=np.zeros((0, 6))).to_json() == {"detections": []}

    def test_boxes_that_nobody_looks_at_may_overflow(self):
        found = answer(Boxes(), y=[[np.inf, 0, 0, 0, 0.1], [0.5, 0.5, 1, 1, 0.9]]).found

        assert len(found) == 1
        with pytest.raises(ModelError, match="boxes hold NaN or infinity"):
            answer(Boxes(), y=[[np.inf, 0, 0, 0, 0.9]])
        with pytest.raises(ModelError, match="scores hold NaN"):
            answer(Boxes(), y=[[0, 0, 0, 0, np.nan]])

    def test_most_of_all_classes_stay_together(self):
        table = [[n, n, 0.5, 0.5, *(0.5 + n / 100 if c == n % 2 else 0 for c in range(2))] for n in range(10)]

        found = answer(Boxes(max_detections=3), Labels(names=("a", "b")), y=table).found

        assert [item.label for item in found] == ["b", "a", "b"]

    @pytest.mark.parametrize(
        ("operation", "outputs", "said"),
        [
            (Boxes(), {"y": np.zeros((3, 4))}, "do not belong together"),
            (Boxes(), {"y": np.zeros(6)}, "is no table of boxes"),
            (Boxes(boxes="b", scores="s"), {"b": np.zeros((3, 4)), "s": np.zeros((2, 4))}, "do not belong together"),
            (Boxes(objectness=True), {"y": np.zeros((3, 5))}, "do not belong together"),
            (Boxes(), {"a": np.zeros((3, 6)), "b": np.zeros((3, 6))}, "2 outputs"),
        ],
    )
    def test_tables_that_do_not_fit_are_named(self, operation, outputs, said):
        with pytest.raises(DataError, match=said):
            answer(operation, **outputs)


class TestDetected:
    OUTPUTS = {
        "boxes": [[0, 0, 0.5, 0.5], [0.1, 0.2, 0.3, 0.4], [9, 9, 9, 9]],
        "classes": [2, 0, 7],
        "scores": [0.4, 0.9, 0.1],
        "count": [2],
    }
    READ = Detected(boxes="boxes", classes="classes", scores="scores", count="count")

    def test_reads_as_many_as_count_the_best_first(self):
        found = answer(self.READ, Labels(names=NAMES), **self.OUTPUTS).to_json()["detections"]

        assert [(item["label"], item["score"]) for item in found] == [("cat", 0.9), ("cow", 0.4)]
        assert found[0]["box"] == {"top": 0.1, "left": 0.2, "bottom": 0.3, "right": 0.4}

    def test_a_threshold_and_a_number_cut_them(self):
        assert len(answer(self.READ, Threshold(least=0.5), **self.OUTPUTS).found) == 1
        assert len(answer(self.READ, TopK(k=1), **self.OUTPUTS).found) == 1

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"count": [4]}, "does not say how many of 3"),
            ({"count": [-1]}, "does not say"),
            ({"count": [1.5]}, "does not say"),
            ({"count": [1, 1]}, "does not say"),
            ({"count": [np.nan]}, "does not say"),
            ({"classes": [0.4, 0.9, 0.1]}, "holds no class numbers"),
            ({"classes": [-1, 0, 0]}, "holds no class numbers"),
            ({"boxes": [[0, 0, 1, 1]]}, "do not belong together"),
            ({"scores": 0.5}, "do not belong together"),
        ],
    )
    def test_outputs_that_were_mistaken_are_named(self, changed, said):
        with pytest.raises(DataError, match=said):
            answer(self.READ, **{**self.OUTPUTS, **changed})


finite = st.floats(-1e6, 1e6)
names = st.text(min_size=1, max_size=5)
heads = st.sampled_from([(), (Softmax(),), (Sigmoid(),), (Output(name="a"),), (Output(name="a"), Softmax())])
tails = st.one_of(
    st.just(()),
    st.builds(lambda k, n: (TopK(k=k), Labels(names=tuple(n))), st.integers(1, 9), st.lists(names, min_size=1)),
    st.builds(lambda least: (Threshold(least=least),), finite),
    st.just((Argmax(),)),
)
boxes = st.builds(
    Boxes,
    boxes=st.one_of(st.none(), names),
    format=st.sampled_from(["xyxy", "yxyx", "cxcywh"]),
    height=st.floats(0.5, 1000),
    transposed=st.booleans(),
    objectness=st.booleans(),
    iou_threshold=st.floats(0, 1),
    max_detections=st.integers(1, 9),
)


class TestPipeline:
    @given(st.one_of(st.tuples(heads, tails).map(lambda p: p[0] + p[1]), boxes.map(lambda b: (b,))))
    def test_json_gives_back_the_same(self, operations):
        postprocessing = Postprocessing(operations=operations)

        assert Postprocessing.from_json(json.loads(json.dumps(postprocessing.to_json()))) == postprocessing

    @pytest.mark.parametrize(
        ("operations", "said"),
        [
            ((Labels(names=NAMES), TopK(k=2)), "labels: it takes classes or detections, but it stands first"),
            ((Softmax(), Labels(names=NAMES)), "labels: .* but softmax gives probabilities"),
            ((Softmax(), Sigmoid()), "sigmoid: it takes outputs or scores, but softmax gives probabilities"),
            ((TopK(k=2), Softmax()), "softmax: .* but top-k gives classes"),
            ((TopK(k=2), Argmax()), "argmax: .* but top-k gives classes"),
            ((Softmax(), Output(name="y")), "output: it takes outputs, but softmax gives probabilities"),
            ((Softmax(), Boxes()), "boxes: it takes outputs, but"),
            ((Boxes(), Softmax()), "softmax: .* but boxes gives detections"),
            ((TopK(k=2), TopK(k=1)), "top-k: it stands twice"),
        ],
    )
    def test_an_order_that_can_not_be_is_refused_at_once(self, operations, said):
        with pytest.raises(DataError, match=said) as caught:
            Postprocessing(operations=operations)

        assert "the order is" in caught.value.hint

    @pytest.mark.parametrize(
        ("item", "said"),
        [
            ({"kind": "softmaks"}, "'softmaks' is no operation"),
            ({}, "without a kind"),
            ({"kind": "softmax", "axis": 1}, "unknown setting 'axis'"),
            ({"kind": "top-k"}, "missing setting 'k'"),
            ({"kind": "top-k", "k": 0}, "k must be a whole number"),
            ({"kind": "threshold", "least": "0.5"}, "least must be a number"),
            ({"kind": "labels", "names": "labels.txt"}, "names must be a list of names"),
            ({"kind": "labels", "names": []}, "names must be a list of names"),
            ({"kind": "labels", "names": [1, 2]}, "names must be a list of names"),
            ({"kind": "output", "name": 3}, "name must be the name of an output"),
            ({"kind": "boxes", "format": "xywh"}, "format must be one of xyxy, yxyx, cxcywh"),
            ({"kind": "boxes", "height": 0}, "height and width must be above zero"),
            ({"kind": "boxes", "iou_threshold": 1.5}, "iou_threshold must lie between 0 and 1"),
            ({"kind": "boxes", "transposed": 1}, "transposed must be true or false"),
            ({"kind": "boxes", "max_detections": 0}, "max_detections must be a whole number"),
            ({"kind": "boxes", "scores": "s"}, "not the one with the boxes"),
            ({"kind": "detections", "boxes": "b"}, "missing setting 'classes' and 'scores'"),
        ],
    )
    def test_mistakes_are_named(self, item, said):
        with pytest.raises(DataError) as caught:
            Postprocessing.from_json([item])

        assert said in caught.value.message
        assert caught.value.hint


def spec(name, *shape, quantization=None):
    return TensorSpec(name=name, dtype="float32", shape=shape, quantization=quantization)


def kinds(postprocessing):
    return [operation.kind for operation in postprocessing.operations]


class TestDefaults:
    def test_as_many_scores_as_labels_are_named(self):
        chosen = default_postprocessing([spec("y", None, 4)], NAMES)

        assert chosen == Postprocessing(operations=(TopK(k=4), Labels(names=NAMES)))

    def test_softmax_comes_only_where_golden_outputs_are_no_probabilities(self):
        one = [spec("y", None, 4)]
        logits = {"y": np.array([[-1, 3, 0.5, 0]], np.float32)}
        probable = {"y": np.array([[0.1, 0.7, 0.1, 0.1], [0, 0, 0, 1]], np.float32)}
        independent = {"y": np.array([[0.9, 0.7, 0.9, 0.1]], np.float32)}

        assert kinds(default_postprocessing(one, NAMES, logits)) == ["softmax", "top-k", "labels"]
        assert kinds(default_postprocessing(one, NAMES, probable)) == ["top-k", "labels"]
        assert kinds(default_postprocessing(one, NAMES, independent)) == ["top-k", "labels"]

    def test_an_output_among_several_is_told_by_its_length(self):
        several = [spec("features", None, 64), spec("y", None, 1, 1, 4), spec("z", None, 1)]

        assert kinds(default_postprocessing(several, NAMES)) == ["output", "top-k", "labels"]
        assert kinds(default_postprocessing([spec("a", 1, 4), spec("b", 1, 4)], NAMES)) == []

    def test_a_single_entry_and_two_labels_are_a_probability(self):
        one = [spec("y", None, 1)]

        assert kinds(default_postprocessing(one, ("no", "yes"))) == ["binary", "top-k", "labels"]
        below = {"y": np.array([[-2.0]], np.float32)}
        assert kinds(default_postprocessing(one, ("no", "yes"), below)) == ["sigmoid", "binary", "top-k", "labels"]

    def test_without_labels_only_what_sums_to_one_is_a_choice_among_classes(self):
        one = [spec("y", None, 3)]

        assert kinds(default_postprocessing(one, (), {"y": np.array([[0.2, 0.3, 0.5]], np.float32)})) == ["top-k"]
        assert kinds(default_postprocessing(one, (), {"y": np.array([[0.2, 0.3, 0.9]], np.float32)})) == []
        assert kinds(default_postprocessing(one)) == []

    def test_stored_integers_may_miss_one_by_their_rounding(self):
        grid = Quantization(scale=(1 / 256,), zero_point=(-128,))
        one = [spec("y", None, 10, quantization=grid)]

        assert kinds(default_postprocessing(one, (), {"y": np.full((1, 10), 26 / 256, np.float32)})) == ["top-k"]

    def test_a_detection_model_is_told_by_its_outputs(self):
        outputs = [spec("s", 1, 3), spec("b", 1, 3, 4), spec("n", 1), spec("c", 1, 3)]
        golden = {
            "s": np.array([[0.9, 0.5, 0.1]], np.float32),
            "c": np.array([[0, 3, 0]], np.float32),
            "b": np.array([[[-0.1, 0, 1.1, 1]] * 3], np.float32),
            "n": np.array([3], np.float32),
        }

        chosen = default_postprocessing(outputs, NAMES, golden)

        assert chosen.operations == (
            Detected(boxes="b", classes="c", scores="s", count="n"), Threshold(least=0.5), Labels(names=NAMES)
        )  # fmt: skip
        assert kinds(default_postprocessing(outputs, NAMES)) == []
        pixels = {**golden, "b": golden["b"] * 300}
        assert kinds(default_postprocessing(outputs, NAMES, pixels)) == []

    def test_the_names_of_the_post_processing_operator_tell_too(self):
        outputs = [spec(SSD, 1, 3, 4), spec(f"{SSD}:1", 1, 3), spec(f"{SSD}:2", 1, 3), spec(f"{SSD}:3", 1)]

        chosen = default_postprocessing(outputs)

        assert chosen.operations[0] == Detected(boxes=SSD, classes=f"{SSD}:1", scores=f"{SSD}:2", count=f"{SSD}:3")

    @given(
        st.lists(st.lists(st.one_of(st.none(), st.integers(1, 5)), max_size=4), min_size=1, max_size=4),
        st.integers(0, 5),
        st.integers(0, 2**31),
    )
    def test_whatever_comes_out_it_makes_an_answer_of_golden_outputs(self, shapes, labels, seed):
        outputs = [spec(f"o{n}", *shape) for n, shape in enumerate(shapes)]
        rng = np.random.default_rng(seed)
        golden = {s.name: rng.normal(0, 2, s.fixed(2)).astype(np.float32) for s in outputs}

        chosen = default_postprocessing(outputs, NAMES[:labels], golden)

        said = chosen.apply({s.name: golden[s.name][0] if s.shape else golden[s.name] for s in outputs})
        assert json.dumps(said.to_json(), allow_nan=False)
        assert not isinstance(said, Classes) or said.found
