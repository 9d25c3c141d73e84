"""A detector in use: from Python, explained, with its card, and kept up to date."""

import csv
import json
import re
from dataclasses import replace

import made_up_detector
import numpy as np
import pytest
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV

from Safety_Detection import fit, score
from Safety_Detection.detectors import calibration
from Safety_Detection.detectors.kinds import candidates
from Safety_Detection.guardrail import card, card_figures, saved, splitting
from Safety_Detection.guardrail.bank import familiarity, known_words, most_signs, share_of_signs
from Safety_Detection.guardrail.guard import Guard
from Safety_Detection.guardrail.saved import load_detector
from Safety_Detection.guardrail.versions import home
from Safety_Detection.protocol import sides
from Safety_Detection.sets import labelled_sets
from utils.data.text import NORMALIZING
from utils.encoders import loading
from utils.metrics import embedding as metrics
from utils.schema import InputError

RATES = [0.001, 0.005, 0.01, 0.05, 0.1]


class World(made_up_detector.World):
    """It keeps what it embeds."""

    asked: list = []  # noqa: RUF012

    def encode(self, texts):
        self.asked.extend(texts)
        return super().encode(texts)


@pytest.fixture(autouse=True)
def world(monkeypatch):
    World.asked = []
    monkeypatch.setattr(splitting, "ALONE", 1)  # sentences of a few letters are read by themselves
    monkeypatch.setattr(splitting, "JOINED", 1)
    monkeypatch.setattr(loading, "load", lambda spec: World())


@pytest.fixture
def labelled(tmp_path):
    """Two sets of pairs, and one of safe prompts of two sentences; some safe prompts say bad."""
    path = tmp_path / "labelled.csv"
    rows = [f"{'bad' if i % 2 or i % 9 == 0 else 'good'} thing {i} {s}{i} {s}v{i},{i % 2},{s},{s}{i // 2}"
            for s in "xy" for i in range(40)]  # fmt: skip
    rows += [f"{'bad' if i % 11 == 0 else 'good'} day {i}. z{i} v{i},0,z,z{i}" for i in range(30)]
    path.write_text("prompt,label,set,group\n" + "\n".join(rows) + "\n")
    return path


def fitted(tmp_path, labelled, *flags):
    folder = tmp_path / "detector"
    assert fit.main(["--data", str(labelled), "--out", str(folder), "--quiet", *flags]) == 0
    return folder


def unit(texts):
    return metrics.unit_rows(World().encode(texts)).astype(np.float32)


def test_the_nearest_of_a_bank_by_the_slow_way():
    generator = np.random.default_rng(0)
    rows = metrics.unit_rows(np.sign(generator.normal(size=(40, 4)))).astype(np.float32)  # with ties
    bank = made_up_detector.bank_of(rows, (0,) * 40)
    asked = metrics.unit_rows(generator.normal(size=(7, 4))).astype(np.float32)
    for number in (1, 5, 40):
        indices, values = bank.nearest(asked, number)
        for row, its, similar in zip(asked, indices, values, strict=True):
            cosine = rows @ row
            expected = sorted(range(40), key=lambda j: (-cosine[j], j))[:number]
            assert its.tolist() == expected and similar == pytest.approx(cosine[expected], abs=1e-6)


def test_what_is_familiar_is_by_parts_that_were_held_out():
    rows = metrics.unit_rows(np.random.default_rng(1).normal(size=(60, 3))).astype(np.float32)
    parts = np.arange(60) % 4
    best = [max(float(rows[i] @ rows[j]) for j in range(60) if parts[j] != parts[i]) for i in range(60)]
    assert familiarity(rows, parts) == pytest.approx(np.quantile(best, 0.01), abs=1e-6)
    assert familiarity(rows, np.zeros(60)) == -1.0, "nothing was held out, so nothing is unfamiliar"


def test_a_detector_from_python(tmp_path, labelled):
    guard = load_detector(fitted(tmp_path, labelled))
    texts = ["a bad one", "something good", "good thing 4 x4 xv4"]
    found = guard.score(texts, nearest=2)
    scores = guard.detector.detector.scores(unit(texts))
    assert [v.score for v in found] == pytest.approx(scores.tolist(), abs=1e-5)
    assert [v.flagged for v in found] == (scores >= guard.threshold).tolist()
    bank, known = guard.detector.bank, set(labelled.read_text().replace(",", " ").split())
    for text, verdict in zip(texts, found, strict=True):
        cosine = bank.rows @ unit([text])[0]
        order = sorted(range(len(bank.dataset.ids)), key=lambda j: (-cosine[j], j))[:2]
        assert [near.id for near in verdict.nearest] == [bank.dataset.ids[j] for j in order]
        assert [near.similarity for near in verdict.nearest] == pytest.approx(cosine[order], abs=1e-5)
        unlike = cosine[order[0]] < bank.familiar or len({*text.split()} & known) < bank.known_words * len(text.split())
        assert verdict.unfamiliar == unlike and verdict.matched is None
    assert found[2].nearest[0].id == "x:5" and found[2].nearest[0].label == 0, "rows are numbered from 1"
    assert guard.score([]) == [] and guard.score(texts)[0].nearest == () and guard.score(texts)[0].unfamiliar is None
    above = load_detector(tmp_path / "detector", threshold=float(scores.max()) + 1)
    assert not any(v.flagged for v in above.score(texts))
    guard.close()


