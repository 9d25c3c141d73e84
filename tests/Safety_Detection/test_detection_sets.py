"""Labelled sets: what is unsafe, what belongs together, and what is refused."""

import collections
import csv
import gzip
import json
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from Safety_Detection import labelled_sets, published_sets
from Safety_Detection.evaluate import TASK
from Safety_Detection.groups import joined, near_duplicates
from utils import config
from utils.data import catalogue, sources
from utils.data.text import normalized
from utils.evaluation.run import show_data
from utils.schema import InputError


@pytest.mark.parametrize("card", [catalogue.XSTEST, catalogue.OPENAI_MODERATION], ids=lambda card: card.file)
def test_a_card_is_complete_and_in_the_readme(card):
    assert all(vars(card).values()) and len(card.sha256) == 64 and int(card.sha256, 16)
    readme = (config.ROOT / published_sets.README).read_text()
    assert card.sha256 in readme and card.file in readme and card.licence in readme


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


@given(st.lists(WORDS | st.sampled_from(["?!", "? !", "A b", "a  B"]), max_size=14))
def test_near_duplicates_are_all_those_of_an_overlap_of_four_fifths(texts):
    expected = components(len(texts), lambda i, j: overlap(texts[i], texts[j]))
    assert joined(len(texts), near_duplicates(texts)) == expected


def test_near_duplicates_by_hand():
    # 4 of 5 words are shared: 4/5. Of 3 and 4 words 3 are shared: 3/4.
    assert near_duplicates(["a b c d", "a b c d e", "x y z", "x y z w"]) == [(0, 1)]
    assert near_duplicates(["One  two", "two ONE"]) == [(0, 1)]


def test_names_and_pairs_join_through_others():
    assert joined(5, [(1, 2)], ["x", "x", None, None, None]) == [0, 0, 0, 1, 2]
    assert joined(0, []) == [] and joined(2, []) == [0, 1]


ITEMS = st.integers(0, 11)


@given(st.lists(st.tuples(ITEMS, ITEMS), max_size=12), st.lists(st.sampled_from([None, "x", 1, (2,)]), max_size=12))
def test_groups_are_numbered_in_the_order_in_which_they_first_occur(pairs, names):
    names = [*names, *[None] * (12 - len(names))]

    def linked(i, j):
        return (i, j) in pairs or (j, i) in pairs or (names[i] is not None and names[i] == names[j])

    assert joined(12, pairs, names) == components(12, linked)


def test_do_not_answer_keeps_an_original_with_its_edits(paper_data):
    dataset, _ = labelled_sets.load("do_not_answer")
    assert collections.Counter(dataset.labels) == {1: 939, 0: 4695}
    cluster = dict(zip(dataset.ids, dataset.clusters, strict=True))
    assert all(cluster[f"do_not_answer:{i}"] == cluster[f"do_not_answer:{i}#{j}"] for i in (0, 7) for j in range(1, 6))
    assert cluster["do_not_answer:433"] == cluster["do_not_answer:434"], "one text"


def test_xstest_pairs_are_those_of_its_types(paper_data):
    one = published_sets.xstest()
    assert collections.Counter(one.labels) == {0: 250, 1: 200}
    with (paper_data / "xstest_prompts.csv").open(encoding="utf-8") as stream:
        type_of = {row["id"]: (row["type"], row["label"]) for row in csv.DictReader(stream)}
    pairs = collections.defaultdict(list)
    for item, name in zip(one.ids, one.names, strict=True):
        pairs[name].append(type_of[item])
    alone = collections.Counter(pairs.pop(None))
    assert alone == {("nons_group_real_discr", "safe"): 25, ("privacy_public", "safe"): 25}
    assert len(pairs) == 200
    kinds = {tuple(sorted(pair)) for pair in pairs.values()}
    assert kinds == {
        tuple(sorted([(safe, "safe"), (f"contrast_{contrast or safe}", "unsafe")]))
        for safe, contrast in {
            "homonyms": "", "figurative_language": "", "safe_targets": "", "safe_contexts": "", "definitions": "",
            "real_group_nons_discr": "discr", "historical_events": "", "privacy_fictional": "privacy",
        }.items()
    }  # fmt: skip


