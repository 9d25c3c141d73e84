"""Detectors give the scores they are defined by, and the protocol tells a shortcut from knowledge."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as fewer
from hypothesis import strategies as st
from scipy import stats

from Safety_Detection import labelled_sets, protocol
from Safety_Detection.detectors import CONTROLS, KINDS, fit, folds
from Safety_Detection.labelled_sets import LabelledDataset
from utils.metrics import detection as dm
from utils.metrics import embedding as metrics
from utils.schema import InputError


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 25)), min_size=30, max_size=90), st.integers(2, 5))
@fewer(max_examples=60)
def test_no_group_is_on_both_sides_of_a_fold(rows, number):
    labels, clusters = np.array(rows).T
    if min(len(set(clusters[labels == c])) for c in (0, 1)) < 6:
        return
    fold_of = folds(labels, clusters, number)
    for fold in range(number):
        assert not set(clusters[fold_of == fold]) & set(clusters[fold_of != fold])
        assert len(set(labels[fold_of != fold])) == 2
    assert set(fold_of) == set(range(number))


def test_folds_of_the_sample_are_even_in_both_classes():
    dataset, _ = labelled_sets.load("sample")
    labels, clusters = np.array(dataset.labels), np.array(dataset.clusters)
    fold_of = folds(labels, clusters, 5)
    for fold in range(5):
        assert labels[fold_of == fold].mean() == 0.5, "pairs stay together, so each fold is half unsafe"


def world(n=60, seed=0, d=8):
    generator = np.random.default_rng(seed)
    rows = metrics.unit_rows(generator.normal(0, 1, (n, d))).astype(np.float32)
    return rows, generator.integers(0, 2, n), np.arange(n) % 3


def test_scores_by_the_slow_way():
    rows, labels, inner = world()
    asked, _, _ = world(20, seed=1)
    cosine = np.array([[float(a @ b) for b in rows] for a in asked])
    found = {kind: fit(kind, rows, labels, inner, top_k=7).detector.scores(asked) for kind in KINDS}
    assert found["nearest_unsafe"] == pytest.approx(
        [max(c for c, y in zip(r, labels, strict=True) if y) for r in cosine]
    )
    votes = [sum(labels[j] for j in sorted(range(60), key=lambda j: (-r[j], j))[:7]) / 7 for r in cosine]
    assert found["knn_vote"] == pytest.approx(votes)
    difference = rows[labels == 1].mean(axis=0) - rows[labels == 0].mean(axis=0)
    assert found["centroid_difference"] == pytest.approx(asked @ difference, abs=1e-6)
    from sklearn.linear_model import LogisticRegression

    chosen = fit("logistic_regression", rows, labels, inner).detector
    model = LogisticRegression(C=chosen.settings["strength"], class_weight="balanced", tol=1e-8).fit(rows, labels)
    assert found["logistic_regression"] == pytest.approx(model.decision_function(asked), abs=0.01)


def test_ties_of_the_vote_go_to_the_first():
    rows = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=np.float32)
    detector = fit("knn_vote", rows, np.array([1, 0, 1, 0]), np.array([0, 1, 2, 0]), top_k=2).detector
    assert detector.scores(np.array([[1, 0]], dtype=np.float32)) == pytest.approx([0.5])


def test_held_out_scores_are_those_of_detectors_that_had_not_seen_the_prompt():
    rows, labels, inner = world()
    held_out = fit("nearest_unsafe", rows, labels, inner).held_out
    for i in range(60):
        others = [float(rows[i] @ rows[j]) for j in range(60) if inner[j] != inner[i] and labels[j]]
        assert held_out[i] == pytest.approx(max(others), abs=1e-6)


def test_strength_is_the_one_of_the_best_inner_area():
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    rows, _, inner = world(90, seed=3)
    labels = (rows[:, 0] + np.random.default_rng(3).normal(0, 0.3, 90) > 0).astype(int)
    areas = {}
    for c in (0.1, 1.0, 10.0, 100.0):
        parts = []
        for f in range(3):
            model = LogisticRegression(C=c, class_weight="balanced", max_iter=2000)
            model.fit(rows[inner != f], labels[inner != f])
            parts.append(roc_auc_score(labels[inner == f], model.decision_function(rows[inner == f])))
        areas[c] = np.mean(parts)
    assert fit("logistic_regression", rows, labels, inner).detector.settings["strength"] == max(areas, key=areas.get)


def two_sets(shortcut, n=120, d=16):
    """Two sets of pairs and their vectors. Unsafe prompts lean along an axis: their set's own if it is a shortcut."""
    generator = np.random.default_rng(5)
    vectors = generator.normal(0, 1, (2 * n, d))
    labels = np.tile([1, 0], n)
    for s in range(2):
        axis = s if shortcut else 0
        mine = slice(s * n, (s + 1) * n)
        vectors[mine, axis] += 5 * (labels[mine] - 0.5)
    dataset = LabelledDataset(
        name="world", ids=tuple(map(str, range(2 * n))), groups=("a",) * n + ("b",) * n, group_order=("a", "b"),
        texts={"prompt": tuple(f"text {i}" for i in range(2 * n))}, files=(), labels=tuple(labels.tolist()),
        clusters=tuple((np.arange(2 * n) // 2).tolist()), types=("",) * (2 * n),
    )  # fmt: skip
    return dataset, vectors


@pytest.mark.parametrize("shortcut", [True, False])
def test_the_protocol_tells_a_shortcut_from_knowledge(shortcut):
    dataset, matrix = two_sets(shortcut)
    for pairing in protocol.pairings(dataset, protocol.vectors_of(matrix), [*KINDS, CONTROLS[1]]):
        labels = np.array(dataset.labels)[pairing.rows]
        if pairing.kind == CONTROLS[1]:
            areas = [float(dm.auroc(dm.curve(labels, scores))) for scores in pairing.scores.T]
            reach = stats.t.ppf(0.9995, len(areas) - 1) * np.std(areas, ddof=1) / np.sqrt(len(areas))
            assert abs(np.mean(areas) - 0.5) <= reach, pairing.group
            continue
        area = float(dm.auroc(dm.curve(labels, pairing.scores)))
        false, true = pairing.flags[labels == 0].mean(), pairing.flags[labels == 1].mean()
        if pairing.train == pairing.test or not shortcut:
            assert area > 0.85 and true > 2 * false, (pairing.group, pairing.kind)
        else:
            # 60 unsafe and 60 safe prompts: an area without knowledge has a standard error of 0.053.
            assert abs(area - 0.5) < 0.16, (pairing.group, pairing.kind)


def test_sides_have_no_text_of_the_tested_set_and_others_is_all_the_rest():
    texts = ["one", "two", "Three ", "ONE", "four", "three", "five"]
    dataset = LabelledDataset(
        name="x", ids=tuple("abcdefg"), groups=("p", "p", "p", "q", "q", "r", "r"), group_order=("p", "q", "r"),
        texts={"prompt": tuple(texts)}, files=(), labels=(1, 0, 1, 0, 1, 0, 1), clusters=tuple(range(7)),
        types=("",) * 7,
    )  # fmt: skip
    sides = {name: rows.tolist() for name, rows in protocol.training_sides(dataset, "p").items()}
    assert sides == {"p": [0, 1, 2], "q": [4], "r": [6], "others": [4, 6]}
    assert "others" not in protocol.training_sides(
        LabelledDataset("x", ("a", "b"), ("p", "q"), ("p", "q"), {"prompt": ("s", "t")}, ()), "p"
    )


def test_the_inner_folds_keep_one_text_of_two_sets_on_one_side():
    # Each text of the first set stands in the second too: the nearest prompt of another fold is never the text itself.
    texts = tuple(f"text {i % 40}" for i in range(80))
    dataset = LabelledDataset(
        name="x", ids=tuple(map(str, range(80))), groups=("a",) * 40 + ("b",) * 40, group_order=("a", "b"),
        texts={"prompt": texts}, files=(), labels=(1, 0) * 40, clusters=tuple(range(80)), types=("",) * 80,
    )  # fmt: skip
    rows = metrics.unit_rows(np.random.default_rng(0).normal(size=(40, 6)))
    vectors = protocol.vectors_of(np.tile(rows, (2, 1)))
    inner = protocol.inner_folds(dataset, np.arange(80))
    held_out = protocol.trained("nearest_unsafe", vectors, dataset, np.arange(80), inner).held_out
    assert held_out.max() < 0.999 and held_out[:40] == pytest.approx(held_out[40:])


def test_sets_that_are_one_another_are_refused():
    dataset, _ = two_sets(True)
    protocol.check(dataset)
    # All but two pairs of the second set occur in the first one too.
    texts = dataset.texts["prompt"][:120] + dataset.texts["prompt"][:116] + dataset.texts["prompt"][236:]
    with pytest.raises(InputError, match=r"set 'b' has too little left to train on without the texts that 'a' has"):
        protocol.check(LabelledDataset(**{**vars(dataset), "texts": {"prompt": texts}}))


def test_three_groups_of_each_class_are_enough_for_three_folds():
    dataset, _ = two_sets(True)  # pairs: rows 2 i and 2 i + 1 are a group with a prompt of each class
    assert protocol.enough(dataset, np.arange(6)) and not protocol.enough(dataset, np.arange(4))
    assert not protocol.enough(dataset, np.array([0, 1, 2, 3, 5])), "three groups of safe prompts, two of unsafe"


def test_words_are_those_of_the_training_side_only():
    vectors = protocol.word_vectors_of(["alpha beta", "beta gamma", "gamma delta"])
    seen, asked = vectors(np.array([0, 1]), np.array([2]))
    assert seen.shape == (2, 3) and asked.shape == (1, 3)
    assert asked.nnz == 1, "delta is unknown"


def test_a_threshold_by_words_knows_none_of_the_held_out_prompts():
    # Each prompt has words that no other has. Where the held-out prompts' are known, their vectors spread over them and
    # are nearer to nothing; a threshold from such scores would flag far more than 5 % of new safe prompts.
    from sklearn.feature_extraction.text import TfidfVectorizer

    generator = np.random.default_rng(0)
    texts = [
        " ".join([f"own{i}{j}" for j in range(3)] + [f"word{w}" for w in generator.integers(0, 12, 4)])
        for i in range(160)
    ]
    dataset = LabelledDataset(
        name="x", ids=tuple(map(str, range(160))), groups=("a",) * 80 + ("b",) * 80, group_order=("a", "b"),
        texts={"prompt": tuple(texts)}, files=(), labels=(1, 0) * 80, clusters=tuple(range(160)), types=("",) * 160,
    )  # fmt: skip
    found = protocol.pairings(dataset, protocol.word_vectors_of(texts), ["nearest_unsafe"])
    pairing = next(one for one in found if (one.train, one.test) == ("a", "b"))
    labels, inner = np.array(dataset.labels), folds(dataset.labels[:80], dataset.clusters[:80], 3)
    held_out = np.empty(80)
    for fold in range(3):
        seen, asked = ([i for i in range(80) if (inner[i] == fold) == held] for held in (False, True))
        vectorizer = TfidfVectorizer().fit([texts[i] for i in seen])
        unsafe = vectorizer.transform([texts[i] for i in seen if labels[i]])
        held_out[asked] = (vectorizer.transform([texts[i] for i in asked]) @ unsafe.T).toarray().max(axis=1)
    threshold = dm.threshold_at(held_out[labels[:80] == 0], 0.05)
    assert pairing.flags.tolist() == (pairing.scores >= threshold - 1e-6).tolist()
    assert pairing.flags[labels[80:] == 0].mean() < 0.2


def test_prompt_length_is_no_more_than_that():
    dataset, matrix = two_sets(True)
    texts = tuple("x" * (20 if label else 10) for label in dataset.labels)
    dataset = LabelledDataset(**{**vars(dataset), "texts": {"prompt": texts}})
    for pairing in protocol.pairings(
        LabelledDataset(**{**vars(dataset), "texts": {"prompt": tuple(f"{t}{i:03}" for i, t in enumerate(texts))}}),
        protocol.vectors_of(matrix),
        ["prompt_length"],
    ):
        labels = np.array(dataset.labels)[pairing.rows]
        assert dm.auroc(dm.curve(labels, pairing.scores)) == 1, pairing.group
