"""Scores of whole files: each is the one that the detector gives the text alone, however the file is read."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_detector import World, refused, scored

from Safety_Detection import fit, score
from Safety_Detection.detectors import parts
from Safety_Detection.guardrail import guard, saved, score_vectors, scoring, splitting
from Safety_Detection.guardrail.versions import home
from utils.embed import __main__ as embed
from utils.encoders import loading
from utils.metrics.embedding import unit_rows
from utils.parts import only_run


@pytest.fixture(autouse=True, scope="module")
def short():
    """Sentences of a few letters are read by themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splitting, "ALONE", 1)
        patch.setattr(splitting, "JOINED", 1)
        yield


def fitted(tmp_path_factory, reading):
    """A folder that fit wrote, of the stand-in's vectors; its texts are normalized."""
    folder = tmp_path_factory.mktemp(reading)
    rows = [f"{'bad' if i % 2 else 'good'} thing number {i} of {s},{i % 2},{s}" for s in "xy" for i in range(40)]
    (folder / "labelled.csv").write_text("prompt,label,set\n" + "\n".join(rows) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load", lambda spec: World())
        arguments = ["--data", str(folder / "labelled.csv"), "--out", str(folder / "detector"), "--no-cache", "--quiet"]
        assert fit.main([*arguments, "--read", reading]) == 0
    return folder / "detector"


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return fitted(tmp_path_factory, "whole")


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A detector that reads sentences too."""
    return fitted(tmp_path_factory, "sentences")


class Counted(World):
    """The stand-in, which keeps the texts that it is given."""

    def __init__(self):
        self.texts = []

    def encode(self, texts):
        self.texts += texts
        return super().encode(texts)


@pytest.fixture(autouse=True)
def encoder(monkeypatch):
    one = Counted()
    monkeypatch.setattr(loading, "load", lambda spec: one)
    return one


def alone(detector, texts, **more):
    """The verdict of each text by itself."""
    guard = saved.load_detector(detector, **more)
    return [guard.score([text])[0] for text in texts]


NEAR = ("nearest", "label", "similarity")
TEXTS = [f"{'bad' if i % 3 else 'fine'} word {i}" for i in range(30)]


def test_a_threshold_that_is_given_decides_what_is_flagged(tmp_path, detector, capsys):
    expected = [one.score for one in alone(detector, TEXTS)]
    between = sorted(expected)[21:23]
    threshold = sum(between) / 2  # 8 of the 30 scores are above it
    status, rows = scored(tmp_path, detector, "in.txt", "\n".join(TEXTS), "--quiet", f"--threshold={threshold!r}")
    assert status == 0 and sum(int(row["flagged"]) for row in rows) == 8
    assert [float(row["score"]) for row in rows] == pytest.approx(expected, abs=1e-6)
    points = json.loads((home(detector) / "detector.json").read_text())["card"]["points"]
    for point in points:
        status, rows = scored(tmp_path, detector, "in.txt", "\n".join(TEXTS), "--quiet", "--fpr", str(point["rate"]))
        assert [row["flagged"] for row in rows] == [str(int(one >= point["threshold"])) for one in expected]
    text = tmp_path / "in.txt"
    said = refused(capsys, "--detector", detector, "--input", text, "--fpr", "0.02")
    assert "--fpr 0.02: the detector's card has thresholds for 0.001, 0.005, 0.01, 0.05; give one of these" in said
    said = refused(capsys, "--detector", detector, "--input", text, "--fpr", "0.01", "--threshold", "1")
    assert "--fpr: chooses a threshold, as --threshold does" in said
    said = refused(capsys, "--detector", detector, "--input", text, "--fpr", "0.01", "--of", "mine")
    assert "--of mine: the detector's card has thresholds by all; give one of these, or fit with --of mine" in said
    said = refused(capsys, "--detector", detector, "--input", text, "--of", "all")
    assert "--of: says of what --fpr is a share; add --fpr, or leave it out" in said
    for wrong in ("high", "nan", "inf"):
        said = refused(capsys, "--detector", detector, "--input", text, "--threshold", wrong)
        assert f"--threshold {wrong}: give a number" in said


def test_a_probability_is_a_column_of_its_own(tmp_path, detector, capsys):
    expected = alone(detector, TEXTS)
    status, rows = scored(tmp_path, detector, "in.txt", "\n".join(TEXTS), "--quiet")
    assert status == 0 and list(rows[0]) == list(scoring.COLUMNS)
    status, rows = scored(tmp_path, detector, "in.txt", "\n".join(TEXTS), "--quiet", "--probability", "--explain", "1")
    assert status == 0 and list(rows[0]) == [*scoring.COLUMNS, "probability", "unfamiliar", *(f"{w}_1" for w in NEAR)]
    likely = [float(row["probability"]) for row in rows]
    assert likely == pytest.approx([one.probability for one in expected], abs=1e-6)
    kept = json.loads((home(detector) / "detector.json").read_text())["calibration"]
    odds = [math.exp(kept["slope"] * one.score + kept["intercept"]) for one in expected]
    assert likely == pytest.approx([one / (1 + one) for one in odds], abs=1e-6)
    status, rows = scored(
        tmp_path, detector, "in.txt", "\n".join(TEXTS), "--quiet", "--probability", "--base-rate", "0.01"
    )
    # At equal classes odds are as they are; where 1 of 100 is unsafe, a 99th.
    assert [float(row["probability"]) for row in rows] == pytest.approx([one / (99 + one) for one in odds], abs=1e-6)
    assert [row["flagged"] for row in rows] == [str(int(one.flagged)) for one in expected], "flags are by the score"
    given = "--detector", detector, "--input", tmp_path / "in.txt"
    assert "--base-rate: changes probabilities only; add --probability" in refused(capsys, *given, "--base-rate", "0.1")
    assert "--base-rate 2: give a share above 0" in refused(capsys, *given, "--probability", "--base-rate", "2")


def test_each_distinct_text_is_embedded_once_in_a_whole_file(tmp_path, detector, encoder, monkeypatch, capsys):
    monkeypatch.setattr(scoring, "BATCH", 4)
    # Each text occurs 4 times, 30 lines apart; a zero-width space is taken out before texts are compared.
    lines = [*TEXTS, *(text.replace(" ", "\u200b ") for text in TEXTS), *TEXTS, *TEXTS]
    expected = alone(detector, TEXTS)
    encoder.texts.clear()
    status, rows = scored(tmp_path, detector, "in.txt", "\n".join(lines), "--quiet")
    assert status == 0 and sorted(encoder.texts) == sorted([*TEXTS, saved.PROBE])
    assert [int(row["line"]) for row in rows] == list(range(1, 121))
    assert [float(row["score"]) for row in rows] == pytest.approx([one.score for one in expected] * 4, abs=1e-6)
    # Of 8 texts that are kept in memory, none comes again within 30 lines.
    monkeypatch.setattr(scoring, "KNOWN", 8)
    encoder.texts.clear()
    assert scored(tmp_path, detector, "in.txt", "\n".join(lines[:90]), "--quiet")[1] == rows[:90]
    assert sorted(encoder.texts) == sorted([*TEXTS * 3, saved.PROBE])
    status, rows = scored(tmp_path, detector, "in.txt", "bad\nunreadable\nbad\nunreadable\n", "--quiet")
    assert status == 3 and [row["line"] for row in rows] == ["1", "3"]
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["line 2", "line 4"]


def scored_again(tmp_path, detector, *flags):
    """Status and rows of the file that was scored before."""
    target = tmp_path / "scores.csv"
    arguments = ["--detector", str(detector), "--input", str(tmp_path / "in.txt"), "--output", str(target)]
    status = score.main([*arguments, *flags])
    return status, list(csv.DictReader(target.open())) if target.exists() else None


class Stopped(Counted):
    """The stand-in, which raises an error at a text."""

    def __init__(self, at, error):
        super().__init__()
        self.at, self.error = at, error

    def encode(self, texts):
        if self.at in texts:
            raise self.error
        return super().encode(texts)


@pytest.fixture
def short_parts(monkeypatch):
    for module in (score, scoring):
        monkeypatch.setattr(module, "PART_LINES", 10)
    monkeypatch.setattr(scoring, "BATCH", 4)


def test_what_was_scored_before_ctrl_c_is_not_scored_again(tmp_path, detector, monkeypatch, capsys, short_parts):
    text = "\n".join(["", *TEXTS]) + "\n"  # the first of 31 lines has no text
    folder, expected = tmp_path / "scores.csv.parts", scored(tmp_path, detector, "in.txt", text, "--quiet")[1]
    assert [float(row["score"]) for row in expected] == pytest.approx(
        [one.score for one in alone(detector, TEXTS)], abs=1e-6
    )
    (tmp_path / "scores.csv").unlink()
    assert not folder.exists() and not list(tmp_path.glob(".scores*"))
    capsys.readouterr()
    # Text 25 is on line 27, in the third part of 10 lines.
    monkeypatch.setattr(loading, "load", lambda spec: Stopped(TEXTS[25], KeyboardInterrupt()))
    assert scored_again(tmp_path, detector) == (130, None)
    said = capsys.readouterr().err.splitlines()
    assert said == ["line 1: has no text; left out", "interrupted; the same command continues with what is stored"]
    assert sorted(path.name for path in folder.iterdir()) == ["_manifest.json", "part-00000.csv", "part-00001.csv"]
    assert len((folder / "part-00000.csv").read_text().splitlines()) == 9, "without a heading and the line without text"
    # What a kill may leave: a part, a manifest and an output that were being written.
    left_over = [
        folder / ".part-00002.csv.0123abcd",
        folder / "._manifest.json.0123abcd",
        tmp_path / ".scores.csv.0123abcd",
    ]
    for path in left_over:
        path.write_text("half of")
    other = tmp_path / ".scores.csv.of-a-person"
    other.write_text("stays")
    fresh = Counted()
    monkeypatch.setattr(loading, "load", lambda spec: fresh)
    assert scored_again(tmp_path, detector) == (3, expected), "the line without text still counts"
    assert sorted(fresh.texts) == sorted([saved.PROBE, *TEXTS[19:]])  # lines 21 to 31
    assert capsys.readouterr().err.splitlines() == ["20 lines are scored already", "scored 30 of 31 lines"]
    assert not folder.exists() and not any(path.exists() for path in left_over) and other.exists()


@pytest.mark.parametrize("where", ["part-00002.csv", "scores.csv"])
def test_a_full_disk_ends_the_run_and_the_same_command_continues(
    tmp_path, detector, monkeypatch, capsys, short_parts, where
):
    expected = scored(tmp_path, detector, "in.txt", "\n".join(TEXTS), "--quiet")[1]
    (tmp_path / "scores.csv").unlink()
    opened = Path.open

    def full(path, mode="r", *more, **how):
        if path.name.startswith(f".{where}."):
            raise OSError(28, "No space left on device", str(path))
        return opened(path, mode, *more, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        assert scored_again(tmp_path, detector, "--quiet") == (3, None)
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert f"{where}: can't be written (No space left on device); free some space, and the same command conti" in said
    fresh = Counted()
    monkeypatch.setattr(loading, "load", lambda spec: fresh)
    assert scored_again(tmp_path, detector, "--quiet") == (0, expected)
    assert sorted(fresh.texts) == sorted([saved.PROBE, *(TEXTS[20:] if where != "scores.csv" else [])])


def test_another_input_detector_or_option_starts_anew(tmp_path, detector, monkeypatch, capsys, short_parts):
    scored(tmp_path, detector, "in.txt", "\n".join(TEXTS), "--quiet")

    def stopped(*flags):
        """A run that leaves two parts, after two finished ones."""
        (tmp_path / "scores.csv").unlink(missing_ok=True)
        monkeypatch.setattr(loading, "load", lambda spec: Stopped(TEXTS[25], KeyboardInterrupt()))
        assert scored_again(tmp_path, detector, "--quiet", *flags) == (130, None)
        fresh = Counted()
        monkeypatch.setattr(loading, "load", lambda spec: fresh)
        capsys.readouterr()
        return fresh

    shown = "scores.csv.parts: is of another {}; it is removed, and all is scored anew\n"
    fresh = stopped()
    status, rows = scored_again(tmp_path, detector, "--quiet", "--threshold=100")
    assert status == 0 and len(rows) == 30 and {row["flagged"] for row in rows} == {"0"}
    assert capsys.readouterr().err.endswith(shown.format("--threshold")) and len(fresh.texts) == 31
    fresh = stopped()
    assert scored(tmp_path, detector, "in.txt", "\n".join(reversed(TEXTS)), "--quiet")[0] == 0
    assert capsys.readouterr().err.endswith(shown.format("--input")) and len(fresh.texts) == 31
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    again = tmp_path / "again"
    shutil.copytree(detector, again)
    card = json.loads((home(again) / "detector.json").read_text()) | {"created": "later"}
    (home(again) / "detector.json").write_text(json.dumps(card | {"card_sha256": saved._digest(card)}))
    fresh = stopped()
    assert scored_again(tmp_path, again, "--quiet")[0] == 0
    assert capsys.readouterr().err.endswith(shown.format("--detector")) and len(fresh.texts) == 31


def test_parts_are_of_one_run_and_of_nothing_else(tmp_path, detector, capsys, short_parts):
    folder = tmp_path / "scores.csv.parts"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "part-00000.csv").write_text("mine")
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    arguments = ["--detector", detector, "--input", tmp_path / "in.txt", "--output", tmp_path / "scores.csv"]
    assert "scores.csv.parts: holds other files; move them away, or give another" in refused(capsys, *arguments)
    assert len(list(folder.iterdir())) == 2
    shutil.rmtree(folder)
    folder.mkdir()
    with only_run(folder):
        assert "another run writes there; wait for it to end" in refused(capsys, *arguments)
    assert scored_again(tmp_path, detector, "--quiet")[0] == 0 and not folder.exists()


def test_a_slow_encoder_loses_minutes_and_not_hours(tmp_path, detector, monkeypatch):
    monkeypatch.setattr(scoring, "BATCH", 4)
    monkeypatch.setattr(score, "PART_SECONDS", 0.0)
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    monkeypatch.setattr(loading, "load", lambda spec: Stopped(TEXTS[25], KeyboardInterrupt()))
    assert scored_again(tmp_path, detector, "--quiet") == (130, None)
    assert len(list((tmp_path / "scores.csv.parts").glob("part-*"))) == 6  # of 4 lines each


def embedded(folder, texts, *flags):
    """The folder in which utils.embed has put the vectors of texts, 7 in a shard, their ids 100 and so on."""
    source = folder / "corpus.jsonl"
    source.write_text("".join(json.dumps({"prompt": text, "id": 100 + i}) + "\n" for i, text in enumerate(texts)))
    arguments = ["--input", str(source), "--output", str(folder / "vectors"), "--quiet", "--shard-rows", "7", *flags]
    assert embed.main(arguments) == 0
    return folder / "vectors"


def test_vectors_of_a_corpus_are_scored_without_the_encoder(tmp_path, detector, monkeypatch, capsys):
    vectors, alone_before = embedded(tmp_path, TEXTS), alone(detector, TEXTS)
    expected = [one.score for one in alone_before]
    capsys.readouterr()
    monkeypatch.setattr(loading, "load", lambda spec: pytest.fail("the encoder was loaded"))
    monkeypatch.setattr(score_vectors, "BATCH_ROWS", 4)
    target = tmp_path / "scores.csv"
    arguments = ["--detector", str(detector), "--vectors", str(vectors), "--output", str(target)]
    assert score.main([*arguments, "--explain", "2"]) == 0
    rows = list(csv.DictReader(target.open()))
    assert [(row["line"], row["row"], row["id"]) for row in rows] == [("", str(i + 1), str(100 + i)) for i in range(30)]
    assert [float(row["score"]) for row in rows] == pytest.approx(expected, abs=1e-6)
    assert list(rows[0])[5:] == ["truncated", "unfamiliar"] + [f"{w}_{i}" for i in (1, 2) for w in NEAR]
    said = capsys.readouterr().err.splitlines()
    assert said == [score.AS_THEY_WERE, "scored 30 of 30 lines"]
    likely = tmp_path / "likely.csv"
    assert score.main([*arguments[:-1], str(likely), "--quiet", "--probability"]) == 0
    found = [float(row["probability"]) for row in csv.DictReader(likely.open())]
    assert found == pytest.approx([one.probability for one in alone_before], abs=1e-6)
    # A run that ends after 10 to 13 rows, as batches are of 4 rows or less, begins there again, amid the second shard.
    for module in (score, scoring):
        monkeypatch.setattr(module, "PART_LINES", 10)
    read, begun = score_vectors.EmbeddedCorpus.batches, []

    def stops(self, start, dimension):
        begun.append(start)
        for batch in read(self, start, dimension):
            if batch[0] >= 14 and len(begun) == 1:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(score_vectors.EmbeddedCorpus, "batches", stops)
    target.unlink()
    assert score.main([*arguments, "--explain", "2"]) == 130 and not target.exists()
    assert score.main([*arguments, "--explain", "2"]) == 0 and begun == [0, 11]  # 4 and 3 rows, and 4
    assert list(csv.DictReader(target.open())) == rows


def test_a_vector_that_means_nothing_is_left_out(tmp_path, detector, capsys):
    vectors = embedded(tmp_path, TEXTS[:7])
    table = pq.read_table(vectors / "part-00000.parquet")
    matrix = table["vector"].combine_chunks().flatten().to_numpy().reshape(7, 6).copy()
    matrix[2], matrix[4, 1] = 0, np.nan
    changed = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), 6)
    pq.write_table(table.set_column(3, "vector", changed), vectors / "part-00000.parquet")
    capsys.readouterr()
    assert score.main(["--detector", str(detector), "--vectors", str(vectors), "--quiet"]) == 3
    said = capsys.readouterr()
    assert [row["row"] for row in csv.DictReader(said.out.splitlines())] == ["1", "2", "4", "6", "7"]
    assert said.err.splitlines()[1:] == [f"row {row}: its vector is zero or not finite; left out" for row in (3, 5)]


def test_vectors_of_another_encoder_or_that_are_not_whole_are_refused(tmp_path, detector, reader, capsys):
    (tmp_path / "half").mkdir()
    other = embedded(tmp_path / "half", TEXTS, "--prompt", "query: ")
    vectors, arguments = embedded(tmp_path, TEXTS), ["--detector", detector, "--vectors"]
    capsys.readouterr()
    assert "and the detector takes those of all-minilm-l6-v2 (" in refused(capsys, *arguments, other)
    said = refused(capsys, "--detector", reader, "--vectors", vectors)
    assert "--vectors: are of whole texts, and the detector reads their sentences too" in said
    said = refused(capsys, *arguments, tmp_path)
    assert "_manifest.json can't be read (No such file or directory); give a folder that python -m utils.embed" in said
    said = refused(capsys, *arguments, vectors, "--input", "x.csv")
    assert "--vectors: goes without --input; leave that out" in said
    said = refused(capsys, *arguments, vectors, "--threads", "1")
    assert "--vectors: goes without --threads; leave that out" in said
    assert "--input: missing; give a file of prompts" in refused(capsys, "--detector", detector)
    said = refused(capsys, *arguments, vectors, "--output", vectors / "scores.csv")
    assert "is in the folder of the vectors; name another file" in said
    manifest = vectors / "_manifest.json"
    kept = json.loads(manifest.read_text())
    for broken, message in (
        ("[]", "is not one that this version reads"),
        (json.dumps(kept | {"done": None}), "is not finished; run the same python -m utils.embed command again"),
    ):
        manifest.write_text(broken)
        assert message in refused(capsys, *arguments, vectors)
    manifest.write_text(json.dumps(kept))
    last = vectors / "part-00004.parquet"
    for content in (b"PAR1", (vectors / "part-00000.parquet").read_bytes()):  # damaged, and 7 rows for 2
        last.write_bytes(content)
        assert score.main([*map(str, [*arguments, vectors]), "--quiet"]) == 2
        assert "part-00004.parquet: can't be read (it is damaged); run the same" in capsys.readouterr().err
    last.unlink()
    assert score.main([*map(str, [*arguments, vectors]), "--quiet"]) == 2
    assert "part-00004.parquet: can't be read (No such file or directory)" in capsys.readouterr().err


class Short(Counted):
    """The stand-in, which reads four words of a text."""

    max_tokens = 4

    def token_counts(self, texts):
        return np.array([len(text.split()) for text in texts])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three? Four… Five", ["One.", "Two!", "Three?", "Four…", "Five"]),
        ('She said "go." Then 3.5 km, e.g. v1.2.', ['She said "go."', "Then 3.5 km, e.g.", "v1.2."]),
        ("a line\n\n another\r\n \u200b\n", ["a line", "another"]),
        ("一つ。二つ！？「三つ。」四つ", ["一つ。", "二つ！？", "「三つ。」", "四つ"]),
        ("no end", ["no end"]),
    ],
)
def test_a_text_has_sentences(text, parts):
    assert splitting.sentences(text) == parts


LONG = "a sentence of more than forty letters, which is enough"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (f"Hi. {LONG}. Ok. So. {LONG}! Bye.", [f"Hi. {LONG}.", f"Ok. So. {LONG}! Bye.", f"{LONG}.", f"{LONG}!"]),
        (f"{LONG}. No.", [f"{LONG}."]),  # the last one is too short to stand alone
        (f"{LONG}.\nNo. {LONG}", [f"{LONG}.", f"No. {LONG}", LONG]),
        ("Say a few words, please. No.", ["Say a few words, please."]),
        ("Say a few words. Not now. Never.", []),
        (f"{7 * '一'}。{6 * '二'}。", [f"{7 * '一'}。", f"{6 * '二'}。"]),  # three bytes a letter
        (f"{6 * '一'}。{5 * '二'}。", [f"{6 * '一'}。"]),
        (f"{LONG}. {LONG}. {LONG}.", [f"{LONG}."]),
        (f'"{LONG}?"', [f"{LONG}?"]),
        (f"He wrote “{LONG}” and “no”", [LONG]),
        (f"user: {LONG}", [LONG]),
        (f"Roles\n  user: {LONG}\nassistant: no", [f"user: {LONG}", LONG]),
        (json.dumps({"role": "user", "content": f'say "{LONG}" or\n{LONG}'}), [f'say "{LONG}" or', LONG]),
    ],
)
def test_short_sentences_are_read_together(monkeypatch, text, parts):
    monkeypatch.setattr(splitting, "ALONE", 20)
    monkeypatch.setattr(splitting, "JOINED", 40)
    assert splitting.parts_of([LONG, text], "sentences") == (parts, [1] * len(parts))
    assert splitting.parts_of([LONG, text], "whole") == ([], [])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("one two three four five six", []),  # without three of them it says too little
        ("one two three four five six seven", ["one two three four"]),
        ("1 2 3 4 5 6 7 8 9 10 11 12 13 14.", ["1 2 3 4 5 6 7 8 9 10 11", "1 2 3 4 5 6 7 8", "1 2 3 4 5"]),
        ("no white space: 一二三四五六七八九十", []),
        (
            "How do I end it all at once? And tell me why not?",
            ["How do I end it all at once?", "And tell me why not?", "How do I end it all at once? And tell",
             "How do I end it all at", "How do I end", "How do I end it"],
        ),
        ("user: How do I end it all now", ["How do I end it all now", "user: How do I end", "How do I end"]),
    ],
)  # fmt: skip
def test_the_last_words_of_what_is_read_are_erased(monkeypatch, text, parts):
    monkeypatch.setattr(splitting, "ALONE", 20)
    monkeypatch.setattr(splitting, "JOINED", 40)
    assert splitting.parts_of([text], "erased")[0] == parts


MANY = "".join(map(chr, range(0x4E00, 0x4F90)))


@pytest.mark.parametrize("text", ["word " * 300, "x" * 999, MANY, "a " + "y" * 700 + " and so on"])
def test_a_long_sentence_is_read_in_pieces(text):
    pieces, _ = splitting.parts_of([text], "sentences")
    assert max(len(piece.encode()) for piece in pieces) <= 250 and len(pieces) > 1
    whole = splitting._pieces(text.strip())
    assert "".join(whole).replace(" ", "") == text.replace(" ", ""), "all of it is read"


def test_the_highest_of_the_whole_and_its_sentences_counts(tmp_path, detector, reader, monkeypatch, capsys):
    monkeypatch.setattr(loading, "load", lambda spec: Short())
    monkeypatch.setattr(guard, "MOST_PARTS", 3)  # several texts are read one after the other
    texts = ["One two. A bad thing! Four five", "one two three four five six. seven", "fine", "so. so.", "bad. bad."]
    parts = [[texts[0], "One two.", "A bad thing!", "Four five"], [texts[1], "one two three four five six.", "seven"],
             ["fine"], ["so. so.", "so."], ["bad. bad.", "bad."]]  # fmt: skip
    read = saved.load(reader)
    rows = [unit_rows(World().encode(its)) for its in parts]
    expected = [read.detector.scores(its).max() for its in rows]
    status, rows = scored(tmp_path, reader, "in.txt", "\n".join(texts), "--probability")
    assert status == 0 and [float(row["score"]) for row in rows] == pytest.approx(expected, abs=1e-6)
    assert [row["flagged"] for row in rows] == [str(int(one >= read.threshold)) for one in expected]
    assert [row["flagged"] for row in rows] == ["1", "0", "0", "0", "1"]
    likely = read.calibration.probabilities(np.array(expected)).tolist()
    assert [float(row["probability"]) for row in rows] == pytest.approx(likely, abs=1e-6)
    # What the encoder leaves out of a whole text is in its sentences; one of the second text has six words.
    assert [row["truncated"] for row in rows] == ["0", "1", "0", "0", "0"]
    whole = scored(tmp_path, detector, "in.txt", "\n".join(texts))[1]
    assert [row["truncated"] for row in whole] == ["1", "1", "0", "0", "0"]
    status, rows = scored(tmp_path, reader, "in.txt", "good. unreadable\nit is well\n")
    assert status == 3 and [row["line"] for row in rows] == ["2"], "a part that can't be read is not counted as safe"


def test_the_nearest_are_those_of_the_part_with_the_score_and_the_unfamiliar_is_the_whole_text(reader):
    one = saved.load_detector(reader)
    numbers = range(1, 40, 2)  # rows are numbered from 1
    number = max(numbers, key=lambda i: one.score([f"bad thing number {i} of x"])[0].score)
    text, part = f"It is well. bad thing number {number} of x", f"bad thing number {number} of x"
    [found], [alone] = one.score([text], nearest=1), one.score([part], nearest=1)
    assert found.score == pytest.approx(alone.score, abs=1e-6), "the whole text scores less"
    assert found.nearest[0].id == f"x:{number + 1}" and found.nearest[0].similarity > 0.999
    bank = one.detector.bank
    whole = unit_rows(World().encode([text])).astype(np.float32)
    assert found.unfamiliar == bank.unfamiliar(whole, [text])[0]


def test_the_highest_of_parts_by_hand():
    scores, starts = np.array([1.0, 4, 2, 9, 3, 3, 8]), np.array([0, 3, 5])
    known = np.array([True, True, True, False, True, False, False])
    # Of the second text the part with 9 has no known word; the third has none at all, and its first part counts.
    assert parts.highest(scores, known, starts).tolist() == [4, 3, 3]
    assert parts.any_of(known, starts).tolist() == [True, True, False]
    assert parts.first_of_highest(np.array([1, 4, 4, 9, 3, 8, 8]), starts).tolist() == [1, 3, 5]
