"""Labelled sets: what is unsafe, what belongs together, and what is refused."""

import collections
import csv
import hashlib
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from Safety_Detection.evaluate import TASK
from Safety_Detection.sets import labelled_sets, published_sets
from Safety_Detection.sets.cards import SET_CARDS
from Safety_Detection.sets.groups import NearTexts, joined
from Safety_Detection.sets.labelled_set import LabelledSet, Row, Unavailable
from Safety_Detection.sets.published_sets import PUBLISHED
from utils import config
from utils.data import sources
from utils.data.text import normalized
from utils.evaluation.run import show_data
from utils.schema import InputError


def overlap(left, right):
    a, b = (set(re.findall(r"\w+", normalized(text))) for text in (left, right))
    # As a fraction: 5 x common >= 4 x union.
    return normalized(left) == normalized(right) or (bool(a | b) and 5 * len(a & b) >= 4 * len(a | b))


def components(n, linked):
    """The groups of n items by the slow obvious way: walk from each item to all that it is linked with."""
    group = [None] * n
    for start in range(n):
        waiting = [start] if group[start] is None else []
        while waiting:
            i = waiting.pop()
            if group[i] is None:
                group[i] = start
                waiting += [j for j in range(n) if linked(i, j)]
    numbers = {}
    return [numbers.setdefault(g, len(numbers)) for g in group]


WORDS = st.lists(st.sampled_from("abcdefghij"), max_size=9).map(" ".join)


TEXTS = st.lists(WORDS | st.sampled_from(["?!", "? !", "A b", "a  B"]), max_size=14)


@given(TEXTS, st.data())
def test_near_duplicates_are_all_those_of_an_overlap_of_four_fifths(texts, data):
    found = NearTexts(texts)
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), unique=True).map(sorted)) if texts else []
    mine = [texts[i] for i in rows]
    # Links are between positions of the rows, and through none but them.
    expected = components(len(mine), lambda i, j: overlap(mine[i], mine[j]))
    assert joined(len(mine), found.links(np.array(rows, dtype=int))) == expected
    assert found.near(np.array(rows, dtype=int)).tolist() == [any(overlap(text, one) for one in mine) for text in texts]


def test_near_duplicates_by_hand():
    # 4 of 5 words are shared: 4/5. Of 3 and 4 words 3 are shared: 3/4.
    found = NearTexts(["a b c d", "a b c d e", "x y z", "x y z w", "One  two", "two ONE"])
    assert found.links(np.arange(6)) == [(4, 5), (0, 1)]
    assert found.links(np.array([5, 1, 3, 4])) == [(0, 3)], "positions, not texts"
    assert found.near(np.array([1, 4])).tolist() == [True, True, False, False, True, True]
    # a ... e shares 4 of 5 words with a ... d, as does a ... f 5 of 6 with a ... e, but a ... f 4 of 6 with a ... d.
    chain = NearTexts(["a b c d", "a b c d e", "a b c d e f"])
    assert chain.near(np.array([0])).tolist() == [True, True, False], "not through others"
    assert joined(3, chain.links(np.arange(3))) == [0, 0, 0], "through others"
    assert joined(2, chain.links(np.array([0, 2]))) == [0, 1], "not through texts that are not asked for"


def test_names_and_pairs_join_through_others():
    assert joined(5, [(1, 2)], ["x", "x", None, None, None]) == [0, 0, 0, 1, 2]
    assert joined(0, []) == [] and joined(2, []) == [0, 1]


def test_jailbreakbench_is_joined_on_its_index():
    rows = {s: [{"Index": i, "Goal": f"{s} {i}", "Category": "c"} for i in range(3)] for s in ("harmful", "benign")}
    one = published_sets.jailbreakbench_of(rows)
    assert [(row.label, row.group) for row in one.rows] == [(label, i) for label in (1, 0) for i in "012"]


