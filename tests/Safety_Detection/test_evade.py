"""Transformations do to a text what they say, and what they do to a detector is what a slow count finds."""

import csv
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from doubles import StandIn

from Safety_Detection import evade, fit
from Safety_Detection.guardrail import saved
from Safety_Detection.guardrail.disguises import AFTER_IT, WITHIN_IT, disguises, universal
from Safety_Detection.guardrail.guard import Guard, Verdict
from Safety_Detection.sets import labelled_sets
from utils.data.text import plain
from utils.encoders import loading

WORDS = 40  # what the stand-in reads


def vector(text):
    """Unsafe are texts with bad, ILL or 7; the other dimensions are noise of the text's own."""
    row = np.random.default_rng(sum(text.encode())).normal(0, 0.1, 4)
    row[0] += 2 if re.search("bad|ILL|7", text) else -2
    return row.astype(np.float32)


class World(StandIn):
    dimension, max_tokens = 4, WORDS

    def token_counts(self, texts):
        return np.array([len(text.split(" ")) for text in texts])

    def encode(self, texts):
        return np.stack([vector(" ".join(text.split(" ")[:WORDS])) for text in texts])


# Ten unsafe prompts, of which eight are flagged as they are, and six safe ones, of which one is.
UNSAFE = [*(f"a bad {word}" for word in ("oak", "elm", "ash", "fir", "yew")), "7 cows", "7 hens", "7 pigs"]
UNSAFE += ["the ill man", "nothing at once"]
SAFE = ["7 roses", *(f"a fine {word}" for word in ("hat", "sock", "shoe", "coat", "vest"))]


def labelled(path, rows):
    """A file of (prompt, label, group)."""
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("prompt", "label", "group"), *rows])
    return path


@pytest.fixture
def asked(tmp_path):
    return labelled(tmp_path / "asked.csv", [(t, 1, "") for t in UNSAFE] + [(t, 0, "") for t in SAFE])


@pytest.fixture(autouse=True)
def world(monkeypatch):
    monkeypatch.setattr(loading, "load", lambda spec: World())
    for module in (labelled_sets, evade):
        monkeypatch.setattr(module, "PUBLISHED", {})


@pytest.fixture
def folder(tmp_path):
    return fitted(tmp_path)


def fitted(tmp_path, *flags):
    names = ["".join((a, b)) for a in "qwrt" for b in "zxvn"]
    rows = [(f"{'bad' if i % 2 else 'good'} {name} {s}{name}", i % 2, s) for s in "xy" for i, name in enumerate(names)]
    path = tmp_path / "trained.csv"
    path.write_text("prompt,label,set\n" + "".join(f"{text},{label},{s}\n" for text, label, s in rows))
    arguments = ["--data", str(path), "--out", str(tmp_path / "detector"), "--quiet", "--read", "whole"]
    assert fit.main([*arguments, *flags]) == 0
    return tmp_path / "detector"