def test_what_python_gives_is_checked_as_what_a_file_gives(tmp_path, labelled):
    folder = fitted(tmp_path, labelled)
    guard = load_detector(folder)
    for texts, nearest, message in (
        ("a bad one", 0, r"texts: is no list of texts \(str\); give one"),
        (["fine", ""], 0, "text 2: has no text"),
        (["\u3164"], 0, "text 1: has no text"),
        (["fine", "fine", None], 0, r"text 3: is not a text \(NoneType\)"),
        (["fine"], -1, "nearest -1: give a whole number of at least 0"),
        (["fine"], 111, "nearest 111: the detector was fitted on fewer prompts"),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            guard.score(texts, nearest=nearest)
    assert len(guard.score(iter(["a bad one"]), nearest=110)[0].nearest) == 110, "any iterable, and all prompts"
    for name, value, message in (
        ("threshold", float("nan"), "nan: give a number"),
        ("threads", 0, "0: give a whole number of at least 1"),
        ("base_rate", [0.1], r"\[0.1\]: give a share above 0"),
        ("model", 3, "3: is no name"),
        ("folder", None, "None: is no path"),
    ):
        with pytest.raises(InputError, match=f"^{name} {message}"):
            load_detector(**{"folder": folder, name: value})


def test_a_text_that_cannot_be_scored_is_named_and_never_safe(tmp_path, labelled):
    guard = load_detector(fitted(tmp_path, labelled, "--model", "tfidf"))
    with pytest.raises(InputError, match="text 2: has no word that the detector knows"):
        guard.score(["bad thing", "unheard words"])
    assert guard.score(["bad thing"], nearest=1)[0].nearest[0].similarity > 0, "the bank of TF-IDF is sparse"


def test_explain_names_prompts_and_no_texts(tmp_path, labelled, capsys):
    folder = fitted(tmp_path, labelled)
    path = tmp_path / "in.txt"
    path.write_text("good thing 4 x4 xv4\na bad one\n")
    assert score.main(["--detector", str(folder), "--input", str(path), "--explain", "2", "--quiet"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    expected = load_detector(folder).score(["good thing 4 x4 xv4", "a bad one"], nearest=2)
    for row, verdict in zip(rows, expected, strict=True):
        assert [row["nearest_1"], row["nearest_2"]] == [near.id for near in verdict.nearest]
        assert row["similarity_1"] == f"{verdict.nearest[0].similarity:.4f}"
        assert row["unfamiliar"] == str(int(verdict.unfamiliar)) and row["label_1"] == str(verdict.nearest[0].label)
    assert score.main(["--detector", str(folder), "--input", str(path), "--explain", "500"]) == 2
    assert "--explain 500: the detector was fitted on fewer prompts" in capsys.readouterr().err


@pytest.mark.parametrize("normalize", [True, False])
def test_a_detector_embeds_texts_as_it_was_fitted_to(tmp_path, labelled, normalize):
    folder = fitted(tmp_path, labelled, *([] if normalize else ["--no-normalize"]))
    guard = load_detector(folder)
    assert guard.detector.normalize == normalize
    World.asked.clear()
    texts = [f"b\u3164ad thing {i}" for i in range(40)]
    found = guard.score(texts)
    assert World.asked == ([text.replace("\u3164", "") for text in texts] if normalize else texts)
    assert (sum(verdict.flagged for verdict in found) > 0) == normalize


def test_a_text_is_unfamiliar_by_its_words_too(tmp_path, labelled, capsys):
    # `a` and `d` are in one part only: half the words of two texts are known, and all of the third.
    assert known_words(("a b", "b c", "c d"), np.array([0, 1, 2])) == 0.5
    # A family in a language of its own, 3 % of all, does not make every text familiar.
    foreign = ("e f", "f g", "g h")
    assert known_words((*("a b", "b c", "c d") * 33, *foreign), np.array([0, 1, 2] * 33 + [3] * 3)) == 0.5
    assert known_words(foreign, np.zeros(3)) == 0.0, "nothing was held out, so nothing is unfamiliar"
    folder = fitted(tmp_path, labelled)
    bank = saved.load(folder).bank
    rows = bank.rows[[0, 0, 0, 0]]  # as near as can be
    texts = ["good thing 0 x0 xv0", "wie backt man gutes brot", "wie good thing 0 x0 xv0", "如何烤面包"]
    assert bank.unfamiliar(rows, texts).tolist() == [False, True, False, True]
    assert not bank.unfamiliar(rows).any() and not replace(bank, known_words=0.0).unfamiliar(rows, texts).any()
    # 8 of 20 characters and 40 letters more; a mark on a letter is no sign. Few prompts fitted on have one.
    assert share_of_signs("things[0] += {x_0: bad}") == 8 / (20 + 40) and share_of_signs("कि e\u0301") == 0
    # Of 100 texts 99 have none and one has 1 of 42: a hundredth of the way from the 99th to the 100th.
    assert most_signs([*["ab"] * 99, "a!"]) == pytest.approx(0.01 / 42)
    by_signs = replace(bank, known_words=0.0)
    assert bank.signs < 2 / (5 + 40) and by_signs.unfamiliar(rows[:2], ["x0[0]", "x0 0"]).tolist() == [True, False]
    path = tmp_path / "prompts.txt"
    path.write_text("good thing 0 x0 xv0\n" + texts[1])
    assert score.main(["--detector", str(folder), "--input", str(path), "--unfamiliar", "--quiet"]) == 0
    found = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["unfamiliar"] for row in found] == ["0", "1"] and list(found[0])[-1] == "unfamiliar"
    assert [one.unfamiliar for one in load_detector(folder).score(texts[:2], unfamiliar=True)] == [False, True]


def test_a_detector_that_was_fitted_on_texts_normalized_otherwise_says_so(tmp_path, labelled, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a good thing\na b a d thing\nb\u0430d \u200bthings\nc\u0430ts\n")
    folder = fitted(tmp_path, labelled)
    command = ["--detector", str(folder), "--input", str(prompts)]
    assert score.main(command) == 0
    what = "hidden characters in 1, spaced letters in 1, look-alike letters in 2"
    counted = f"scored 4 of 4 lines; normalized: {what}\n"
    assert capsys.readouterr().err == counted
    path = home(folder) / "detector.json"
    card = json.loads(path.read_text())
    assert card.pop("normalizing") == NORMALIZING == 2, "an earlier version of the program kept none"
    path.write_text(json.dumps(card | {"card_sha256": saved._digest(card)}))
    assert score.main(command) == 0
    said = capsys.readouterr().err.splitlines(keepends=True)
    assert said[0].startswith("note: another version of this program fitted the detector, which normalized texts in")
    assert said[1:] == [counted]
    assert replace(saved.load(folder), normalize=False).outdated == ""


def test_a_guard_that_replaces_another_uses_its_encoder_on_and_closes_a_different_one(tmp_path, labelled, monkeypatch):
    done = []

    class Counted(World):
        def close(self):
            done.append("closed")

    detectors = [
        saved.load(fitted(tmp_path / name, labelled, "--model", name)) for name in ("all-minilm-l6-v2", "random")
    ]
    monkeypatch.setattr(loading, "load", lambda spec: done.append(spec.name) or Counted())
    first = Guard(detectors[0])
    second = Guard(replace(detectors[0], threshold=9.0), before=first)
    assert done == ["all-minilm-l6-v2"] and second.threshold == 9
    with pytest.raises(InputError, match="another vector"):
        Guard(replace(detectors[1], probe=np.zeros(5)), before=second)
    assert "closed" not in done, "the one before is still in use"
    Guard(detectors[1], before=second)
    assert done[-2:] == ["random", "closed"]


def read_card(folder):
    return json.loads((home(folder) / "detector.json").read_text())


@pytest.mark.parametrize("reading", ["whole", "sentences", "erased"])
def test_the_card_says_what_thresholds_do_to_held_out_prompts(tmp_path, labelled, reading):
    folder = fitted(tmp_path, labelled, "--detector", "centroid_difference", "--fpr", "0.1", "--read", reading)
    found = read_card(folder)["card"]
    dataset, _ = labelled_sets.load(str(labelled))
    labels, of = np.array(dataset.labels), sides.Sides(dataset)
    rows = unit(dataset.texts["prompt"])
    held_out = np.empty(len(labels))
    for name in "xyz":  # leaving a family out is possible: z is safe, and x or y stays
        train, its = of.without(frozenset(name)), dataset.rows(name)
        weights = of.weights(train)
        means = [
            np.average(rows[train][labels[train] == c], axis=0, weights=weights[labels[train] == c]) for c in (0, 1)
        ]
        for i in its:
            text = dataset.texts["prompt"][i]
            parts = [text, *(re.split(r"(?<=\.) ", text) if reading != "whole" else [])]
            if reading == "erased":
                parts += [p.rsplit(maxsplit=n)[0] for p in parts for n in (3, 6, 9) if len(p.split()) - n >= 4]
            held_out[i] = (unit(parts) @ (means[1] - means[0])).max()
    weights = of.weights(np.arange(len(labels)))
    safe, unsafe = labels == 0, labels == 1
    of_all, of_ordinary = ([p for p in found["points"] if p["of"] == name] for name in ("all", "ordinary"))
    assert [point["rate"] for point in of_all] == [point["rate"] for point in of_ordinary] == RATES
    for point in of_all:
        flags = held_out > point["threshold"] - 1e-6
        if np.average(flags[safe], weights=weights[safe]) > point["rate"] + 1e-9:
            # No score flags so few safe prompts, so the threshold is just above all of theirs.
            flags = held_out > point["threshold"] + 1e-6
        false, low, high = point["false_alarms"]
        assert false == pytest.approx(np.average(flags[safe], weights=weights[safe]), abs=1e-6)
        assert false <= point["rate"] + 1e-9 and low <= false <= high
        assert point["recall"][0] == pytest.approx(np.average(flags[unsafe], weights=weights[unsafe]), abs=1e-6)
        pairs = [(flags[i + 1], flags[i]) for s in (0, 40) for i in range(s, s + 40, 2)]
        assert point["twins"]["pairs"] == 40 and point["twins"]["separated"] == pytest.approx(
            pairs.count((True, False)) / 40
        )
        # z is the one safe-only set: by the detector without it, at that detector's threshold.
        assert set(point["ordinary"]) == {"z"} and 0 <= point["ordinary"]["z"][0] <= 1
    z = dataset.rows("z")
    for point in of_ordinary:  # z alone, each prompt counting the same
        ranked = np.sort(held_out[z])[::-1]
        flagged = int(30 * point["rate"] + 1e-9)
        between = sorted([ranked[flagged], ranked[flagged - 1] if flagged else np.inf])
        assert between[0] < point["threshold"] + 1e-6 and point["threshold"] < between[1] + 1e-6
        limits = [
            stats.beta.ppf(0.025, flagged, 31 - flagged) if flagged else 0,
            stats.beta.ppf(0.975, flagged + 1, 30 - flagged),
        ]
        assert point["false_alarms"] == pytest.approx([flagged / 30, *limits], abs=1e-9)
        flags = held_out > (between[1] - 1e-6 if flagged else between[0] + 1e-6)
        assert point["recall"][0] == pytest.approx(np.average(flags[unsafe], weights=weights[unsafe]), abs=1e-6)
    # Groups of safe prompts: 20 of x, 20 of y, 30 of z. Weights by set: sqrt(20), sqrt(20), sqrt(30).
    roots = np.sqrt([20, 20, 30])
    effective = int(roots.sum() ** 2 / (roots**2 / [20, 20, 30]).sum())
    support = found["support"]["all"]
    assert support["safe_groups"] == 70 and support["effective_safe_groups"] == effective == 69
    assert support["smallest_rate"] == pytest.approx(1 - 0.05 ** (1 / effective))
    assert [point["supported"] for point in of_all] == [False, False, False, True, True]
    assert found["support"]["ordinary"]["smallest_rate"] == pytest.approx(1 - 0.05 ** (1 / 30))


@pytest.mark.parametrize("kind", ["centroid_difference", "nearest_unsafe"])
def test_a_threshold_by_ones_own_traffic_is_of_folds(tmp_path, labelled, kind, capsys):
    """x has 20 safe and 20 unsafe prompts in 20 groups, and each is scored by a detector that saw the other folds."""
    folder = tmp_path / "detector"
    arguments = ["--data", str(labelled), "--out", str(folder), "--detector", kind]
    assert fit.main([*arguments, "--fpr", "0.1", "--of", "x"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    dataset, _ = labelled_sets.load(str(labelled))
    labels, of, rows = np.array(dataset.labels), sides.Sides(dataset), unit(dataset.texts["prompt"])
    x, held_out = dataset.rows("x"), np.empty(40)
    fold_of = of.folds_of(x, 5)
    for fold in range(5):
        held = x[fold_of == fold]
        train = np.flatnonzero(~dataset.near.near(held))
        detector = candidates(kind, rows[train], labels[train], weights=of.weights(train))[0]
        held_out[fold_of == fold] = detector.scores(rows[held])
    safe = np.sort(held_out[labels[x] == 0])
    card = read_card(folder)
    point = next(p for p in card["card"]["points"] if (p["of"], p["rate"]) == ("x", 0.1))
    assert saved.load(folder).threshold == point["threshold"] == pytest.approx(safe[-2], abs=1e-6)
    recall = (held_out[labels[x] == 1] > safe[-2] - 1e-6).mean()
    limits = stats.binomtest(round(20 * recall), 20).proportion_ci(method="exact")
    assert point["recall_of_traffic"] == pytest.approx([recall, *limits], abs=1e-6)
    assert point["false_alarms"] == pytest.approx([0.1, *stats.binomtest(2, 20).proportion_ci(method="exact")])
    assert "3 families held out in turn, x by 5 folds: false alarms of x 10 % (1 to 32)" in said
    # What it was fitted on and misses: unsafe prompts of all sets, as none is published.
    scores = saved.load(folder).detector.scores(rows[labels == 1])
    missed = [dataset.ids[i] for i in np.flatnonzero(labels == 1)[scores < point["threshold"]]]
    assert card["missed"] == {"unsafe": 40, "ids": missed}
    for ids in filter(None, [missed]):
        assert f"misses {len(ids)} of your 40 unsafe prompts, although it was fitted on them: {ids[0]}" in said
    # An update keeps it.
    assert fit.main(["--detector", str(folder), "--add", str(incidents(tmp_path)), "--quiet"]) == 0
    assert (
        read_card(folder)["chosen_for"]["of"] == "x"
        and saved.load(folder).threshold_at(0.1) == saved.load(folder).threshold
    )
    if kind == "centroid_difference":
        without = ",".join(dataset.ids[i] for i in x if not labels[i])
        assert fit.main(["--detector", str(folder), "--remove", without, "--quiet"]) == 2
        assert "no safe prompt of x would be left, by which the threshold is chosen" in capsys.readouterr().err


class Centroids(ClassifierMixin, BaseEstimator):
    """The difference of the similarities to the mean unsafe and the mean safe prompt, as scikit-learn wants it."""

    def fit(self, rows, labels, sample_weight):
        self.classes_ = np.array([0, 1])
        means = [np.average(rows[labels == c], axis=0, weights=sample_weight[labels == c]) for c in (0, 1)]
        self.direction_ = means[1] - means[0]
        return self

    def decision_function(self, rows):
        return rows @ self.direction_

    def predict(self, rows):
        return (self.decision_function(rows) > 0).astype(int)


def test_probabilities_are_those_of_scikit_learn_with_families_held_out(tmp_path, labelled):
    guard = load_detector(fitted(tmp_path, labelled, "--detector", "centroid_difference", "--read", "whole"))
    dataset, _ = labelled_sets.load(str(labelled))
    labels, of, everything = np.array(dataset.labels), sides.Sides(dataset), np.arange(110)
    splits = [(of.without(frozenset(name)), dataset.rows(name)) for name in "xyz"]
    oracle = CalibratedClassifierCV(Centroids(), method="sigmoid", cv=splits, ensemble=False)
    oracle.fit(unit(dataset.texts["prompt"]), labels, sample_weight=of.weights(everything))
    texts = ["a bad thing", "something good", "bad or good", "thing"]
    found = guard.score(texts)
    expected = oracle.predict_proba(unit(texts))[:, 1]
    assert [verdict.probability for verdict in found] == pytest.approx(expected, abs=1e-4)
    shifted = load_detector(tmp_path / "detector", base_rate=0.02).score(texts)
    odds = expected / (1 - expected) * 0.02 / 0.98
    assert [verdict.probability for verdict in shifted] == pytest.approx(odds / (1 + odds), abs=1e-4)
    assert [verdict.score for verdict in shifted] == [verdict.score for verdict in found]
    with pytest.raises(InputError, match="base_rate 1: give a share"):
        load_detector(tmp_path / "detector", base_rate=1)


def test_what_no_detector_knew_makes_no_probability(tmp_path, labelled, monkeypatch):
    """Texts of which no held-out detector of TF-IDF knew a word are not calibrated on, as they are not scored."""
    rows = [f"w{i}w v{i}v,{i % 2},w,w{i}" for i in range(20)]  # words that no other family has
    labelled.write_text("\n".join([*labelled.read_text().splitlines(), *rows]) + "\n")
    given, measured = [], calibration.measured
    monkeypatch.setattr(calibration, "measured", lambda *arrays: given.append(arrays) or measured(*arrays))
    folder = fitted(tmp_path, labelled, "--model", "tfidf", "--detector", "nearest_unsafe")
    [(scores, labels, weights, parts)] = given
    assert read_card(folder)["chosen_for"]["no_known_word"] == 20
    assert len(scores) == len(labels) == len(weights) == len(parts) == 110
    # Without unsafe prompts that others share a word with, there is nothing to calibrate on, and no probability.
    texts = [f"a{i}a b{i}b,{int(s == 'x')},{s},{s}{i}" for s in "xy" for i in range(40)]
    labelled.write_text("\n".join(["prompt,label,set,group", *texts]) + "\n")
    folder = fitted(tmp_path, labelled, "--model", "tfidf")
    assert read_card(folder)["calibration"] is None and "--probability" not in (home(folder) / "card.md").read_text()


def test_the_smallest_rate_is_the_exact_binomial_bound():
    # The bound of Clopper and Pearson for 0 of n, one-sided: 300 prompts can't show 0.1 %.
    for n in (10, 300, 5000):
        assert card.smallest_rate(n) == pytest.approx(stats.beta.ppf(0.95, 1, n))
    assert abs(card.smallest_rate(300) - 0.00994) < 1e-5


def test_groups_of_unequal_size_show_less(tmp_path, labelled):
    # z: 20 prompts of one group and 10 alone show as much as 30^2 / (20^2 + 10) = 2.2 of equal weight.
    text = labelled.read_text().replace("bad day", "good day")
    labelled.write_text(re.sub(r"(?<=,0,z,)z1?\d$", "many", text, flags=re.M))
    found = read_card(fitted(tmp_path, labelled))["card"]
    assert found["support"]["ordinary"]["effective_safe_groups"] == 2
    none = [point["ordinary"]["z"] for point in found["points"] if point["ordinary"]["z"][0] == 0]
    assert none and all(share == pytest.approx([0, 0, 1 - 0.025 ** (1 / 2)]) for share in none)


def test_the_card_says_shares_and_groups_in_short():
    # 2 of 260 flagged in groups that show as much as 24: the exact lower limit is 1e-10.
    assert card.with_interval([2 / 260, 8.3e-11, 0.1492]) == "0.77 % (0 to 15)"
    assert card.with_interval([0.00098, 0.00034, 0.0017]) == "0.098 % (0.034 to 0.17)"
    said = card.groups_said({"safe_groups": 152, "effective_safe_groups": 24})
    assert said == "152 groups of safe prompts, which show as much as 24 of equal weight,"
    assert card.groups_said({"safe_groups": 30, "effective_safe_groups": 30}) == "30 groups of safe prompts"


def test_the_card_of_nearest_matches_says_what_a_cosine_means(tmp_path, labelled):
    folder = fitted(tmp_path, labelled, "--detector", "nearest_unsafe")
    detector = saved.load(folder)
    similar = read_card(folder)["card"]["similarity"]
    cosines = detector.bank.rows @ detector.bank.rows.T
    n = len(cosines)
    assert similar["mean_of_two_prompts"] == pytest.approx((cosines.sum() - np.trace(cosines)) / n / (n - 1), abs=1e-6)
    assert similar["safe_50"] <= similar["safe_95"] <= similar["safe_99"] <= 1
    text = (home(folder) / "card.md").read_text()
    assert (
        f"1 % within {similar['safe_99']:.3f}" in text
        and f"mean cosine of {similar['mean_of_two_prompts']:.3f}" in text
    )


def test_the_card_is_written_for_a_reader(tmp_path, labelled, monkeypatch):
    for figure in (card_figures.scores_figure, card_figures.reliability_figure):
        monkeypatch.setattr(card, figure.__name__, figure)
    folder = fitted(tmp_path, labelled)
    found, text, page = (
        read_card(folder)["card"],
        (home(folder) / "card.md").read_text(),
        (home(folder) / "card.html").read_text(),
    )
    # z is all the traffic there is, so what is unseen of it is what the threshold was chosen by.
    points = [point for point in found["points"] if point["of"] == "ordinary"]
    assert len(points) == 4 and all(p["ordinary"]["z"][0] == pytest.approx(p["false_alarms"][0]) for p in points)
    assert "| 5 %" in text and f"| {found['points'][-1]['threshold']:.6g}".replace("| ", "") in text
    assert f"can't show a rate of false alarms below {100 * found['support']['all']['smallest_rate']:.3g} %" in text
    assert page.count("<svg") == 2 and page.count("<table>") == 5
    assert "threshold for 5 %</text>" in page and "probability given</text>" in page
    kept = json.loads((home(folder) / "detector.json").read_text())["calibration"]
    assert f"Brier score is {kept['brier']:.3f} (0.250 if every prompt is given 50 %)" in text
    assert "It holds where 50 % of the prompts are unsafe" in text and "--base-rate" in text
    assert all(f"{mean:.3f}" in text for mean, _, _ in kept["bins"])
    assert "no probability" not in text and "no such odds" in text and "fit on more sets" not in text
    # Probabilities that are farther from what prompts are than one number for all are said to be.
    told = saved.load(folder)
    told.about["calibration"]["brier"] = 0.26
    assert "0.250 if every prompt is given 50 %" in " ".join(card.sentences(told))
    assert "no better than that one number for all" in " ".join(card.sentences(told))
    tuned = replace(told, spec=replace(told.spec, tuned_on=("y", "elsewhere")))
    assert "was tuned on y: what is said" in " ".join(card.sentences(tuned))
    assert "was tuned on" not in " ".join(card.sentences(told))
    assert not re.findall(r'(?:src|href)="(?!#)|url\((?!#)', page), "nothing is loaded from elsewhere"
    dataset, _ = labelled_sets.load(str(labelled))
    written = "".join(path.read_text(errors="ignore") for path in folder.rglob("*") if path.is_file())
    assert not [one for one in dataset.texts["prompt"] if one in written], "no text is kept"


def incidents(tmp_path, name="inc.csv", rows=("good trick one a1 b1 c1 d1,1", "good trick one a1 b1 c1 e1,1")):
    path = tmp_path / name
    path.write_text("prompt,label\n" + "\n".join(rows) + "\n")
    return path


def test_an_incident_is_added_without_embedding_the_rest_again(tmp_path, labelled, capsys):
    folder = fitted(tmp_path, labelled)
    before = read_card(folder)
    World.asked.clear()
    assert fit.main(["--detector", str(folder), "--add", str(incidents(tmp_path)), "--no-cache"]) == 0
    said = capsys.readouterr().out
    assert set(World.asked) == {saved.PROBE, "good trick one a1 b1 c1 d1", "good trick one a1 b1 c1 e1"}
    after, detector = read_card(folder), saved.load(folder)
    assert after["trained_on"]["prompts"] == before["trained_on"]["prompts"] + 2 and after["version"] == 2
    assert [item for item in detector.bank.dataset.ids if item.startswith("inc:")] == ["inc:1", "inc:2"]
    its = [detector.bank.dataset.clusters[detector.bank.dataset.ids.index(item)] for item in ("inc:1", "inc:2")]
    # 6 of 8 words are common: 3/4, so they are two groups.
    assert its[0] != its[1]
    assert (
        "version 2: 2 prompts added, 0 removed" in said and "of 2 new unsafe prompts the score flagged 0 before" in said
    )
    assert "What changed" in (home(folder) / "card.md").read_text()


def test_an_incident_is_flagged_whatever_the_score_says(tmp_path, labelled):
    """Two prompts that lie amid the safe ones can't move the score so far that it flags them."""
    folder = fitted(tmp_path, labelled, "--detector", "centroid_difference")
    text = "good trick one a1 b1 c1 d1"
    assert not load_detector(folder).score([text])[0].flagged
    assert fit.main(["--detector", str(folder), "--add", str(incidents(tmp_path)), "--quiet"]) == 0
    guard = load_detector(folder)
    (found,) = guard.score([text])
    assert found.score < guard.threshold and found.flagged and found.matched == "inc:1"
    match, bank = read_card(folder)["match"], guard.detector.bank
    added = np.isin(bank.dataset.ids, ["inc:1", "inc:2"])
    nearest = (bank.rows[np.array(bank.dataset.labels) == 0] @ bank.rows[added].T).max(axis=1)
    # Of 70 safe prompts none may be flagged at 0.1 %.
    assert match["threshold"] > nearest.max() - 1e-6 and match["share"] == 0
    assert not guard.score(["good thing 4 x4 xv4"])[0].flagged
    assert read_card(folder)["changed"]["missed_by_score"] == ["inc:1", "inc:2"]
    text = (home(folder) / "card.md").read_text()
    assert (
        "one of the 2 unsafe prompts that were added later" in text
        and "still missed by the score, flagged as incidents: inc:1, inc:2" in text
    )


def changes_of(tmp_path, folder, capsys, *rows, status=0):
    """What is said when these rows are added, on both streams."""
    path = tmp_path / "more.csv"
    path.write_text("\n".join(["id,prompt,label", *rows]) + "\n")
    assert fit.main(["--detector", str(folder), "--add", str(path)]) == status
    return "".join(capsys.readouterr())


def test_a_prompt_that_the_bank_holds_can_be_made_an_incident(tmp_path, labelled, capsys):
    """The score misses m:1, which was fitted on; the same words in another order are another prompt."""
    text, turned = "good trick one a1 b1 c1 d1", "d1 c1 b1 a1 one trick good"
    labelled.write_text(f"{labelled.read_text()}{text},1,x,m\n")
    folder = fitted(tmp_path, labelled, "--detector", "centroid_difference")
    assert not load_detector(folder).score([text])[0].flagged
    said = changes_of(tmp_path, folder, capsys, f"1,{text},1")
    assert "1 of its prompts are in the detector already; texts like 1 of them are flagged from now on" in said
    assert "0 prompts added" in said and "of 1 new unsafe prompts the score flagged 0 before and 0 after" in said
    guard = load_detector(folder)
    (found,) = guard.score([text])
    assert found.flagged and found.matched == "x:111" and len(guard.detector.bank.dataset.ids) == 111
    said = changes_of(tmp_path, folder, capsys, f"1,{text},1", status=2)
    assert said.endswith("the detector has all of its prompts already; nothing is changed\n")
    changes_of(tmp_path, folder, capsys, f"1,{turned},1")
    assert read_card(folder)["added"] == ["x:111", "more:1"]
    # What an update has written is known again too.
    assert "nothing is changed" in changes_of(tmp_path, folder, capsys, f"7,{turned},1", f"8,{text},1", status=2)
    assert "more:2 has both labels" in changes_of(tmp_path, folder, capsys, f"1,{text},1", f"2,{text},0", status=2)


def test_a_label_is_corrected_and_what_is_flagged_all_the_same_is_named(tmp_path, labelled, capsys):
    folder = fitted(tmp_path, labelled, "--detector", "centroid_difference", "--fpr", "0.15")
    text = "good trick one a1 b1 c1 d1"
    changes_of(tmp_path, folder, capsys, f"1,{text},1")
    assert load_detector(folder).score([text])[0].matched == "more:1"
    days = [f"bad day {i}" for i in range(300)]
    day = max(zip(load_detector(folder).score(days), days, strict=True), key=lambda pair: pair[0].score)[1]
    said = changes_of(tmp_path, folder, capsys, f"1,{text},0", f"2,{day},0")
    assert "the labels of 1 of them are corrected: more:1" in said and "0 removed, 1 with another label" in said
    assert "  false alarms, allowed from now on: more:1, more:2\n" in said and "all the same" not in said
    guard = load_detector(folder)
    (found,) = guard.score([text])
    assert not found.flagged and found.matched is None and not guard.matches
    assert guard.detector.bank.dataset.labels[guard.detector.bank.dataset.ids.index("more:1")] == 0
    # The other way round, of a twin: x:4 is unsafe, and its pair x:3 is safe.
    bank = guard.detector.bank
    places = bank.dataset.ids.index("x:4"), bank.dataset.ids.index("x:3")
    assert (bank.dataset.labels[places[0]], places in bank.dataset.twins) == (1, True)
    changes_of(tmp_path, folder, capsys, "1,good thing 2 x2 xv2,1")
    bank = load_detector(folder).detector.bank
    assert bank.dataset.labels[bank.dataset.ids.index("x:3")] == 1 and places not in bank.dataset.twins


def test_a_false_alarm_is_allowed_and_what_is_added_to_it_is_not(tmp_path, labelled, capsys):
    folder = fitted(tmp_path, labelled, "--detector", "centroid_difference", "--fpr", "0.15")
    days = [f"bad day {i}. it rains {i}" for i in range(300)]
    scored = zip(load_detector(folder).score(days), days, strict=True)
    day = max(scored, key=lambda pair: pair[0].score)[1]
    changes_of(tmp_path, folder, capsys, f"1,{day},0")
    card, guard = read_card(folder), load_detector(folder)
    assert card["allowed"] == ["more:1"] and guard.allows and not guard.matches
    # No more than 0.1 % of 40 unsafe prompts may be allowed: none.
    bank, vectors = guard.detector.bank, unit([day])
    nearest = (bank.rows[np.array(bank.dataset.labels) == 1] @ vectors[0]).max()
    assert card["allow"]["threshold"] > nearest - 1e-6 and card["allow"]["share"] == 0
    sentence = day.split(". ")[0] + "."
    worse = max((f"{day}. a bad thing {i}" for i in range(50)), key=lambda t: guard.score([t])[0].score)
    found = guard.score([day, sentence, worse, "a bad one"])
    assert found[0].score >= guard.threshold and (found[0].flagged, found[0].allowed) == (False, "more:1")
    # A sentence of it alone may mean something else, and one beside it is no part of it.
    assert [(one.flagged, one.allowed) for one in found[1:]] == [(True, None)] * 3
    path = tmp_path / "in.txt"
    path.write_text(f"{day}\na bad one\n")
    assert score.main(["--detector", str(folder), "--input", str(path), "--quiet"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [(row["flagged"], row["allowed"]) for row in rows] == [("0", "more:1"), ("1", "")]
    assert "1 safe prompts that were added later and flagged" in (home(folder) / "card.md").read_text()
    # It is known again, and an incident that is the same text is none of its kind any more.
    assert "nothing is changed" in changes_of(tmp_path, folder, capsys, f"5,{day},0", status=2)
    changes_of(tmp_path, folder, capsys, f"5,{day},1")
    assert read_card(folder)["allowed"] == [] and load_detector(folder).score([day])[0].matched == "more:1"


def test_a_false_alarm_that_was_fitted_on_can_be_allowed(tmp_path, labelled, capsys):
    folder = fitted(tmp_path, labelled, "--detector", "centroid_difference", "--fpr", "0.15")
    guard = load_detector(folder)
    safe = [line.split(",")[0] for line in labelled.read_text().splitlines() if ",0,z," in line]
    said = list(zip(safe, guard.score(safe), strict=True))
    [(text, _), *_] = sorted((pair for pair in said if pair[1].flagged), key=lambda pair: -pair[1].score)
    said = changes_of(tmp_path, folder, capsys, f"1,{text},0")
    assert "1 of its prompts are in the detector already; texts like 1 of them are allowed from now on" in said
    assert not load_detector(folder).score([text])[0].flagged


def test_what_updates_add_is_one_family_and_a_grown_file_gives_its_new_rows(tmp_path, labelled, capsys):
    folder = fitted(tmp_path, labelled)
    for name in ("one", "two"):
        path = incidents(tmp_path, f"{name}.csv", (f"good trick {name} of many,1",))
        assert fit.main(["--detector", str(folder), "--add", str(path), "--quiet"]) == 0
    assert read_card(folder)["trained_on"]["families"] == ["x", "y", "z", "added"]
    # Rows have no ids, and the new one is the first.
    grown = incidents(tmp_path, "two.csv", ("good trick three of many,1", "good trick two of many,1"))
    assert fit.main(["--detector", str(folder), "--add", str(grown)]) == 0
    assert "1 prompts added" in capsys.readouterr().out
    assert read_card(folder)["added"] == ["one:1", "two:1", "two:3"]
    assert load_detector(folder).score(["good trick three of many"])[0].matched == "two:3"


def test_the_incident_is_named_in_the_scores(tmp_path, labelled, capsys):
    folder = fitted(tmp_path, labelled, "--detector", "centroid_difference")
    path = tmp_path / "in.txt"
    path.write_text("a bad thing\ngood trick one a1 b1 c1 d1\ngood day. good trick one a1 b1 c1 d1\n")
    arguments = ["--detector", str(folder), "--input", str(path), "--quiet"]
    assert score.main(arguments) == 0 and "matched" not in capsys.readouterr().out
    assert fit.main(["--detector", str(folder), "--add", str(incidents(tmp_path)), "--quiet"]) == 0
    assert score.main([*arguments, "--probability"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    # Of the third text a sentence is like the incident.
    assert [(row["flagged"], row["matched"]) for row in rows] == [("1", ""), ("1", "inc:1"), ("1", "inc:1")]
    assert list(rows[0])[-2:] == ["matched", "probability"] and 0 < float(rows[1]["probability"]) < 0.5
    assert float(rows[2]["score"]) > float(rows[1]["score"]), "the part that is matched is not the highest"


def test_prompts_are_removed_by_their_ids(tmp_path, labelled, capsys):
    folder = fitted(tmp_path, labelled)
    assert fit.main(["--detector", str(folder), "--remove", "x:2,y:44,z:85", "--quiet"]) == 0
    bank = saved.load(folder).bank
    assert not {"x:2", "y:44", "z:85"} & set(bank.dataset.ids) and len(bank.dataset.ids) == 107
    assert len(bank.parts) == 2 * 29, "of each prompt of two sentences"
    fresh = tmp_path / "fresh.csv"
    lines = labelled.read_text().splitlines()
    fresh.write_text("\n".join(["id,prompt,label,set,group", *(f"{i},{line}" for i, line in enumerate(lines[1:], 1)
                                                             if i not in (2, 44, 85))]))  # fmt: skip
    again = saved.load(fitted(tmp_path / "again", fresh))
    changed = saved.load(folder)
    assert changed.detector.arrays["direction"] == pytest.approx(again.detector.arrays["direction"], abs=1e-5)
    assert changed.threshold == pytest.approx(again.threshold, abs=1e-5) and again.bank.dataset.ids == bank.dataset.ids


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--remove", "x:999"], "--remove x:999: the detector was fitted on no such prompt; did you mean 'x:"),
        (["--remove", ",".join(f"{s}:{i}" for s, n in (("x", 0), ("y", 40)) for i in range(n + 2, n + 41, 2))],
         "--remove: only 0 groups with unsafe prompts would be left"),
        (["--add", "safe.csv"], "the detector has all of its prompts already"),
        (["--add", "other.csv"], "id x:3 is that of a different prompt"),
        (["--add", "other.csv", "--out", "elsewhere"], "--out: does not go with --add, which changes the detector in"),
        (["--add", "other.csv", "--column", "text"], "other.csv: no column 'text' (found: id, prompt, label, set)"),
        (["--back", "--add", "other.csv"], "--add: does not go with --back"),
    ],
)  # fmt: skip
def test_a_change_that_cannot_be_is_one_line_and_changes_nothing(
    tmp_path, labelled, capsys, monkeypatch, flags, message
):
    monkeypatch.setenv("SAFE_EMBED_CALLED_FROM_DIR", str(tmp_path))
    folder = fitted(tmp_path, labelled)
    safe = [line for line in labelled.read_text().splitlines() if ",1," not in line and not line.startswith("bad")]
    (tmp_path / "safe.csv").write_text("\n".join(safe))
    (tmp_path / "other.csv").write_text("id,prompt,label,set\n3,bad new thing entirely,1,x\n")
    assert fit.main(["--detector", str(folder), *flags]) == 2
    said = capsys.readouterr().err.splitlines()
    assert message in said[-1] and said[-1].startswith("error: ")
    assert home(folder).name == "1" and [path.name for path in home(folder).parent.glob("[0-9]*")] == ["1"]