def test_the_sample_has_two_sets_of_matched_prompts():
    dataset, found = labelled_sets.load("sample")
    assert (dataset.name, found.name, dataset.group_order) == ("sample", "sample", ("edits", "twins"))
    for name in dataset.group_order:
        rows = [i for i, its in enumerate(dataset.groups) if its == name]
        assert len(rows) >= 60
        pairs = collections.defaultdict(list)
        for i in rows:
            pairs[dataset.clusters[i]].append(dataset.labels[i])
        assert all(sorted(labels) == [0, 1] for labels in pairs.values()), "one of each class"
    assert len(set(map(normalized, dataset.texts["prompt"]))) == len(dataset)


def test_no_text_of_a_published_set_is_in_the_sample(paper_data):
    sets, _ = labelled_sets.available(list(SET_CARDS))
    published = {normalized(row.prompt) for one in sets for row in one.rows}
    assert len(published) > 939
    assert not published & {normalized(text) for text in labelled_sets.load("sample")[0].texts["prompt"]}


def table(tmp_path, rows, name="mine.csv"):
    path = tmp_path / name
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return str(path)


def rows_of(unsafe, safe):
    return [["prompt", "label"], *([f"u{i}", "unsafe"] for i in range(unsafe)), *([f"s{i}", "0"] for i in range(safe))]


def test_a_file_of_ones_own_with_and_without_groups_and_sets(tmp_path):
    dataset, _ = labelled_sets.load(table(tmp_path, rows_of(5, 7)))
    assert (dataset.name, dataset.group_order, sum(dataset.labels), len(dataset)) == ("mine", ("mine",), 5, 12)
    assert len(set(dataset.clusters)) == 12 and dataset.ids[0] == "mine:1"
    path = tmp_path / "two.jsonl"
    lines = [
        {"prompt": f"{s} {i} {'safe' if label else 'bad'}", "label": label, "group": i, "set": s}
        for s in ("a", "b")
        for i in range(5)
        for label in (0, 1)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    dataset, _ = labelled_sets.load(str(path))
    assert dataset.group_order == ("a", "b") and len(set(dataset.clusters)) == 10, "a group is of one set"


@pytest.mark.parametrize(
    ("unsafe", "safe"),
    [("1.0", "0.0"), ("TRUE", "False"), (" yes ", "No"), ("harmful", "Benign"), ("Unsafe", "SAFE")],
)
def test_labels_in_the_words_of_other_files(tmp_path, unsafe, safe):
    rows = [["prompt", "label"], *([f"text{i}", [safe, unsafe][i % 2]] for i in range(10))]
    assert labelled_sets.load(table(tmp_path, rows))[0].labels == (0, 1) * 5


def test_texts_with_both_labels_are_counted_and_named(tmp_path):
    # a and A are one text, labelled 1 and 0; so is c; b is labelled 1 twice.
    rows = [["id", "prompt", "label", "set"], ["1", "a", "1", "x"], ["2", "A ", "0", "x"], ["3", "b", "1", "x"]]
    rows += [["4", "B", "1", "x"], ["5", "c", "0", "x"], ["6", "c", "0", "x"], ["7", " c", "1", "x"]]
    rows += [["8", "a", "1", "y"], ["9", "b", "0", "y"]]
    rows += [[f"{s}{i}", f"{s}{i}", str(i % 2), s] for s in "xy" for i in range(10)]
    notes = labelled_sets.load(table(tmp_path, rows))[0].notes
    assert [note for note in notes if "labelled" in note] == [
        "x: texts labelled unsafe and safe: 2 (ids 1 and 2, 7 and 5)",
        # Of a, b and c two are in y: a with one of its labels, b with the other.
        "texts in both x and y: 2 (2 labelled differently)",
    ]
    rows += [[f"{i}{label}", f"n{i}", label, "x"] for i in range(20, 23) for label in "10"]
    notes = labelled_sets.load(table(tmp_path, rows))[0].notes
    assert "x: texts labelled unsafe and safe: 5 (ids 1 and 2, 7 and 5, 201 and 200, ...)" in notes


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            # Any two share 9 of 11 words: 0.82.
            [["prompt", "label"], *([f"They ask how to bake a very nice cake {i}", str(i % 2)] for i in range(40))],
            r"set 'mine': 1 group with unsafe prompts, fewer than the 5 folds \(mine: near-duplicates join its 40 "
            r"groups to 1\); add rows or leave it out",
        ),
        ([*rows_of(5, 5), ["text", "maybe"]], "row 11: the label is neither one of 1, .* nor one of 0, .*benign;"),
        ([*rows_of(5, 5), [" ", "1"]], "row 11: no text in 'prompt'"),
        ([["prompt", "label"]], "mine.csv: no rows"),
        ([["text", "label"], ["a", "1"]], r"no column 'prompt' \(found: text, label\)"),
        ([["id", "prompt", "label"], ["1", "a", "1"], ["1", "b", "0"]], "id 1 occurs 2 times"),
        ([["prompt", "label", "set"], ["a", "1", "x"], ["b", "0", "x -> y"]], "row 2: a set can't be called 'x -> y'"),
        ([["prompt", "label", "set"], ["a", "1", "x:"]], "row 1: a set can't be called 'x:'"),
        ([["prompt", "label", "set"], ["a", "1", "x | y"]], r"row 1: a set can't be called 'x \| y'"),
        *(
            ([["prompt", "label", "set"], ["a", "1", name]], f"row 1: a set can't be called '{name}'")
            for name in ("auto", "others", "direct", "multilingual", "unsafe", "safe", "advbench")
        ),
        (
            [["prompt"], ["a"]],
            "mine.csv: no column 'label'; add it, or say with --label 0 or --label 1 what all rows are",
        ),
        (
            [["prompt", "label", "family"], ["a", "1", "x"], ["b", "0", ""]],
            "mine.csv: set 'mine' has 2 families; give all its rows the same 'family'",
        ),
    ],
)
def test_what_is_refused(tmp_path, rows, message):
    with pytest.raises(InputError, match=message) as error:
        labelled_sets.load(table(tmp_path, rows))
    assert "\n" not in str(error.value) and "maybe" not in str(error.value)