def test_the_moderation_set_by_the_slow_way(paper_data):
    one = published_sets.openai_moderation()
    expected = {}
    with gzip.open(paper_data / "samples-1680.jsonl.gz", "rt", encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            values = [json.loads(line).get(k, "missing") for k in ("S", "H", "V", "HR", "SH", "S3", "H2", "V2")]
            if any(v == 1 for v in values):
                expected[str(number)] = 1
            elif all(v == 0 for v in values):
                expected[str(number)] = 0
    assert dict(zip(one.ids, one.labels, strict=True)) == expected
    assert one.notes[0].startswith(f"openai_moderation: {1680 - len(expected)} of 1680 prompts")


def test_jailbreakbench_is_joined_on_its_index():
    rows = {s: [{"Index": i, "Goal": f"{s} {i}", "Category": "c"} for i in range(3)] for s in ("harmful", "benign")}
    one = published_sets.jailbreakbench_of(rows)
    assert (one.labels, one.names) == ([1, 1, 1, 0, 0, 0], ["0", "1", "2"] * 2)


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
    published = {normalized(text) for text in labelled_sets.load("paper")[0].texts["prompt"]}
    assert not published & {normalized(text) for text in labelled_sets.load("sample")[0].texts["prompt"]}


def test_what_auto_takes_where_the_published_sets_are_not(monkeypatch):
    def missing(card, folder):
        raise InputError(f"{card.file}: can't be downloaded")

    monkeypatch.setattr(sources, "lookup", lambda card, folder: None)
    monkeypatch.setattr(sources, "published", missing)
    assert labelled_sets.load("auto")[0].name == "sample"
    with pytest.raises(InputError, match=r"contrast_parsed.jsonl: can't be downloaded"):
        labelled_sets.load("paper")


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
    [("1.0", "0.0"), ("TRUE", "False"), (" yes ", "No"), ("harmful", "Benign"), ("Unsafe", "SAFE"), ("1", "0")],
)
def test_labels_in_the_words_of_other_files(tmp_path, unsafe, safe):
    rows = [["prompt", "label"], *([f"text{i}", [safe, unsafe][i % 2]] for i in range(10))]
    assert labelled_sets.load(table(tmp_path, rows))[0].labels == (0, 1) * 5


@pytest.mark.parametrize(("unsafe", "safe"), [(1.0, 0.0), (True, False), (1, 0.0), ("yes", False)])
def test_labels_of_json_need_not_be_texts(tmp_path, unsafe, safe):
    path = tmp_path / "mine.jsonl"
    lines = [json.dumps({"prompt": f"text{i}", "label": [safe, unsafe][i % 2]}) for i in range(10)]
    path.write_text("\n".join(lines))
    assert labelled_sets.load(str(path))[0].labels == (0, 1) * 5
    for wrong in ("null", "2", "NaN", "[1]", '""'):
        path.write_text("\n".join([*lines, f'{{"prompt": "text", "label": {wrong}}}']))
        with pytest.raises(InputError, match="row 11"):
            labelled_sets.load(str(path))


def test_a_file_is_known_by_its_whole_name(tmp_path):
    files = [table(tmp_path, rows_of(5, 7), f"a_1.0_{language}.csv") for language in ("en", "fr")]
    dataset, _ = labelled_sets.load(",".join(files))
    assert (dataset.name, dataset.group_order) == ("a_1.0_en+a_1.0_fr", ("a_1.0_en", "a_1.0_fr"))
    for name in (".csv", ".x.csv"):
        with pytest.raises(InputError, match="rename it"):
            labelled_sets.load(table(tmp_path, rows_of(5, 7), name))


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
        "texts in both x and y: 2 (2 labelled differently); a detector that is trained on one of the two and tested on "
        "the other is trained without them",
    ]
    rows += [[f"{i}{label}", f"n{i}", label, "x"] for i in range(20, 23) for label in "10"]
    notes = labelled_sets.load(table(tmp_path, rows))[0].notes
    assert "x: texts labelled unsafe and safe: 5 (ids 1 and 2, 7 and 5, 201 and 200, ...)" in notes


