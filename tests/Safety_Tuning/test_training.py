"""What is tuned on, and what tuning makes small: against slow loops, and by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from checkpoints import sentence_bert, sentence_mpnet
from sentence_transformers import SentenceTransformer

from Safety_Detection.sets.cards import SET_CARDS
from Safety_Detection.sets.labelled_set import LabelledSet, Row
from Safety_Tuning import losses, training_side
from Safety_Tuning.candidate import Candidate, scaled_rotation
from Safety_Tuning.layers import Layers
from Safety_Tuning.methods import Linear, Training
from Safety_Tuning.training_side import common_hazard
from Safety_Tuning.training_side import training_side as side_of
from Safety_Tuning.triples import Triples
from utils.data.sources import Found
from utils.schema import InputError


def labelled(name, rows, family=""):
    """A set of rows (prompt, label, hazard)."""
    found = Found(name, None, "0" * 64, "made up", "none")
    its = (Row(str(i), prompt, label, hazard=hazard) for i, (prompt, label, hazard) in enumerate(rows))
    return LabelledSet(name, tuple(its), (), found, family=family)


def two_sets():
    """Two families with two hazards each, and an ordinary set."""
    return [
        labelled("one", [("steal a car", 1, "theft"), ("hit a man", 1, "blows"), ("wash a car", 0, "")]),
        labelled("two", [("rob a bank", 1, "theft"), ("beat a boy", 1, "blows"), ("beat an egg", 0, "")]),
        labelled("plain", [("sing a song", 0, ""), ("bake bread", 0, "")]),
    ]


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_sets_words_have_common_names_and_the_first_line_counts():
    assert common_hazard("openai_moderation", "S+S3") == "children", "S3 is the first line"
    assert common_hazard("openai_moderation", "S+V") == "violence", "V stands above S"
    assert common_hazard("multijail", "Theft + Self-harm") == "self-harm"
    assert common_hazard("advbench", "") == "" and common_hazard("harmbench", "illegal") == ""
    assert common_hazard("mine", "lies") == "lies", "a user's own words stand for themselves"
    assert set(training_side._hazards()) <= SET_CARDS.keys()


def test_what_is_left_out_is_counted_by_reason():
    several = labelled("multijail", [("a long question on cars", 1, "Theft"), ("una domanda", 1, "Theft")], "other")
    rows = tuple(row._replace(type=kind) for row, kind in zip(several.rows, ("en", "it"), strict=True))
    several = replace(several, rows=rows)
    side = side_of([*two_sets(), several], ["Steal a car!", "A question on cars, long"], kept=7)
    assert side.prompts == tuple(row.prompt for one in two_sets() for row in one.rows if row.prompt != "steal a car")
    assert side.left_out == {
        "of the families that are evaluated on": 7,
        "near-duplicates of evaluated prompts": 2,
        "not in English (multijail)": 1,
    }
    assert side.hazards[0] == "blows" and side.ordinary.tolist() == [False] * 5 + [True] * 2


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([labelled("a", [("x", 1, "h")]), labelled("b", [("y", 1, "h")])], "unsafe prompts only"),
        ([labelled("a", [("x", 0, "")])], "safe prompts only"),
        ([labelled("a", [("x", 1, ""), ("z", 0, "")]), labelled("b", [("y", 1, "")])], "has a hazard"),
        ([labelled("a", [("x", 1, "h"), ("z", 0, "")])], "no set of safe prompts only"),
        ([labelled("a", [("x", 1, "h")]), labelled("b", [("y", 0, ""), ("z", 0, "")])], "one family only (a)"),
    ],
)
def test_what_can_not_be_tuned_on_is_refused(sets, message):
    with pytest.raises(InputError, match=r"^--data: ") as refused:
        side_of(sets, [])
    assert message in str(refused.value)


def test_triples_are_of_one_hazard_and_of_the_nearest():
    side = side_of(two_sets(), [])
    base = unit(np.random.default_rng(0).standard_normal((len(side), 5)).astype(np.float32))
    made = Triples(side, base, np.arange(8))
    assert made.anchors.tolist() == [0, 1, 3, 4]
    assert [one.tolist() for one in made.positives] == [[3], [4], [0], [1]], "the same hazard in another set"
    safe = [2, 5, 6, 7]
    for anchor, negatives in zip(made.anchors, made.negatives, strict=True):
        assert negatives.tolist() == sorted(safe, key=lambda row: -float(base[anchor] @ base[row]))
    assert made.ordinary.tolist() == safe
    # Each set has two anchors, so all four are as likely.
    assert made.shares.tolist() == pytest.approx([0.25] * 4)
    batch = made.batch(np.random.default_rng(1), 6, 3)
    assert len(batch.rows) == 3 * 6 + 3 and set(batch.ordinary) <= set(safe)
    assert all(side.hazards[a] == side.hazards[p] for a, p in zip(batch.anchors, batch.positives, strict=True))


def test_a_prompt_without_hazard_is_pulled_to_the_nearest_of_another_set():
    sets = two_sets()
    first, *others = sets[0].rows
    sets[0] = replace(sets[0], rows=(first._replace(hazard=""), *others))
    side = side_of(sets, [])
    base = unit(np.random.default_rng(2).standard_normal((len(side), 5)).astype(np.float32))
    found = Triples(side, base, np.arange(8)).positives[0].tolist()
    assert found == sorted([3, 4], key=lambda row: -float(base[0] @ base[row]))


def test_losses_equal_slow_loops():
    drawn = np.random.default_rng(3)
    vectors, safe = unit(drawn.standard_normal((7, 4))), unit(drawn.standard_normal((3, 4)))
    hazards = [0, 0, 1, -1, 1, 2, 0]
    each = []
    for i in range(7):
        others = [j for j in range(7) if j != i and hazards[j] >= 0]
        same = [j for j in others if hazards[j] == hazards[i]]
        if hazards[i] >= 0 and same:
            total = sum(math.exp(vectors[i] @ other / 0.1) for other in [*vectors[others], *safe])
            logs = [math.log(math.exp(vectors[i] @ vectors[j] / 0.1) / total) for j in same]
            each.append(-sum(logs) / len(same))
    tensor = torch.from_numpy(vectors)
    loss = losses.supervised_contrastive(tensor, torch.tensor(hazards), torch.from_numpy(safe))
    assert float(loss) == pytest.approx(np.mean(each))
    alone = losses.supervised_contrastive(tensor, torch.arange(7), torch.from_numpy(safe))
    assert float(alone) == 0, "no two share a hazard"
    a, p, n = vectors[:2], vectors[2:4], vectors[4:6]
    by_hand = np.mean([math.log1p(math.exp((a[i] @ n[i] - a[i] @ p[i]) / 0.1)) for i in range(2)])
    assert float(losses.twins(*map(torch.from_numpy, (a, p, n)))) == pytest.approx(by_hand)
    base = unit(drawn.standard_normal((7, 4)))
    slow = np.mean([(vectors[i] @ vectors[j] - base[i] @ base[j]) ** 2 for i in range(7) for j in range(7)])
    assert float(losses.distillation(tensor, torch.from_numpy(base))) == pytest.approx(slow)


def test_the_scaled_rotation_turns_and_divides_by_a_power_of_the_spread():
    vectors = np.random.default_rng(4).standard_normal((4000, 3)) @ np.diag([4, 2, 1])
    some = vectors[:50]
    turned = some @ scaled_rotation(vectors, 0).T
    assert turned @ turned.T == pytest.approx(some @ some.T, abs=1e-4), "without an exponent no cosine changes"
    spread = (vectors @ scaled_rotation(vectors, 0.5).T).std(axis=0)
    # The largest is left as it is; one of half the spread becomes (1/2)^(1 - 0.5) of it.
    assert spread / spread[0] == pytest.approx([1, 0.5**0.5, 0.25**0.5], rel=0.05)


def test_a_linear_layer_learns_and_starts_from_the_base():
    side = side_of(two_sets(), [])
    base = unit(np.random.default_rng(5).standard_normal((len(side), 6)).astype(np.float32))
    rows, seen = np.arange(len(side)), []
    how = Training(weights=(0, 1, 10), steps=60, triples=16, ordinary=4, learning_rate=1e-2)
    method = Linear(side, base, how)
    trained = method.trained(rows, 1, seen.append)
    assert np.mean([one["twins"] for one in seen[-10:]]) < 0.7 * np.mean([one["twins"] for one in seen[:10]])
    assert method.vectors(trained, 0, rows) == pytest.approx(base, abs=1e-6)
    assert method.vectors(trained, 1, rows) == pytest.approx(unit(base @ trained.weight.numpy().T), abs=1e-6)
    assert torch.equal(method.trained(rows, 1).weight, trained.weight), "a seed decides all"
    turned = scaled_rotation(method.vectors(trained, 0.5, rows), 0.1) @ (np.eye(6) + trained.weight.numpy()) / 2
    assert method.put(None, trained, Candidate(0.5, 0.1)) == pytest.approx(turned, abs=1e-6), "half-way, then turned"


@pytest.mark.parametrize("checkpoint", [sentence_bert, sentence_mpnet])
def test_a_cut_model_gives_the_models_own_vectors(checkpoint, tmp_path):
    model = SentenceTransformer(str(checkpoint(tmp_path / "model")), device="cpu")
    side = side_of(two_sets(), [])
    rows, own = np.arange(len(side))[::-1].copy(), model.encode(side.prompts, normalize_embeddings=True)
    how = Training(weights=(1, 1, 3), steps=30, triples=8, ordinary=4, learning_rate=1e-3, warm_up=10, clip=1.0)
    method = Layers(side, own, model, "model", how)
    # Hidden states are kept with eight bits.
    base = method.vectors(method.own, 0, rows)
    assert base == pytest.approx(own[rows], abs=0.02)

    seen = []
    trained = method.trained(np.arange(len(side)), 1, seen.append)
    assert np.mean([one["twins"] for one in seen[-5:]]) < np.mean([one["twins"] for one in seen[:5]])
    assert method.vectors(trained, 0, rows) == pytest.approx(base, abs=1e-6)
    half = method.vectors(trained, 0.5, rows)
    assert np.abs(half - base).max() > 0.01, "it has changed"
    assert method.vectors(method.mean([trained, method.own]), 1, rows) == pytest.approx(half, abs=1e-5), "half-way"
    tuned = method.put(model, trained, Candidate(0.5, 0.0))
    assert tuned.encode(side.prompts, normalize_embeddings=True)[rows] == pytest.approx(half, abs=0.02)


def test_a_model_without_such_layers_is_refused(tmp_path):
    model = SentenceTransformer(str(sentence_bert(tmp_path / "model")), device="cpu")
    model[0].auto_model.encoder = torch.nn.Identity()
    with pytest.raises(InputError, match="use --method linear"):
        Layers(side_of(two_sets(), []), np.zeros((8, 2), np.float32), model, "model")