@pytest.fixture
def stand_ins(monkeypatch):
    """Tiny sets in the place of the published ones, of the same names, families and classes, and which can't be had."""
    gone = set()

    def reader(card):
        def read():
            if card.name in gone:
                raise Unavailable(f"{card.name}: can't be downloaded")
            labels = [1] * 6 * bool(card.unsafe) + [0] * 6 * bool(card.safe)
            found = sources.Found("paper", config.ROOT / card.name, "0" * 64, "found", card.licence)
            rows = (Row(str(i), f"{card.name}{i}", label) for i, label in enumerate(labels))
            return LabelledSet(card.name, tuple(rows), (), found, family=card.family)

        return read

    for card in SET_CARDS.values():
        monkeypatch.setitem(PUBLISHED, card.name, reader(card))
    return gone


DIRECT = ["jailbreakbench", "harmbench", "strongreject", "advbench", "jailbreakbench_attacks"]
UNSAFE_ONLY = [*DIRECT[1:], "simple_safety_tests", "ailuminate", "multijail"]
SAFE_ONLY = ["llmzoo", "phtest", "alpaca_eval", "arena_hard"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("direct", DIRECT),
        ("unsafe", UNSAFE_ONLY),
        # A set that is named several ways is taken once, where it first occurs.
        ("harmbench, direct", ["harmbench", "jailbreakbench", "strongreject", "advbench", "jailbreakbench_attacks"]),
        ("multilingual,safe,multijail,unsafe", ["multijail", "llmzoo", *SAFE_ONLY[1:], *UNSAFE_ONLY[:-1]]),
        (",xstest,,", ["xstest"]),
        ("auto,xstest", list(SET_CARDS)),
    ],
)
def test_data_takes_names_families_and_classes_in_any_mix(data, expected, stand_ins):
    dataset, found = labelled_sets.load(data)
    assert list(dataset.group_order) == expected and dataset.notes == ()
    name = "+".join(part.strip() for part in data.split(",") if part)
    assert dataset.name == found.name == name
    assert dataset.family_of == {one: SET_CARDS[one].family for one in expected}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("xstest,advbench,xstest", "--data xstest,advbench,xstest: 'xstest' occurs twice; name each once"),
        ("{mine},{more}", ": 'mine' occurs twice"),
        (
            " , ",
            r"--data  , : names no set; give auto, paper, sample, a file, or published sets: do_not_answer, .*safe$",
        ),
        (
            "xstest,indirect",
            "no such file, nor a set, family or class of that name; give auto, .*: direct, multilingual, ",
        ),
    ],
)
def test_what_is_named_wrongly(data, message, tmp_path, stand_ins):
    mine = table(tmp_path, rows_of(5, 7))
    (tmp_path / "more").mkdir()
    with pytest.raises(InputError, match=message) as error:
        labelled_sets.load(data.format(mine=mine, more=table(tmp_path, rows_of(5, 7), "more/mine.csv")))
    assert "\n" not in str(error.value)


