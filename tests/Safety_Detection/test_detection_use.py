"""A detector that is saved, read again and used gives the scores it was fitted to give, or says why not."""

import csv
import io
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
from made_up_detector import World, refused, scored, vector
from sklearn.feature_extraction.text import TfidfVectorizer

from Safety_Detection import fit, score
from Safety_Detection.detectors.kinds import KINDS, balanced, candidates, strongest
from Safety_Detection.guardrail import saved, scoring
from Safety_Detection.guardrail.versions import home
from Safety_Detection.protocol import sides
from Safety_Detection.sets import labelled_sets
from utils import config, hub
from utils.encoders import loading, registry
from utils.metrics import embedding as metrics
from utils.schema import EncoderOptions, InputError

FILES = ["bank.json", "bank.safetensors", "card.html", "card.md", "detector.json", "detector.safetensors"]


@pytest.fixture(autouse=True)
def world(monkeypatch):
    monkeypatch.setattr(loading, "load", lambda spec: World())


def refitted(kind, dataset, vectors):
    """A detector fitted on all prompts at the strength that is best for families held out in turn, the slow way.

    vectors: (rows trained on, other rows) to the vectors of both.
    """
    labels, sets = np.array(dataset.labels), np.array(dataset.groups)
    everything = np.arange(len(labels))
    of = sides.Sides(dataset)
    parts = []
    for name in dataset.group_order:
        train, held = of.without(frozenset({name})), dataset.rows(name)
        seen, asked = vectors(train, held)
        weights = balanced(labels[train], sets[train])
        parts.append((held, [d.scores(asked) for d in candidates(kind, seen, labels[train], 4, weights)]))
    held_out = np.empty((len(parts[0][1]), len(labels)))
    for held, scores in parts:
        held_out[:, held] = scores
    weights = balanced(labels, sets)
    chosen = strongest(labels, held_out, weights)
    return candidates(kind, vectors(everything, everything)[0], labels, 4, weights)[chosen]


@pytest.fixture
def labelled(tmp_path):
    path = tmp_path / "labelled.csv"
    rows = [f"{'bad' if i % 2 else 'good'} thing number {i} of {s},{i % 2},{s}" for s in "xy" for i in range(40)]
    path.write_text("prompt,label,set\n" + "\n".join(rows) + "\n")
    return path


def fitted(tmp_path, labelled, *flags):
    folder = tmp_path / "detector"
    assert fit.main(["--data", str(labelled), "--out", str(folder), "--quiet", *flags]) == 0
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_again_scores_the_same(tmp_path, labelled, kind):
    folder = fitted(tmp_path, labelled, "--detector", kind, "--top-k", "4")
    assert sorted(path.name for path in home(folder).iterdir()) == FILES
    again = saved.load(folder)
    dataset, _ = labelled_sets.load(str(labelled))
    texts = dataset.texts["prompt"]
    rows = metrics.unit_rows(np.stack([vector(text) for text in texts])).astype(np.float32)
    fresh = refitted(kind, dataset, lambda train, held: (rows[train], rows[held]))
    status, found = scored(tmp_path, folder, "in.jsonl", "\n".join(json.dumps({"prompt": t, "id": "a"}) for t in texts))
    assert status == 0 and {row["id"] for row in found} == {"a"}
    values = [float(row["score"]) for row in found]
    assert values == pytest.approx(fresh.scores(rows).tolist(), abs=1e-5)
    assert [int(row["flagged"]) for row in found] == [int(value >= again.threshold) for value in values]


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_kept_with_a_detector_of_tfidf(tmp_path, labelled, kind, capsys):
    folder = fitted(tmp_path, labelled, "--model", "tfidf", "--detector", kind, "--top-k", "4")
    names = [*FILES, "words.json"]
    assert sorted(path.name for path in home(folder).iterdir()) == names
    dataset, _ = labelled_sets.load(str(labelled))
    texts = list(dataset.texts["prompt"])
    vectorizer = TfidfVectorizer(dtype=np.float32)
    vectorizer.fit(texts)

    def vectors(train, held):
        words = TfidfVectorizer(dtype=np.float32).fit([texts[i] for i in train])
        return words.transform([texts[i] for i in train]), words.transform([texts[i] for i in held])

    fresh = refitted(kind, dataset, vectors)
    new = ["a bad thing of another kind", "good", "none of these was there before", "unheard words"]
    status, found = scored(tmp_path, folder, "in.txt", "\n".join([*texts, *new]), "--quiet")
    expected = fresh.scores(vectorizer.transform([*texts, *new[:3]])).tolist()
    assert status == 3 and [float(row["score"]) for row in found] == pytest.approx(expected, abs=1e-5)
    assert capsys.readouterr().err == f"line {len(texts) + 4}: has no word that the detector knows; left out\n"
    arguments = ["--detector", folder, "--input", tmp_path / "in.txt"]
    words = home(folder) / "words.json"
    words.write_text(words.read_text().replace('"good"', '"gold"'))
    assert "words.json was altered" in refused(capsys, *arguments)
    words.unlink()
    assert "words.json can't be read (No such file" in refused(capsys, *arguments)
    assert sorted(path.name for path in home(fitted(tmp_path, labelled)).iterdir()) == FILES, "it has no words"