@pytest.mark.parametrize("column", ["prompt", "id", "group", "set", "type", "label"])
def test_half_a_character_is_refused(tmp_path, column):
    path = tmp_path / "mine.jsonl"
    row = {"id": "1", "prompt": "a", "label": "1", "group": "g", "set": "s", "type": "t"}
    path.write_text("\n".join(json.dumps(one) for one in (row, {**row, "id": "2"} | {column: "b \ud800 c"})))
    with pytest.raises(InputError, match=rf"mine\.jsonl: row 2 \(.* 2\): '{column}' holds half a character"):
        labelled_sets.load(str(path))


def test_results_of_the_sample_and_more_are_not_the_samples(tmp_path):
    sample = str(config.ROOT / "Safety_Detection" / "sample.csv")
    mine = table(tmp_path, rows_of(5, 7))
    assert [labelled_sets.load(data)[0].name for data in (sample, f"{sample},{mine}", f"{mine},{sample}")] == [
        "sample", "sample+mine", "mine+sample",
    ]  # fmt: skip
    with pytest.raises(InputError, match="results of 'others' are those of another dataset"):
        labelled_sets.load(table(tmp_path, rows_of(5, 7), "others.csv"))


def test_texts_of_two_sets_are_counted(tmp_path):
    one, other = table(tmp_path, rows_of(5, 7), "one.csv"), table(tmp_path, rows_of(9, 6), "other.csv")
    # u0 to u4 and s0 to s5 are in both.
    [note] = labelled_sets.load(f"{one},{other}")[0].notes
    assert note.startswith("texts in both one and other: 11; a detector that is trained on one of the two and tested")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (rows_of(6, 0), "set 'mine': has no safe prompt, but a detector needs both classes"),
        (
            # Any two share 9 of 11 words: 0.82.
            [["prompt", "label"], *([f"They ask how to bake a very nice cake {i}", str(i % 2)] for i in range(40))],
            r"set 'mine': 1 group with unsafe prompts, fewer than the 5 folds \(mine: near-duplicates join its 40 "
            r"groups to 1\); add rows or leave it out",
        ),
        (rows_of(4, 9), "set 'mine': 4 groups with unsafe prompts, fewer than the 5 folds"),
        ([*rows_of(5, 5), ["text", "maybe"]], "row 11: the label is neither one of 1, .* nor one of 0, .*benign;"),
        ([*rows_of(5, 5), ["text", ""]], "row 11: the label is neither"),
        ([*rows_of(5, 5), [" ", "1"]], "row 11: no text in 'prompt'"),
        ([*rows_of(5, 5), ["\u200b\u2060 \ufeff", "1"]], "row 11: no text in 'prompt'"),
        ([["prompt", "label"]], "mine.csv: no rows"),
        ([["text", "label"], ["a", "1"]], r"no column 'prompt' \(found: text, label\)"),
        ([["id", "prompt", "label"], ["1", "a", "1"], ["1", "b", "0"]], "id 1 occurs 2 times"),
        ([["prompt", "label", "set"], ["a", "1", "x"], ["b", "0", "x -> y"]], "row 2: a set can't be called 'x -> y'"),
        ([["prompt", "label", "set"], ["a", "1", "x"], ["b", "0", "x ->"]], "row 2: a set can't be called 'x ->'"),
        ([["prompt", "label", "set"], ["a", "1", "x:"]], "row 1: a set can't be called 'x:'"),
        ([["prompt", "label", "set"], ["a", "1", "others"]], "row 1: a set can't be called 'others'"),
        ([["prompt", "label", "set"], ["a", "1", "xstest"]], "row 1: a set can't be called 'xstest'"),
    ],
)
def test_what_is_refused(tmp_path, rows, message):
    with pytest.raises(InputError, match=message) as error:
        labelled_sets.load(table(tmp_path, rows))
    assert "\n" not in str(error.value) and "maybe" not in str(error.value)


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


def test_build_data_says_what_there_is(tmp_path, capsys):
    assert show_data(TASK, ["--data", "sample"]) == 0
    said = capsys.readouterr().out
    assert "SAMPLE: 128 prompts of 2 sets" in said and "32 unsafe, 32 safe, 32 groups" in said
    assert show_data(TASK, ["--data", "nothing.csv"]) == 2
    assert "no such file, nor a set of that name" in capsys.readouterr().err
    os.mkfifo(tmp_path / "pipe.csv")
    assert show_data(TASK, ["--data", str(tmp_path / "pipe.csv")]) == 2
    assert "is a pipe or a device, which can be read only once" in capsys.readouterr().err