def test_the_family_of_each_set_of_a_file(tmp_path):
    rows = [["prompt", "label", "set", "family"]]
    for one, family in (("a", " direct "), ("b", "xstest"), ("c", ""), ("d", "")):
        rows += [[f"{one}{i}", "0", one, family] for i in range(2)]
    dataset, _ = labelled_sets.load(table(tmp_path, rows))
    assert dataset.family_of == {"a": "direct", "b": "xstest", "c": "c", "d": "d"}
    assert dataset.ordinary == ["a", "b", "c", "d"], "safe sets of files are ordinary traffic"


@pytest.mark.parametrize("label", [0, 1])
def test_a_file_without_labels_is_all_of_the_given_class(label, tmp_path):
    bare = table(tmp_path, [["prompt"], *([f"text{i}"] for i in range(3))])
    labelled = table(tmp_path, rows_of(5, 7), "other.csv")
    dataset, _ = labelled_sets.load(f"{bare},{labelled}", label=label)
    assert dataset.labels == (label,) * 3 + (1,) * 5 + (0,) * 7, "a file's own labels are kept"
    assert dataset.of_kind(["safe", "unsafe"][label]) == ["mine"] and dataset.of_kind("two") == ["other"]
    assert f"other.csv: column 'label' says what its rows are, not --label {label}" in dataset.notes
    like = table(tmp_path, [["prompt", "Is unsafe?"], *([f"text{i}", i % 2] for i in range(3))], "like.csv")
    assert labelled_sets.load(like, label=label)[0].notes == (
        f"like.csv: column 'Is unsafe?' is not read, as --label {label} says what all rows are",
    )
    assert labelled_sets.load(bare, label=label)[0].notes == ()
    with pytest.raises(InputError, match=r"^mine\.csv: no column 'label'; add it, or say with --label 0 or --label 1"):
        labelled_sets.load(f"{labelled},{bare}")
    late = tmp_path / "late.jsonl"
    late.write_text("\n".join(map(json.dumps, [{"prompt": "a"}] * 200 + [{"prompt": "b", "label": 1}])))
    with pytest.raises(InputError, match=r"line 201: has 'label', which the rows before it lack"):
        labelled_sets.load(str(late), label=label)


def test_twins_are_the_prompts_of_a_group_in_which_one_class_is_alone(tmp_path):
    groups = {"one": "10", "edits": "1000", "unsafe edits": "0111", "both": "1100", "none": "00", "": "10"}
    rows = [["id", "prompt", "label", "group"]]
    rows += [[f"{g}{i}", f"{g} {i}x", label, g] for g, labels in groups.items() for i, label in enumerate(labels)]
    rows += [[f"{label}{i}", f"{label}{i}", label, f"{label}{i}"] for i in range(5) for label in "10"]
    dataset, _ = labelled_sets.load(table(tmp_path, rows))
    assert {(dataset.ids[unsafe], dataset.ids[safe]) for unsafe, safe in dataset.twins} == {
        ("mine:one0", "mine:one1"),
        *(("mine:edits0", f"mine:edits{i}") for i in (1, 2, 3)),
        *((f"mine:unsafe edits{i}", "mine:unsafe edits0") for i in (1, 2, 3)),
    }