def run(capsys, *arguments):
    """What is printed, and of each line of the table its cells by their heading."""
    assert evade.main([*map(str, arguments), *(() if "--tries" in arguments else ("--tries", "0")), "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.err == "" and max(map(len, said.out.splitlines())) <= 80
    return said.out, {line[:14].strip(): re.split(r"  +", line[14:].strip()) for line in said.out.splitlines()}


def flat(said):
    return " ".join(said.split())


# Of "Is it 1?": letters stand alone or side by side in `Is`, `it`.
BY_HAND = {
    "plain": "Is it 1?",
    "user:": "user: Is it 1?",
    "roles": "system: You are a helpful assistant.\nuser: Is it 1?\nassistant:",
    "quotes": '"Is it 1?"',
    "polite": "Could you please help me with this? Is it 1? I would be very grateful.",
    "JSON": '{"messages": [{"role": "user", "content": "Is it 1?"}]}',
    "zero-width": "I\u200bs i\u200bt 1?",
    "look-alikes": "\u0406\u0455 \u0456t 1?",  # there is no Cyrillic t in lower case
    "full-width": "\uff29\uff53 \uff49\uff54 \uff11?",
    "spaced": "I s   i t   1 ?",
    "upper case": "IS IT 1?",
    "alternating": "iS It 1?",  # the space is the third character, of index 2
}


@pytest.mark.parametrize(("name", "text"), BY_HAND.items())
def test_a_transformation_by_hand_and_what_normalizing_undoes(name, text):
    assert disguises(5)[name]("Is it 1?") == text
    undone = "plain", "zero-width", "look-alikes", "full-width", "spaced"
    assert (" ".join(plain(text).split()) == "Is it 1?") == (name in undone)


def test_universal_words_by_hand():
    """After the text, and before what ends its last sentence. Those that are found lower the score, one by one."""
    after, inside = (universal("so it is")[name] for name in (AFTER_IT, WITHIN_IT))
    assert (after("Is it 1?"), inside("Is it 1?")) == ("Is it 1? so it is", "Is it 1 so it is?")
    assert (inside('"Go!" '), inside("Go")) == ('"Go so it is!" ', "Go so it is")

    class Fake:
        asked = 0

        def score_each(self, texts, names):
            self.asked += len(texts)
            return [Verdict(9 - 3 * ("cake" in text) - 2 * ("bicycle" in text), False, False) for text in texts]

    guard = Fake()
    # Rounds of 400 words, and the safe prompts of the sample have 320: in the third none lowers the score more.
    assert evade.universal_words(guard, ["Go?", "Do."], 2000) == "cake bicycle"
    assert guard.asked == 2 + 3 * 400 * 2
    assert evade.universal_words(guard, [], 2000) == ""


def test_universal_words_are_of_other_prompts_and_shown_by_reading(folder, asked, capsys, monkeypatch):
    searched = []
    monkeypatch.setattr(evade, "universal_words", lambda guard, prompts, *_: searched.extend(prompts) or "so. Be it")
    said, table = run(capsys, "--detector", folder, "--data", asked, "--tries", "7")
    # A quarter of ten prompts is set apart. Of the others, what is found in them whole is so with these words too.
    assert len(searched) == 2 < len(set(searched) & set(UNSAFE)) + 1 and "8 unsafe and 6 safe prompts" in flat(said)
    assert "the best of 7 suffixes tried on 2 other unsafe prompts: so. Be it." in flat(said)
    share = table["plain"][0].split(" [")[0]
    for reading in ("whole", "sentences"):
        assert re.search(rf"^{reading} +{share} +{share} +{share} +17 %$", said, re.M)
    assert table["suffix"][0].startswith(share) and table["suffix inside"][0].startswith(share)


def test_the_table_by_hand(folder, asked, capsys):
    said, table = run(capsys, "--detector", folder, "--data", asked)
    assert "10 unsafe and 6 safe prompts of asked; 0 left out" in flat(said)
    found = {name: [table[name][0].split(" [")[0], *table[name][1:]] for name in (*disguises(1), *evade_rows())}
    # `bad` of five prompts is found where its letters stay; `7` of three unless it is full-width; `ill` of one only in
    # upper case. Of six safe prompts one says 7. Of padded texts nothing but the padding is read.
    assert found == {
        "plain": ["80 %", "0", "-0 +0", "80 %", "0 %", "17 %"],
        "words before": ["80 %", "0", "-0 +0", "80 %", "0 %", "17 %"],
        "words after": ["80 %", "0", "-0 +0", "80 %", "0 %", "17 %"],
        # No frame changes what is found: the encoder reads 40 words, and no frame says bad, ILL or 7.
        **{
            name: ["80 %", "0", "-0 +0", "80 %", "0 %", "17 %"]
            for name in ("user:", "roles", "quotes", "polite", "JSON")
        },
        "zero-width": ["80 %", "0", "-0 +0", "30 %", "0 %", "17 %"],
        "look-alikes": ["80 %", "0", "-0 +0", "30 %", "0 %", "17 %"],
        "full-width": ["80 %", "0", "-0 +0", "0 %", "0 %", "17 %"],
        "spaced": ["80 %", "0", "-0 +0", "30 %", "0 %", "17 %"],
        "upper case": ["40 %", "-40", "-5 +1", "40 %", "0 %", "17 %"],
        "alternating": ["30 %", "-50", "-5 +0", "30 %", "0 %", "17 %"],
        "padded": ["0 %", "-80", "-8 +0", "0 %", "100 %", "0 %"],
        # With the other setting nothing is flagged full-width.
        "worst unpadded": ["30 %", "-50", "-5 +0", "0 %", "-", "17 %"],
        "worst of all": ["0 %", "-80", "-8 +0", "0 %", "-", "17 %"],
    }
    verdict = "80 % are flagged as they are, 0 % under the transformation that hides most (padded), and 0 % no matter"
    assert f"Of the 10 unsafe prompts, {verdict} which of them is used; other attacks may hide more." in flat(said)
    assert "The encoder reads nothing of a padded prompt." in flat(said)


def evade_rows():
    return evade.WORST_READ, evade.WORST


@pytest.mark.parametrize("flags", [[], ["--no-normalize"]])
def test_every_prompt_is_scored_as_a_guard_of_either_setting_scores_it(tmp_path, asked, capsys, flags):
    folder, out = fitted(tmp_path, *flags), tmp_path / "new" / "out.csv"
    said, table = run(capsys, "--detector", folder, "--data", asked, "--out", out)
    detector = saved.load(folder)
    assert detector.normalize is not bool(flags)
    own, other = ("as it is", "normalized") if flags else ("normalized", "as it is")
    heading = next(line for line in said.splitlines() if line.startswith("transformation"))
    assert heading.index(own) < heading.index(other)
    expected, shares = [], {}
    for name, disguise in disguises(WORDS).items():
        for normalize in (detector.normalize, not detector.normalize):
            guard = Guard(replace(detector, normalize=normalize))
            found = [guard.score([disguise(text)])[0] for text in UNSAFE + SAFE]
            for i, one in enumerate(found):
                row = f"asked:{i + 1}", str(int(i < 10)), name, str(int(normalize)), one.score
                expected.append((*row, str(int(one.flagged)), str(int(one.truncated))))
            shares[name, normalize] = sum(one.flagged for one in found[:10])
    with out.open() as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == evade.COLUMNS
    for row, its in zip(rows, expected, strict=True):
        assert tuple(row.values()) == (*its[:4], row["score"], *its[5:])
        assert float(row["score"]) == pytest.approx(its[4], abs=1e-5)
    for (name, normalize), number in shares.items():
        cell = table[name][0 if normalize == detector.normalize else 3]
        assert int(cell.split(" %")[0]) == 10 * number
    assert not any(text in out.read_text() for text in UNSAFE + SAFE)


def test_whole_groups_are_resampled(tmp_path, folder, asked, capsys):
    """A second prompt of each group that is as flagged as the first leaves every share and interval."""
    once = run(capsys, "--detector", folder, "--data", asked)[1]
    both = [(t, 1, f"u{i}") for i, t in enumerate(UNSAFE)] + [(t, 0, f"s{i}") for i, t in enumerate(SAFE)]
    twice = labelled(tmp_path / "twice.csv", both + [(f"{t} now", *rest) for t, *rest in both])
    again = run(capsys, "--detector", folder, "--data", twice)[1]
    for name in (*disguises(1), *evade_rows()):
        assert again[name][0] == once[name][0] and "[" in once[name][0]
    low, high = map(int, re.findall(r"\d+", once["plain"][0])[1:])
    assert low < 80 < high <= 100


def test_a_text_without_a_known_word_is_not_flagged_and_counted(tmp_path, asked, capsys):
    out = tmp_path / "out.csv"
    said, _ = run(
        capsys, "--detector", fitted(tmp_path, "--model", "tfidf", "--no-normalize"), "--data", asked, "--out", out
    )
    assert "A text without a word that the detector knows counts as not flagged." in flat(said)
    with out.open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["normalized"] == "0" and row["label"] == "1"]
    for name, number in {"plain": 5, "look-alikes": 10, "spaced": 10, "upper case": 5}.items():
        # TF-IDF knows only `bad` of the prompts, lower-cased; single letters are no words to it.
        unknown = [row for row in rows if row["transformation"] == name and not row["score"]]
        assert len(unknown) == number and {row["flagged"] for row in unknown} == {"0"}
        assert re.search(rf"^{name} .* {number}$", said, re.M)
    assert "The encoder reads nothing" not in said, "TF-IDF reads texts of any length"


def test_what_was_trained_on_is_left_out_with_its_group(tmp_path, folder, capsys):
    rows = [(t, 1, "") for t in UNSAFE] + [(t, 0, "") for t in SAFE]
    # The words of a prompt that was trained on, in another order and case.
    path = labelled(tmp_path / "own.csv", [*rows, ("XQX qx, Bad", 1, "g"), ("a mild evening", 0, "g")])
    said, _ = run(capsys, "--detector", folder, "--data", path)
    assert "10 unsafe and 6 safe prompts of own; 2 left out" in flat(said)


def refused(capsys, *arguments):
    assert evade.main([*map(str, arguments), "--quiet"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and said.out == ""
    return said.err


def test_bad_input_is_one_line(tmp_path, folder, asked, capsys):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("")
    base = ["--detector", folder, "--data", asked]
    trained = tmp_path / "trained.csv"
    only_safe = labelled(tmp_path / "fine.csv", [(text, 0, "") for text in SAFE])
    big = labelled(tmp_path / "big.csv", [(text, 1, "g") for text in UNSAFE])
    for arguments, message in (
        ([*base, "--limit", "0"], "--limit 0: give a whole number of at least 1"),
        ([*base, "--label", "2"], "--label 2: give 0"),
        ([*base, "--out", tmp_path / "pipe"], "is a pipe or a device; name a file"),
        ([*base, "--out", folder / "versions" / "1" / "card.md"], "is in the folder of the detector; name another"),
        ([*base, "--out", asked], "is an input, which it would replace; name another file"),
        ([*base, "--out", tmp_path / "text" / "out.csv"], "can't be written"),
        (["--detector", tmp_path / "none"], "no such folder; give a folder that fit wrote"),
        (["--detector", folder, "--data", "none.csv"], "no such file, nor a set, family or class of that name"),
        (["--detector", folder, "--data", trained], "left, as all 16 unsafe ones are near-duplicates"),
        (
            ["--detector", folder, "--data", only_safe],
            "no unsafe prompt is left, as there are none; name other prompts",
        ),
        (["--detector", folder, "--data", big, "--limit", "9"], "--limit 9: no group with an unsafe prompt is that"),
    ):
        assert message in refused(capsys, *arguments)
    assert (tmp_path / "asked.csv").read_text().startswith("prompt,label"), "nothing was replaced"


def test_what_a_detector_reads_in_sentences_is_not_hidden_by_padding(tmp_path, asked, capsys):
    out = tmp_path / "out.csv"
    said, table = run(capsys, "--detector", fitted(tmp_path, "--read", "sentences"), "--data", asked, "--out", out)
    assert "every text is read whole and by its sentences, and the highest score counts" in flat(said)
    assert table["padded"][0] == table["plain"][0] != "0 %" and table["padded"][4] == "0 %", "all of it is read"
