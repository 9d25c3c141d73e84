"""How much a score depends on the instruction before each text."""

import re
from dataclasses import replace

import numpy as np
import pytest
from doubles import GROUPS, StandIn, written
from scipy import stats

from Safety_Challenging.evaluate import TASK
from Safety_Detection.evaluate import TASK as DETECTION
from Safety_Detection.shown.comparison import compare_detectors
from Safety_Detection.shown.differences import group_differences
from utils.encoders import loading, registry
from utils.evaluation import spread
from utils.evaluation.evaluation import Evaluation
from utils.evaluation.run import evaluate
from utils.evaluation.settings import settings_of
from utils.results.paired import Scores
from utils.results.result_file import read_with_items
from utils.tables import p_text, signed, with_reach


class Shifted(StandIn):
    """The longer the instruction, the nearer are all vectors to each other."""

    dimension = 6

    def __init__(self, spec):
        self.shift = len(spec.prompt) / 20

    def encode(self, texts):
        rows = np.stack([np.random.default_rng(sum(text.encode())).normal(0, 1, 6) for text in texts])
        return (rows + self.shift).astype(np.float32)


@pytest.fixture(autouse=True)
def shifted(monkeypatch):
    monkeypatch.setattr(loading, "load", Shifted)


def test_the_spread_is_that_of_runs_with_each_instruction(tmp_path, capsys):
    flags = ["--data", "sample", "--quiet", "--bootstrap", "1000", "--baseline", "0.1", "--no-cache"]
    assert evaluate(TASK, [*flags, "--prompt-spread", "--out", str(tmp_path / "none")]) == 0
    said = capsys.readouterr().out
    assert not (tmp_path / "none").exists(), "nothing is written"
    shown = [float(value) for value in re.findall(r"^(?:none|other \d) +(-?\d\.\d{3}) ±", said, re.M)]
    expected = []
    for _, text in spread.prompts_of(""):
        assert evaluate(TASK, [*flags, "--prompt", text, "--out", str(tmp_path / "out")]) == 0
        printed = capsys.readouterr().out
        expected.append(float(re.search(r"^average +\d+ +(-?\d\.\d{3})", printed, re.M)[1]))
    assert shown == expected and len(shown) == 5 and len(set(shown)) > 3
    flat = " ".join(said.split())
    assert f"({min(shown):.3f} to {max(shown):.3f})" in flat and " minus " not in flat and "is not one" not in flat
    assert max(len(line) for line in said.splitlines() if "|" not in line) <= 80, "a signature is one word"


def test_a_documented_instruction_comes_first_and_none_is_tried_twice():
    def titles(documented):
        return [title for title, _ in spread.prompts_of(documented)]

    assert titles("clf: ") == ["documented", "none", "other 1", "other 2", "other 3", "other 4"]
    assert titles("query: ") == ["documented", "none", "other 2", "other 3", "other 4"]


def t_test(gaps):
    """Mean over groups of differences, half the width of its interval, and p: Student's, Satterthwaite's degrees."""
    parts = [np.array(gaps)[np.array(GROUPS) == group] for group in "ab"]
    variances = [part.var(ddof=1) / len(part) / 4 for part in parts]
    freedom = sum(variances) ** 2 / sum(v**2 / (len(part) - 1) for v, part in zip(variances, parts, strict=True))
    mean, error = np.mean([part.mean() for part in parts]), np.sqrt(sum(variances))
    return mean, stats.t.ppf(0.975, freedom) * error, 2 * stats.t.sf(abs(mean) / error, freedom)