def test_what_it_did_elsewhere_is_what_one_fitted_without_that_set_does(tmp_path, labelled):
    card = json.loads((home(fitted(tmp_path, labelled)) / "detector.json").read_text())
    assert card["chosen_for"]["false_positive_rate"] == 0.05
    assert [one["set"] for one in card["elsewhere"]] == ["x", "y"]
    only = tmp_path / "only.csv"
    lines = labelled.read_text().splitlines()
    only.write_text("\n".join([lines[0], *(line for line in lines[1:] if line.endswith("y"))]))
    folder = fitted(tmp_path, only)
    again = saved.load(folder)
    assert again.about["elsewhere"] == [], "no other set is there"
    texts = [line.split(",")[0] for line in lines[1:] if line.endswith("x")]
    rows = metrics.unit_rows(np.stack([vector(text) for text in texts])).astype(np.float32)
    safe = np.array([text.startswith("good") for text in texts])
    flags = again.detector.scores(rows) >= again.threshold
    assert card["elsewhere"][0]["false_positive_rate"] == pytest.approx(flags[safe].mean())
    assert card["elsewhere"][0]["true_positive_rate"] == pytest.approx(flags[~safe].mean())


def test_what_an_api_was_paid_for_is_not_paid_for_again(tmp_path, labelled, monkeypatch):
    folder = fitted(tmp_path, labelled, "--model", "openai:a-model")
    monkeypatch.setattr(scoring, "BATCH", 2)
    asked, working = [], [2]

    class Paid(World):
        def encode(self, texts):
            if texts != [saved.PROBE]:
                if not working[0]:
                    raise InputError("the server can't be reached")
                working[0] -= 1
                asked.extend(texts)
            elif not working[0]:
                raise InputError("the server can't be reached")
            return super().encode(texts)

    monkeypatch.setattr(loading, "load", lambda spec: Paid())
    lines = [f"{'bad' if i % 2 else 'good'} {i}" for i in range(8)]
    status, rows = scored(tmp_path, folder, "in.txt", "\n".join(lines) + "\n", "--quiet")
    assert status == 2 and rows is None and asked == lines[:4]
    working[0] = 9
    status, rows = scored(tmp_path, folder, "in.txt", "\n".join(lines) + "\n", "--quiet")
    assert status == 0 and [row["flagged"] for row in rows] == ["0", "1"] * 4 and asked == lines


def test_lines_that_cannot_be_scored_are_told_by_number_and_the_rest_goes_on(tmp_path, labelled, capsys):
    folder = fitted(tmp_path, labelled)
    text = b'id,prompt\n1,"a bad\nthing"\n2,\n3,\xff\xfe\n4,unreadable\n5\n6,good\n\xff,good\n'
    status, rows = scored(tmp_path, folder, "in.csv", text, "--quiet")
    # Rows begin on lines 2 (of two lines), 4, 5, 6, 7, 8 and 9.
    assert status == 3 and [(row["line"], row["row"], row["id"]) for row in rows] == [("2", "1", "1"), ("8", "6", "6")]
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(")")[0] for line in said] == [
        f"row {row} (line {line}" for row, line in ((2, 4), (3, 5), (5, 7), (7, 9), (4, 6))
    ]
    # 10 bytes of heading, 16 and 3 of rows, `3,` and then the wrong one.
    assert said[1] == "row 3 (line 5): is not UTF-8 (byte 32 of the file); left out"
    assert said[2] == "row 5 (line 7): has 1 cells, the heading has 2 (quote a text that holds commas); left out"
    assert "row 4 (line 6): can't be embedded" in said[4] and "unreadable" not in said[4]
    status, rows = scored(tmp_path, folder, "in.jsonl", '{"prompt": "good"}\n[1]\n{"prompt": 3}\nnot json\n\n')
    assert status == 3 and [row["line"] for row in rows] == ["1"]
    assert "scored 1 of 4 lines" in capsys.readouterr().err, "a blank line is none"
    status, rows = scored(tmp_path, folder, "in.txt", "\ufeffgood\nbad\r\n" + "\n" * 40)
    assert status == 3 and [row["flagged"] for row in rows] == ["0", "1"]
    assert [line for line in capsys.readouterr().err.splitlines() if "has no text" in line] == [
        f"line {number}: has no text; left out" for number in range(3, 43)
    ]
    text = '{"prompt": "good"}\n{"prompt": "\\ud800 bad"}\n' + "[" * 100_000 + '\n{"prompt": "bad"}\n'
    text += '{"prompt": "bad", "id": "\\udc00"}\n'
    status, rows = scored(tmp_path, folder, "in.jsonl", text, "--quiet")
    assert status == 3 and [row["line"] for row in rows] == ["1", "4"]
    said = capsys.readouterr().err.splitlines()
    deep = "is not JSON that can be read (nested too deeply, or a number too long)"
    faults = {2: "'prompt' holds half a character", 3: deep, 5: "'id' holds half a character"}
    assert said == [f"line {number}: {fault}; left out" for number, fault in faults.items()]


