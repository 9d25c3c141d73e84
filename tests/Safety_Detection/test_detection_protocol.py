"""Detectors give the scores they are defined by, and the protocol tells a shortcut from knowledge."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as fewer
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from Safety_Detection.detectors import neighbors
from Safety_Detection.detectors.kinds import CONTROLS, KINDS, balanced, candidates, folds, strongest
from Safety_Detection.detectors.parts import Parts
from Safety_Detection.protocol import evaluation, sides
from Safety_Detection.sets import labelled_sets
from Safety_Detection.sets.labelled_sets import LabelledDataset
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
    return rows, generator.integers(0, 2, n), generator.uniform(0.2, 3, n)


@pytest.mark.parametrize("weighted", [False, True])
def test_scores_by_the_slow_way(weighted):
    rows, labels, weights = world()
    asked, _, _ = world(20, seed=1)
    weights = weights if weighted else None
    each = np.ones(60) if weights is None else weights
    cosine = np.array([[float(a @ b) for b in rows] for a in asked])
    found = {kind: [d.scores(asked) for d in candidates(kind, rows, labels, 7, weights)] for kind in KINDS}
    unsafe = [max(c for c, y in zip(r, labels, strict=True) if y) for r in cosine]
    assert found["nearest_unsafe"][0] == pytest.approx(unsafe)
    near = [sorted(range(60), key=lambda j: (-r[j], j))[:7] for r in cosine]
    votes = [sum(each[j] * labels[j] for j in nearest) / sum(each[j] for j in nearest) for nearest in near]
    assert found["knn_vote"][0] == pytest.approx(votes)
    means = [np.average(rows[labels == c], axis=0, weights=each[labels == c]) for c in (0, 1)]
    assert found["centroid_difference"][0] == pytest.approx(asked @ (means[1] - means[0]), abs=1e-6)
    for i, strength in enumerate((0.1, 1.0, 10.0, 100.0)):
        model = LogisticRegression(C=strength, class_weight=None if weighted else "balanced", tol=1e-8, max_iter=2000)
        model.fit(rows, labels, sample_weight=weights)
        assert found["logistic_regression"][i] == pytest.approx(model.decision_function(asked), abs=0.01 * (1 + i))


def test_ties_of_the_vote_go_to_the_first():
    rows = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=np.float32)
    (detector,) = candidates("knn_vote", rows, np.array([1, 0, 1, 0]), top_k=2)
    assert detector.scores(np.array([[1, 0]], dtype=np.float32)) == pytest.approx([0.5])


def test_weights_by_hand():
    # Class 1: set a has 400 prompts, so each weighs 20 / 400; b has 100, each 10 / 100. Together 20 + 10 = 30.
    # Class 0: a has 100, b has 900, each 30 / 900. Together 10 + 30 = 40. Each class comes to half of 1500.
    labels = np.array([1] * 500 + [0] * 1000)
    sets = ["a"] * 400 + ["b"] * 100 + ["a"] * 100 + ["b"] * 900
    by_hand = [750 / 30 / 20] * 400 + [750 / 30 / 10] * 100 + [750 / 40 / 10] * 100 + [750 / 40 / 30] * 900
    assert balanced(labels, sets) == pytest.approx(by_hand) and balanced(labels, sets).sum() == pytest.approx(1500)
    assert balanced(labels) == pytest.approx([1.5] * 500 + [0.75] * 1000)


def test_the_strongest_has_the_best_area_of_held_out_scores():
    generator = np.random.default_rng(3)
    labels, weights = generator.integers(0, 2, 80), generator.uniform(0.5, 2, 80)
    held_out = np.array([labels * strength + generator.normal(0, 1, 80) for strength in (0.2, 1.0, 0.9, 0.1)])
    for each in (None, weights):
        areas = [roc_auc_score(labels, scores, sample_weight=each) for scores in held_out]
        assert strongest(labels, held_out, each) == int(np.argmax(areas))
    assert strongest(labels, held_out[[0, 0]]) == 0, "the first of equal ones"
    # Scores of a part may be on a scale of their own; a part of one class has no area.
    parts = [np.arange(0, 40), np.arange(40, 80), np.flatnonzero(labels)]
    scaled = held_out + np.where(np.arange(80) < 40, 0, [[0], [50], [0], [0]])
    areas = [np.mean([roc_auc_score(labels[part], scores[part]) for part in parts[:2]]) for scores in held_out]
    assert strongest(labels, scaled, None, parts) == int(np.argmax(areas)) == 1
    assert strongest(labels, scaled) != 1


def test_a_small_set_weighs_as_if_it_had_50_prompts():
    sets = ["one"] + ["large"] * 2000 + ["middle"] * 60 + ["safe"] * 100
    weights = balanced([1] * 2061 + [0] * 100, sets)
    assert weights[0] / weights[1] == pytest.approx(np.sqrt(2000 / 50))
    assert weights[2001] / weights[1] == pytest.approx(np.sqrt(2000 / 60))


def test_a_threshold_by_weight_by_hand():
    # Of a weight of 10, the highest score has 0.4 and the next one 0.2: 0.6 of 10 is more than 5 %, 0.4 is not.
    scores, weights = np.array([3.0, 2.0, 1.0, 0.0]), np.array([0.4, 0.2, 4.4, 5.0])
    assert dm.threshold_at(scores, 0.05, weights) == 3.0 and dm.threshold_at(scores, 0.06, weights) == 2.0
    assert dm.threshold_at(scores, 0.03, weights) == np.nextafter(3.0, np.inf)


@pytest.mark.parametrize("most", [3, 20, 256])
@pytest.mark.parametrize("ties", [False, True])
def test_sides_picked_from_one_pass_are_those_of_each_side(monkeypatch, most, ties):
    """Of few candidates many sides find too few neighbours among them, of many none."""
    monkeypatch.setattr(neighbors, "CANDIDATES", most)
    monkeypatch.setattr(neighbors, "BLOCK_ROWS", 16)
    rows, labels, weights = world(90, d=3)
    if ties:  # a few directions, so that similarities are equal
        rows = np.sign(np.round(rows * 2)).astype(np.float32)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1)
    families = np.array(list("abcde"), dtype=object)[np.random.default_rng(1).integers(0, 5, 90)]
    plan = {}
    for held in [*map(frozenset, itertools.combinations("abcde", 2)), *map(frozenset, "abcde"), frozenset()]:
        outside = np.flatnonzero(~np.isin(families, list(held)))
        train = outside[np.arange(len(outside)) % 7 > 0]  # some are near-duplicates, and not trained on
        plan[held] = train, weights[train], np.flatnonzero(np.isin(families, list(held)))
    found = neighbors.scores_of_sides(rows, labels, plan, families, 6, lambda work, jobs: list(map(work, jobs)))
    for held, (train, its, asked) in plan.items():
        expected = neighbors.scores(rows[train], rows[asked], labels[train], 6, its)
        for one, other in zip(found[held], expected, strict=True):
            assert one == pytest.approx(other, abs=1e-6)


def dataset_of(rows, **more):
    """A dataset of rows (set, family, label, cluster, text), those of a set together."""
    sets = list(dict.fromkeys(row[0] for row in rows))
    rows = sorted(rows, key=lambda row: sets.index(row[0]))
    names, families, labels, clusters, texts = zip(*rows, strict=True)
    return LabelledDataset(
        name="x", ids=tuple(map(str, range(len(rows)))), groups=names, group_order=tuple(sets),
        texts={"prompt": texts}, files=(), labels=labels, clusters=clusters, types=("",) * len(rows),
        family_of=dict(zip(names, families, strict=True)), **more,
    )  # fmt: skip


def many_sets(seed=0, n=24):
    """Six sets of five families, some of one class, whose texts now and then come near those of another set."""
    generator = np.random.default_rng(seed)
    kinds = {"two": ("a", None), "more": ("b", None), "bad1": ("c", 1), "bad2": ("c", 1), "good1": ("d", 0),
             "good2": ("e", 0)}  # fmt: skip
    rows, cluster = [], 0
    for name, (family, label) in kinds.items():
        for i in range(n):
            cluster += i % 2 == 0  # pairs of a cluster
            words = [f"{name}{cluster}w{j}" for j in range(6)] if generator.random() > 0.2 else [
                f"shared{generator.integers(4)}w{j}" for j in range(6)]  # fmt: skip
            rows.append((name, family, i % 2 if label is None else label, cluster, " ".join(words)))
    # Near-duplicates of a set are of one cluster, as in data that are read.
    dataset = dataset_of(rows)
    clusters = list(dataset.clusters)
    for name in dataset.group_order:
        its = dataset.rows(name)
        for one, other in dataset.near.links(its):
            a, b = clusters[its[one]], clusters[its[other]]
            clusters = [a if cluster == b else cluster for cluster in clusters]
    return dataset_of([(g, dataset.family_of[g], y, c, t) for g, y, c, t in zip(
        dataset.groups, dataset.labels, clusters, dataset.texts["prompt"], strict=True)])  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_no_family_group_or_near_text_is_on_both_sides(seed):
    dataset = many_sets(seed)
    trial = evaluation.planned(dataset, None, KINDS)
    families = np.array([dataset.family_of[name] for name in dataset.groups])
    clusters, near = np.array(dataset.clusters), dataset.near
    seen = set()
    for name, side in trial.sides.items():
        for inside in (side.whole, *side.inner):
            job = trial.jobs[inside]
            assert not set(clusters[job.train]) & set(clusters[job.asked])
            assert not near.near(job.asked)[job.train].any(), (name, inside)
            grouped = name[0] == "within" or (inside != side.whole and name[0] == "across")
            if not grouped:
                assert not set(families[job.train]) & set(families[job.asked]), (name, inside)
            assert set(np.array(dataset.labels)[job.train]) == {0, 1}
        held_out = np.concatenate([trial.jobs[inside].asked for inside in side.inner])
        assert set(trial.jobs[side.whole].train) <= set(held_out), "each prompt that is trained on is held out once"
        seen.add(name[0] if len(name) == 3 or isinstance(name[1], str) else "crossing")
    assert seen == {"within", "across", "others", "crossing"}


def test_others_by_the_slow_way():
    """The strength and threshold of a detector of all other families, each left out in turn, by scikit-learn alone."""
    dataset = many_sets(3, n=40)
    generator = np.random.default_rng(0)
    labels, n = np.array(dataset.labels), len(dataset)
    matrix = generator.normal(0, 1, (n, 6)) + labels[:, None] * generator.normal(0, 1, (1, 6))
    unit = metrics.unit_rows(matrix).astype(np.float32)
    found = {}
    for one in evaluation.pairings(
        dataset, evaluation.EncoderVectors(matrix), ["logistic_regression", "nearest_unsafe"]
    ):
        sets = (one.test, one.against) if one.against else (one.train, one.test)
        found[*sets, one.kind] = one
    of = sides.Sides(dataset)
    families = np.array([dataset.family_of[name] for name in dataset.groups])

    def fitted(rows, strength):
        model = LogisticRegression(C=strength, tol=1e-8, max_iter=5000)
        return model.fit(unit[rows], labels[rows], sample_weight=of.weights(rows))

    for test in ("two", "bad1", "good2"):
        family = dataset.family_of[test]
        train = of.without(frozenset(family))
        areas, held_out = [], {}
        for strength in (0.1, 1.0, 10.0, 100.0):
            scores = np.full(n, np.nan)
            for other in set("abcde") - {family}:
                model = fitted(of.without(frozenset({family, other})), strength)
                scores[families == other] = model.decision_function(unit[families == other])
            areas.append(roc_auc_score(labels[train], scores[train], sample_weight=of.weights(train)))
            held_out[strength] = scores[train]
        strength = (0.1, 1.0, 10.0, 100.0)[int(np.argmax(areas))]
        pairing = found["others", test, "logistic_regression"]
        expected = fitted(train, strength).decision_function(unit[dataset.rows(test)])
        assert pairing.scores == pytest.approx(expected, abs=0.02)
        safe = labels[train] == 0
        weights, scores = of.weights(train)[safe], held_out[strength][safe]
        flagged = [weights[scores >= t].sum() / weights.sum() for t in sorted(scores)]
        threshold = next(t for t, share in zip(sorted(scores), flagged, strict=True) if share <= 0.05)
        clear = abs(expected - threshold) > 0.05
        assert (pairing.flags == (expected >= threshold))[clear].all() and clear.mean() > 0.5
        nearest = (unit[dataset.rows(test)] @ unit[train[labels[train] == 1]].T).max(axis=1)
        assert found["others", test, "nearest_unsafe"].scores == pytest.approx(nearest, abs=1e-6)
    crossing = found["bad2", "good1", "nearest_unsafe"]
    train = of.without(frozenset("cd"))
    rows = np.concatenate([dataset.rows("bad2"), dataset.rows("good1")])
    assert crossing.rows.tolist() == rows.tolist()
    assert crossing.scores == pytest.approx((unit[rows] @ unit[train[labels[train] == 1]].T).max(axis=1), abs=1e-6)


@pytest.mark.parametrize("by", ["family", "group"])
def test_what_is_held_out_is_scored_by_the_highest_of_its_parts(by):
    """Whole prompts are trained on. Prompt 3 has no further parts, the others two or three."""
    families = "abc" if by == "family" else "a"
    rows = [(s, s, i % 2, 40 * p + i, f"text {s}{i}") for p, s in enumerate(families) for i in range(40)]
    of, n = sides.Sides(dataset_of(rows)), len(rows)
    generator = np.random.default_rng(2)
    parts = Parts(n, np.sort([i for i in range(n) for _ in range(0 if i == 3 else 2 + i % 2)]))
    unit = metrics.unit_rows(generator.normal(size=(len(parts.owners), 5))).astype(np.float32)
    trial = evaluation.Trial(of, evaluation.EncoderVectors(unit), KINDS, 6, parts)
    trial.add_without("all", frozenset())
    trial.run()
    for inside in trial.sides["all"].inner:
        job = trial.jobs[inside]
        for kind in KINDS:
            weights = of.weights(job.train) if by == "family" else None
            fitted = candidates(kind, unit[job.train], of.labels[job.train], 6, weights)
            for i, found in zip(job.asked.tolist(), trial.scores[inside][kind].T, strict=True):
                its = [i, *(n + np.flatnonzero(parts.of == i))]
                expected = [detector.scores(unit[its]).max() for detector in fitted]
                assert found == pytest.approx(expected, abs=1e-5)


def two_sets(shortcut, n=120, d=16):
    """Two sets of pairs and their vectors. Unsafe prompts lean along an axis: their set's own if it is a shortcut."""
    generator = np.random.default_rng(5)
    vectors = generator.normal(0, 1, (2 * n, d))
    labels = np.tile([1, 0], n)
    for s in range(2):
        axis = s if shortcut else 0
        mine = slice(s * n, (s + 1) * n)
        vectors[mine, axis] += 5 * (labels[mine] - 0.5)
    rows = [("ab"[i // n], "ab"[i // n], label, i // 2, f"text {i}") for i, label in enumerate(labels.tolist())]
    return dataset_of(rows), vectors


@pytest.mark.parametrize("shortcut", [True, False])
def test_the_protocol_tells_a_shortcut_from_knowledge(shortcut):
    dataset, matrix = two_sets(shortcut)
    for pairing in evaluation.pairings(dataset, evaluation.EncoderVectors(matrix), [*KINDS, CONTROLS[1]]):
        labels = np.array(dataset.labels)[pairing.rows]
        if pairing.kind == CONTROLS[1]:
            areas = [float(dm.auroc(dm.curve(labels, scores))) for scores in pairing.scores.T]
            reach = stats.t.ppf(0.9995, len(areas) - 1) * np.std(areas, ddof=1) / np.sqrt(len(areas))
            assert abs(np.mean(areas) - 0.5) <= reach, pairing
            continue
        area = float(dm.auroc(dm.curve(labels, pairing.scores)))
        false, true = pairing.flags[labels == 0].mean(), pairing.flags[labels == 1].mean()
        if pairing.train == pairing.test or not shortcut:
            assert area > 0.85 and true > 2 * false, pairing
        else:
            # 60 unsafe and 60 safe prompts: an area without knowledge has a standard error of 0.053.
            assert abs(area - 0.5) < 0.16, pairing


def test_the_inner_folds_keep_one_text_of_two_sets_on_one_side():
    # Each text of the first set stands in the second too: the nearest prompt of another fold is never the text itself.
    rows = [(s, "f", i % 2, 100 * (s == "b") + i, f"text {i}") for s in "ab" for i in range(40)]
    of = sides.Sides(dataset_of(rows))
    unit = metrics.unit_rows(np.random.default_rng(0).normal(size=(40, 6)))
    trial = evaluation.Trial(of, evaluation.EncoderVectors(np.tile(unit, (2, 1))), ["nearest_unsafe"])
    trial.add_without("all", frozenset())  # one family: it is held out by groups
    trial.run()
    held_out = trial.tested("all", "nearest_unsafe").held_out
    assert held_out.max() < 0.999 and held_out[:40] == pytest.approx(held_out[40:])


def test_sets_that_cannot_be_trained_on_or_tested_are_refused():
    dataset, _ = two_sets(True)
    sides.check(dataset)
    # All but two pairs of the second set occur in the first one too.
    texts = dataset.texts["prompt"][:120] + dataset.texts["prompt"][:116] + dataset.texts["prompt"][236:]
    with pytest.raises(InputError, match=r"set 'a' has too little left .* leave it out, or leave out 'b'"):
        sides.check(LabelledDataset(**{**fields(dataset), "texts": {"prompt": texts}}))
    bad = [("bad", "f", 1, i, f"bad {i} {i}x") for i in range(9)] + [
        ("worse", "f", 1, 9 + i, f"w{i}") for i in range(9)
    ]
    with pytest.raises(InputError, match=r"set 'bad' has nothing left .* outside its family 'f' .* few unsafe or safe"):
        sides.check(dataset_of(bad))
    good = [("good", "g", 0, 20 + i, f"fine {i} {i}y") for i in range(9)]
    with pytest.raises(InputError, match=r"set 'bad' has nothing left .* few unsafe prompts; add a set that has some"):
        sides.check(dataset_of([*bad, *good]))


def fields(dataset):
    return {name: getattr(dataset, name) for name in dataset.__dataclass_fields__}


def test_three_groups_of_each_class_are_enough_for_three_folds():
    dataset, _ = two_sets(True)  # pairs: rows 2 i and 2 i + 1 are a group with a prompt of each class
    of = sides.Sides(dataset)
    assert of.trainable(np.arange(6)) and not of.trainable(np.arange(4))
    assert not of.trainable(np.array([0, 1, 2, 3, 5])), "three groups of safe prompts, two of unsafe"


def test_a_threshold_by_words_knows_none_of_the_held_out_prompts():
    # Each prompt has words that no other has. Where the held-out prompts' are known, their vectors spread over them and
    # are nearer to nothing; a threshold from such scores would flag far more than 5 % of new safe prompts.
    from sklearn.feature_extraction.text import TfidfVectorizer

    generator = np.random.default_rng(0)
    texts = [
        " ".join([f"own{i}{j}" for j in range(3)] + [f"word{w}" for w in generator.integers(0, 12, 4)])
        for i in range(160)
    ]
    dataset = dataset_of([("ab"[i // 80], "ab"[i // 80], 1 - i % 2, i, text) for i, text in enumerate(texts)])
    found = evaluation.pairings(dataset, evaluation.word_vectors_of(texts), ["nearest_unsafe"])
    pairing = next(one for one in found if (one.train, one.test) == ("a", "b"))
    labels, inner = np.array(dataset.labels), sides.Sides(dataset).folds_of(np.arange(80), 3)
    held_out = np.empty(80)
    for fold in range(3):
        seen, asked = ([i for i in range(80) if (inner[i] == fold) == held] for held in (False, True))
        vectorizer = TfidfVectorizer().fit([texts[i] for i in seen])
        unsafe = vectorizer.transform([texts[i] for i in seen if labels[i]])
        held_out[asked] = (vectorizer.transform([texts[i] for i in asked]) @ unsafe.T).toarray().max(axis=1)
    threshold = dm.threshold_at(held_out[labels[:80] == 0], 0.05)
    assert pairing.flags.tolist() == (pairing.scores >= threshold - 1e-6).tolist()
    assert pairing.flags[labels[80:] == 0].mean() < 0.2