def test_several_encoders_are_compared_under_each_instruction(tmp_path, monkeypatch):
    """Made-up scores: one encoder is always higher, one depends on the instruction, one differs by noise only."""
    generator, values = np.random.default_rng(0), {}
    first, higher, turns, alike = names = "all-minilm-l6-v2", "embeddinggemma-300m", "nomic-embed-text-v1.5", "bge-m3"
    by_instruction = {("", turns): 0.2, ("query: ", turns): -0.2}

    def computed(evaluation, note):
        name, prompt = evaluation.embedder.spec.name, evaluation.embedder.spec.prompt
        base = values.setdefault(prompt, generator.random(22))
        shift = 0.3 if name == higher else by_instruction.get((prompt, name), 0.0)
        values[name, prompt] = base if name == first else base + shift + generator.normal(0, 0.05, 22)
        return read_with_items(written(tmp_path / str(len(values)), name, values[name, prompt]))

    settings = settings_of(
        TASK, "evaluate", "", ["--model", ",".join(names), "--no-cache", "--quiet", "--data", "sample"]
    )
    monkeypatch.setattr(Evaluation, "computed", computed)
    said = spread.spread(TASK, None, settings, print)
    assert max(len(line) for line in said.splitlines() if "|" not in line) <= 80
    own = {name: registry.resolve(name).prompt for name in names}
    assert own[higher] == spread.OTHERS[3] and own[turns] == "clustering: " and own[first] == own[alike] == ""
    titles = ["documented", "none", "other 1", "other 2", "other 3", "other 4"]
    rows = []
    for name in names[1:]:
        for title, text in zip(titles, [own[name], "", *spread.OTHERS], strict=True):
            base = values[first, own[first] if title == "documented" else text]
            if (name, title) != (alike, "documented"):  # neither has one: that row is the next
                rows.append((name, title, *t_test(values[name, text] - base)))
    order, least, corrected = sorted(range(len(rows)), key=lambda i: rows[i][-1]), 0.0, {}
    for place, i in enumerate(order):
        least = corrected[i] = max(least, min(1, rows[i][-1] * (len(rows) - place)))
    table = said[said.index("of each encoder minus that") :].splitlines()
    at = next(i for i, line in enumerate(table) if line.startswith("---")) + 1
    for i, (name, title, mean, reach, p) in enumerate(rows):
        expected = [name, title, f"{signed(mean)} ±{reach:.3f}", p_text(p), p_text(corrected[i])]
        assert re.split(" {2,}", table[at + i]) == expected
    assert len(rows) == 6 + 6 + 5 and not table[at + len(rows)]
    flat = " ".join(said.split())
    assert f"{higher} is higher than {first} under every instruction, with a corrected p below 0.05." in flat
    assert f"{alike} and {first} are told apart under no instruction." in flat
    assert (
        f"Whether {turns} differs from {first} depends on the instruction: not told apart under documented, other 2, "
        "other 3, other 4; higher under none; lower under other 1." in flat
    )
    assert "is not one" not in flat and "better" not in flat[flat.index("minus that") :]


def test_one_kind_of_average_similarity_is_used_for_all_instructions(tmp_path, capsys):
    """Without a network, an encoder of the paper has the paper's figure without an instruction, and only then."""
    flags = ["--data", "sample", "--quiet", "--bootstrap", "0", "--no-cache", "--prompt-spread"]
    assert evaluate(TASK, [*flags, "--model", "sentence-bert-paraphrase"]) == 0
    said = capsys.readouterr().out
    assert len(re.findall(r"^challenging\|b:own=", said, re.M)) == 5 and "b:paper" not in said
    assert "(own); those of SBERT-paraphrase were computed by a different one" in " ".join(said.split())


def test_detectors_are_compared_by_groups_of_prompts(capsys, monkeypatch):
    flags = ["--data", "sample", "--quiet", "--bootstrap", "0", "--no-cache", "--detectors", "centroid_difference"]
    monkeypatch.setattr(spread, "OTHERS", ())
    found = []

    def kept(results, of):
        found.extend(results)
        return group_differences(results, of)

    task = replace(DETECTION, differences=kept)
    assert evaluate(task, [*flags, "--model", "all-minilm-l6-v2,nomic-embed-text-v1.5", "--prompt-spread"]) == 0
    said = capsys.readouterr().out
    compared = compare_detectors(
        [Scores(result) for result in found[2:]], "auroc/centroid_difference", "all-minilm-l6-v2"
    )
    [cell] = [cell for cell in compared.cells if cell.group == "within" and cell.difference]
    assert re.search(r"^none +0\.\d{3}", said, re.M) and "within" in said
    row = ["nomic-embed-text-v1.5", "none", with_reach(cell.difference), p_text(cell.difference.p)]
    assert row in [re.split(" {2,}", line)[:4] for line in said.splitlines()]


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--model", "all-minilm-l6-v2,tfidf"], "tfidf takes no instruction; leave it out"),
        (["--prompt", "x"], "tries instructions of its own; leave --prompt out"),
    ],
)
def test_what_has_no_spread_is_named_before_anything_is_evaluated(capsys, monkeypatch, flags, why):
    monkeypatch.setattr(loading, "load", None)
    assert evaluate(TASK, ["--data", "sample", "--quiet", "--prompt-spread", *flags]) == 2
    assert capsys.readouterr().err == f"error: --prompt-spread: {why}\n"