def test_standard_input_gets_a_score_for_each_line_at_once(tmp_path, labelled, monkeypatch, capsys):
    folder = fitted(tmp_path, labelled)
    target = io.StringIO()
    target.reconfigure = lambda **more: None
    seen = []

    class Terminal:
        lines = iter(("good\n", "bad\n", "\n", "good again\n", ""))

        def readline(self, most):
            seen.append(target.getvalue().count("\n"))
            return next(self.lines).encode()

    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=Terminal()))
    monkeypatch.setattr("sys.stdout", target)
    assert score.main(["--detector", str(folder), "--input", "-", "--quiet"]) == 3
    # The heading comes with the first score, a score after each line but the third, which has no text.
    assert seen == [0, 2, 3, 3, 4]
    assert [row["flagged"] for row in csv.DictReader(target.getvalue().splitlines())] == ["0", "1", "0"]


def test_a_folder_that_was_altered_is_refused(tmp_path, labelled, capsys):
    folder = fitted(tmp_path, labelled)
    text = tmp_path / "in.txt"
    text.write_text("good\n")
    arguments = ["--detector", folder, "--input", text]
    card, arrays = home(folder) / "detector.json", home(folder) / "detector.safetensors"
    before = card.read_text(), arrays.read_bytes()
    card.write_text(before[0].replace('"false_positive_rate": 0.05', '"false_positive_rate": 0.01'))
    assert "detector.json was altered" in refused(capsys, *arguments)
    for broken in ("{", "[" * 100_000):
        card.write_text(broken)
        assert "is not JSON" in refused(capsys, *arguments)
    card.write_text(before[0])
    arrays.write_bytes(before[1][:-1] + bytes([before[1][-1] ^ 1]))
    assert "detector.safetensors was altered" in refused(capsys, *arguments)
    arrays.unlink()
    assert "detector.safetensors can't be read (No such file" in refused(capsys, *arguments)
    assert "current can't be read (No such file" in refused(capsys, "--detector", tmp_path, "--input", text)


def test_another_encoder_is_refused(tmp_path, labelled, capsys, monkeypatch):
    folder = fitted(tmp_path, labelled)
    text = tmp_path / "in.txt"
    text.write_text("good\n")
    assert "tfidf at" in refused(capsys, "--detector", folder, "--input", text, "--model", "tfidf")
    other = World()
    other.shift = 0.2
    monkeypatch.setattr(loading, "load", lambda spec: other)
    assert "gives the probe text another vector" in refused(capsys, "--detector", folder, "--input", text)
    # 0.003 times (0, 1, ..., 5) moves a vector of length 2 by a hundredth: 5e-5 or so of cosine distance.
    other.shift = 0.003
    assert "gives the probe text another vector" in refused(capsys, "--detector", folder, "--input", text)
    other.shift = 1e-6
    assert score.main(["--detector", str(folder), "--input", str(text), "--quiet"]) == 0, "rounding noise is none"