def test_near_duplicates_of_other_families_are_counted(tmp_path):
    # Of x and y two pairs share 4 of 5 words, and two prompts of y are near one of x; x and z are of one family.
    texts = {
        "x": ["a b c d", "e f g h"],
        "y": ["a b c d e", "e f g h", "E f g  h"],
        "z": ["a b c d"],
    }
    rows = [["prompt", "label", "set", "family"]]
    rows += [[text, "1", one, "f" if one in "xz" else ""] for one, mine in texts.items() for text in mine]
    dataset, _ = labelled_sets.load(table(tmp_path, rows))
    assert dataset.notes == (
        "y: near-duplicates join its 3 groups to 2",
        "texts in both x and y: 1",
        "texts in both x and z: 1",
        "near-duplicates of prompts of f in other families: 3; detectors tested on it are trained without them",
        "near-duplicates of prompts of y in other families: 3; detectors tested on it are trained without them",
    )
    # Groups are of one set each, whatever texts the sets share.
    assert dataset.clusters == (0, 1, 2, 3, 3, 4)


def test_a_limit_takes_whole_groups(tmp_path):
    dataset, _ = labelled_sets.load("sample", 30)
    assert len(dataset) <= 30 and all(dataset.clusters.count(c) == 2 for c in dataset.clusters)
    assert labelled_sets.load("sample", 30)[0].ids == dataset.ids
    whole = labelled_sets.load("sample")[0].ids
    for name in dataset.group_order:
        first, mine = ([item for item in ids if item.startswith(f"{name}:")] for ids in (whole, dataset.ids))
        assert mine != first[: len(mine)], "not the first of the file"
    with pytest.raises(InputError, match="fewer than the 5 folds; raise --limit above 8"):
        labelled_sets.load("sample", 8)


def test_a_limit_leaves_no_set_without_its_classes(tmp_path):
    # All prompts of `big` are one group, which does not fit into 20 rows.
    big = table(tmp_path, [["prompt", "label", "group"], *([f"b{i}", "1", "g"] for i in range(30))], "big.csv")
    mine = table(tmp_path, rows_of(9, 9))
    with pytest.raises(InputError, match="set 'big': none of its groups is left; raise --limit above 20"):
        labelled_sets.load(f"{mine},{big}", 20)
    # In turn: one unsafe prompt of `mine`, which would leave it with one class, and one of `one`.
    one = table(tmp_path, [["prompt", "label"], *([f"o{i}", "1"] for i in range(9))], "one.csv")
    with pytest.raises(InputError, match="set 'mine': 1 group with unsafe prompts, fewer than the 5 folds; raise"):
        labelled_sets.load(f"{mine},{one}", 2)


def test_the_data_sheet_counts_and_describes_sets(tmp_path, capsys, stand_ins):
    rows = [["prompt", "label", "family"], *([f"m{i}", "1", "f"] for i in range(3))]
    assert show_data(TASK, ["--data", f"{table(tmp_path, rows)},physical_safety,multilingual,safe"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert said.startswith("data: mine+physical_safety+multilingual+safe: 45 prompts of 7 sets\n")
    for row in (
        ["mine", "3", "-", "3", "f", "not known here"],
        ["physical_safety", "6", "6", "12", "-", "CC-BY-NC-4.0"],
        ["multijail", "6", "-", "6", "multilingual", "MIT"],
        ["llmzoo", "-", "6", "6", "multilingual", "CC-BY-NC-4.0"],
    ):
        assert re.search("^" + " +".join(map(re.escape, row)) + "$", said, re.MULTILINE), row
    plain = " ".join(said.split())
    for name in ("physical_safety", "multijail", "llmzoo", *SAFE_ONLY):
        card = SET_CARDS[name]
        assert f"{name}: {card.source}. {card.citation}. Licence: {card.licence}. {card.caveat}" in plain
    digest = hashlib.sha256((tmp_path / "mine.csv").read_bytes()).hexdigest()
    assert f"file mine.csv, sha256 {digest}" in plain
    assert show_data(TASK, ["--data", str(tmp_path / "mine.csv")]) == 0
    assert "data: mine: 3 prompts of 1 set\n" in capsys.readouterr().out