def test_bad_input_is_one_line_and_leaves_no_output(tmp_path, labelled, capsys):
    folder = fitted(tmp_path, labelled)
    for name, text, message in (
        ("empty.csv", "", "the file is empty"),
        ("heading.csv", "id,prompt\n", "no prompts"),
        ("other.csv", "id,text\n1,good\n", "no column 'prompt' (found: id, text)"),
        ("in.parquet", "x", "in.parquet: can't be read (it is not Parquet, or is damaged)"),
        ("in.xlsx", "x", "unknown kind of file"),
        ("old.csv", "id,prompt\r1,good\r", "old.csv: the heading has a carriage return inside a line"),
    ):
        path = tmp_path / name
        path.write_text(text)
        target = tmp_path / "scores.csv"
        assert message in refused(capsys, "--detector", folder, "--input", path, "--output", target)
        assert not target.exists() and not list(tmp_path.glob(".scores*"))
    assert "no such file" in refused(capsys, "--detector", folder, "--input", tmp_path / "nothing.csv")
    (tmp_path / "in.txt").write_text("good\n")
    arguments = ["--detector", folder, "--input", tmp_path / "in.txt", "--output", tmp_path]
    assert "is a folder; name a file" in refused(capsys, *arguments)
    os.mkfifo(tmp_path / "pipe")
    said = refused(capsys, *arguments[:-1], tmp_path / "pipe")
    assert "is a pipe or a device; name a file" in said
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "same.txt").symlink_to("in.txt")
    arguments = ["--detector", folder, "--input", tmp_path / "in.txt", "--output", tmp_path / "same.txt"]
    for name in ("current", "versions/1/words.json"):
        into = ["--detector", folder, "--input", tmp_path / "in.txt", "--output", folder / name]
        assert "is in the folder of the detector; name another file" in refused(capsys, *into)
    assert "is an input, which it would replace; name another file" in refused(capsys, *arguments)
    assert (tmp_path / "in.txt").read_text() == "good\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "a,b"], "a detector takes one encoder"),
        (["--detector", "svm"], "--detector svm: give one of nearest_unsafe"),
        (["--fpr", "5"], "--fpr 5: give a number from 0 to 1"),
        (["--data", "nothing.csv"], "no such file, nor a set, family or class of that"),
        (
            ["--of", "ordinary"],
            "--of ordinary: --data sample has no ordinary traffic; add it, as --data sample,mine.csv",
        ),
        (["--of", "mine"], "--of mine: --data sample has no such set; give one of all, ordinary, edits, twins"),
        (["--of", str(config.ROOT / "utils" / "schema.py")], "schema.py: neither .csv nor .jsonl; see"),
    ],
)
def test_a_fit_that_cannot_be_is_one_line(tmp_path, capsys, flags, message):
    folder = tmp_path / "detector"
    assert fit.main(["--data", "sample", "--out", str(folder), *flags]) == 2
    said = capsys.readouterr().err
    assert message in said and said.startswith("error: ") and said.count("\n") == 1
    assert not folder.exists() or not list(folder.iterdir())


def test_a_model_of_the_hub_is_asked_for_by_the_commit_that_was_fitted_with(tmp_path, labelled, monkeypatch):
    """What main stands for moves on; the detector's encoder does not."""
    commits = {"main": "a" * 40}
    monkeypatch.setattr(hub, "commit", lambda source, revision, expected="": commits.get(revision, revision))
    folder = fitted(tmp_path, labelled, "--model", "someone/model")
    commits["main"] = "b" * 40
    assert saved.load(folder).spec.checkpoints[0].revision == "a" * 40


def test_code_of_an_encoders_own_is_allowed_by_the_fit_and_by_the_use(tmp_path, labelled, monkeypatch):
    monkeypatch.setattr(hub, "commit", lambda source, revision, expected="": "a" * 40)
    folder = fitted(tmp_path, labelled, "--model", "someone/model", "--trust-remote-code")
    with pytest.raises(InputError, match="may run its own code; read it, then allow it with --trust-remote-code"):
        saved.load(folder)
    assert saved.load(folder, remote_code=True).spec.options.trust_remote_code
    folder = fitted(tmp_path, labelled, "--model", "someone/model")
    assert not saved.load(folder, remote_code=True).spec.options.trust_remote_code, "it was fitted without"


def test_options_that_change_a_vector_come_back(tmp_path, labelled):
    folder = fitted(tmp_path, labelled, "--prompt", "query: ", "--dtype", "float16")
    again = saved.load(folder)
    assert again.spec == registry.resolve("all-minilm-l6-v2", EncoderOptions(prompt="query: ", dtype="float16"))
    assert again.reading == "sentences"
    # A folder of an earlier version does not say how texts are read.
    path = home(folder) / "detector.json"
    card = json.loads(path.read_text())
    del card["read"]
    path.write_text(json.dumps(card | {"card_sha256": saved._digest({k: card[k] for k in card if k != "card_sha256"})}))
    assert saved.load(folder).reading == "whole"
