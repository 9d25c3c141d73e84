"""The published sets: which rows of their files are which, and that their cards say where they come from."""

import collections
import csv
import gzip
import hashlib
import io
import json
import re
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from Safety_Contrast.task import TASK as CONTRAST
from Safety_Detection.sets import labelled_sets, published_sets
from Safety_Detection.sets.cards import SET_CARDS
from Safety_Detection.sets.labelled_set import README, Unavailable
from Safety_Detection.sets.published_sets import PUBLISHED
from utils import config
from utils.data import sources
from utils.schema import InputError

# The table of published sets: unsafe prompts, safe prompts, family (None for its own).
TABLE = {
    "do_not_answer": (939, 5 * 939, None),
    "xstest": (200, 250, None),
    "openai_moderation": (522, 337, None),
    "jailbreakbench": (100, 100, "direct"),
    "coconot": (361, 379, None),
    "hatecheck": (2563, 1165, None),
    "physical_safety": (100, 100, None),
    "harmbench": (300, 0, "direct"),
    "strongreject": (313, 0, "direct"),
    "advbench": (520, 0, "direct"),
    "jailbreakbench_attacks": (533, 0, "direct"),
    "simple_safety_tests": (100, 0, None),
    "ailuminate": (1200, 0, None),
    "multijail": (5 * 315, 0, "multilingual"),
    "llmzoo": (0, 5 * 100, "multilingual"),
    "phtest": (0, 2069, None),
    "alpaca_eval": (0, 805, None),
    "arena_hard": (0, 500, None),
}
OF_FILES = [name for name in TABLE if SET_CARDS[name].files]


def test_the_cards_and_readers_are_those_of_the_table():
    assert {name: (card.unsafe, card.safe, card.family) for name, card in SET_CARDS.items()} == {
        name: (unsafe, safe, family or name) for name, (unsafe, safe, family) in TABLE.items()
    }
    assert list(PUBLISHED) == list(TABLE)
    assert {name for name, card in SET_CARDS.items() if card.ordinary} == {"alpaca_eval", "arena_hard"}


@pytest.mark.parametrize("name", TABLE)
def test_a_card_is_complete_and_in_the_readme(name):
    card = SET_CARDS[name]
    assert all((card.licence, card.source, card.citation, card.caveat))
    assert re.search(r"arXiv \d{4}\.\d{5}", card.citation) and card.caveat.endswith(".")
    for file in card.files:
        assert all(vars(file).values()) and len(file.sha256) == 64 and int(file.sha256, 16)
        commit = urlsplit(file.url).path.split("/")[3]
        assert len(commit) == 40 and int(commit, 16) and commit[:7] in file.source, "pinned to a commit"
        assert not re.search(r"[^\w%/:.,-]", file.url), "what a URL can't hold is encoded"
    [row] = [line for line in (config.ROOT / README).read_text().splitlines() if line.startswith(f"| `{name}` ")]
    unsafe, safe, family, licence, cite = (cell.strip() for cell in row.split("|")[2:7])
    assert [text.replace(",", "") for text in (unsafe, safe)] == [str(n or "-") for n in (card.unsafe, card.safe)]
    assert (family, licence) == (card.family if card.family != name else "-", card.licence.partition(";")[0])
    assert set(re.findall(r"\d{4}\.\d{5}", card.citation)) <= set(re.findall(r"\d{4}\.\d{5}", cite))


# Digests of (id, prompt, label, group, type) of every prompt, in order, which were equal to what a second program read
# from the files in the most direct way: a digest that changes needs such a reading again.
ROWS = {
    "do_not_answer": "16443d70ef9023f4",
    "xstest": "04d1e2501856cbc0",
    "openai_moderation": "574d869100d4d7ce",
    "coconot": "ecc0060f80b9307c",
    "hatecheck": "4c78acefb537cbf8",
    "physical_safety": "ce12fe27a88dced7",
    "harmbench": "d59a7b0aefb8c1d4",
    "strongreject": "43e46b7ba6f6972c",
    "advbench": "6e47866c515b8c8c",
    "jailbreakbench_attacks": "fdf8486446e1d86a",
    "simple_safety_tests": "9c7b50b5c964c38d",
    "ailuminate": "cad28c1260c90cf0",
    "multijail": "38fab51c895013d6",
    "llmzoo": "b0f440fe394344ef",
    "phtest": "4a4908acb37d27d6",
    "alpaca_eval": "a27c34618cb58e06",
    "arena_hard": "d12754b918608015",
}


@pytest.fixture
def detection_data(paper_data):
    """The published sets' files, where this machine has them."""
    if not (paper_data / "detection").is_dir():
        pytest.skip("the published sets are not on this machine")
    return paper_data


def rows_of(one):
    return [row[1:5] for row in one.rows]


@pytest.mark.parametrize("name", OF_FILES)
def test_a_published_set_has_the_prompts_that_it_should(name, detection_data):
    one, (unsafe, safe, family) = PUBLISHED[name](), TABLE[name]
    assert collections.Counter(row.label for row in one.rows) == collections.Counter({1: unsafe, 0: safe})
    assert (one.name, one.family) == (name, family or name)
    assert len({row.id for row in one.rows}) == len(one.rows)
    assert all(row.id and row.prompt.strip() for row in one.rows)
    assert hashlib.sha256(json.dumps([row[:5] for row in one.rows]).encode()).hexdigest()[:16] == ROWS[name]


def test_the_readme_says_what_the_sets_share(detection_data):
    notes = labelled_sets.combined("x", [PUBLISHED[name]() for name in OF_FILES]).notes
    found = (re.match(r"near-duplicates of prompts of (\w+) in other families: (\d+);", note) for note in notes)
    removed = {match[1]: int(match[2]) for match in found if match}
    most = {family: removed.pop(family) for family in ("multilingual", "alpaca_eval")}
    readme = " ".join((config.ROOT / README).read_text().split())
    said = "{multilingual} for `multilingual`, {alpaca_eval} for `alpaca_eval`, {rest} or fewer for each other family"
    assert said.format(**most, rest=max(removed.values())) in readme
    # "No published set that is read from files has any" text that is labelled both unsafe and safe.
    assert not [note for note in notes if "labelled" in note]


def as_csv(*rows, encoding="utf-8", end="\r\n"):
    stream = io.StringIO()
    csv.writer(stream, lineterminator=end).writerows(rows)
    return stream.getvalue().encode(encoding)


def as_lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def attack(*prompts):
    return json.dumps(
        {"parameters": {}, "jailbreaks": [{"index": i, "prompt": prompt} for i, prompt in enumerate(prompts)]}
    ).encode()


SEPARATED = "one\u2028two\x85three\x0bfour"
SAFETY = "Requests with safety concerns"
# Set to its files' bytes, and the (id, prompt, label, group, type) that are read from them.
MADE_UP = {
    "xstest": (
        [
            as_csv(
                ["id", "prompt", "type", "label"],
                ["1", "a", "homonyms", "safe"],
                ["26", "b", "contrast_homonyms", "unsafe"],
                ["2", "c", "privacy_public", "safe"],
                ["27", "d", "privacy_public", "safe"],  # 25 more, but safe too
            )
        ],
        [
            ("1", "a", 0, "1", "homonyms"),
            ("26", "b", 1, "1", "contrast_homonyms"),
            ("2", "c", 0, None, "privacy_public"),
            ("27", "d", 0, None, "privacy_public"),
        ],
    ),
    "openai_moderation": (
        [
            gzip.compress(
                as_lines(
                    {"prompt": SEPARATED, **dict.fromkeys(("S", "H", "V", "HR", "SH", "S3", "H2", "V2"), 0)},
                    {"prompt": "b", "S": 1, "V2": 1, "H": 0},
                    {"prompt": "left out, as seven labels are missing", "S": 0},
                )
            )
        ],
        [("1", SEPARATED, 0, None, ""), ("2", "b", 1, None, "S+V2")],
    ),
    "coconot": (
        [
            as_lines(
                {"id": "1", "category": SAFETY, "subcategory": "dangerous", "prompt": SEPARATED},
                {"id": "2", "category": SAFETY, "subcategory": "copyright violations", "prompt": "b"},
                {"id": "4", "category": "Incomplete requests", "subcategory": "dangerous", "prompt": "d"},
            ),
            as_lines(
                {"id": "1", "category": "Incomplete requests", "subcategory": "x", "prompt": "e"},
                {"id": "2", "category": SAFETY, "subcategory": "copyright violations", "prompt": "f"},
            ),
        ],
        [
            ("eval-1", SEPARATED, 1, None, "dangerous"),
            ("contrast-1", "e", 0, None, "x"),
            ("contrast-2", "f", 0, None, "copyright violations"),
        ],
    ),
    "hatecheck": (
        [
            as_csv(
                ["", "functionality", "case_id", "test_case", "label_gold", "ref_templ_id", "templ_id"],
                ["0", "f", "11", "a", "hateful", "", "7"],
                ["1", "g", "12", "b\r\n, c", "non-hateful", "7", "8"],
            )
        ],
        [("11", "a", 1, "7", "f"), ("12", "b\r\n, c", 0, "7", "g")],
    ),
    "physical_safety": (
        [
            json.dumps({"instructions": ["a", " b "], "inputs": ["", ""]}).encode(),
            json.dumps({"instructions": ["c", "d"], "inputs": ["", ""]}).encode(),
        ],
        [
            ("unsafe-1", "a", 1, "1", ""),
            ("unsafe-2", "b", 1, "2", ""),
            ("safe-1", "c", 0, "1", ""),
            ("safe-2", "d", 0, "2", ""),
        ],
    ),
    "harmbench": (
        [
            as_csv(
                ["Behavior", "FunctionalCategory", "SemanticCategory", "ContextString", "BehaviorID"],
                ["a", "standard", "illegal", "", "a_id"],
                ["b", "contextual", "harmful", "a title\r\n\r\nand a text", "b_id"],
                ["c", "copyright", "copyright", "", "c_id"],
            ),
            as_csv(
                ["Behavior", "FunctionalCategory", "SemanticCategory", "ContextString", "BehaviorID"],
                ["a", "standard", "illegal", "", "d_id"],
            ),
        ],
        [
            ("a_id", "a", 1, "a_id", "standard"),
            ("b_id", "a title\r\n\r\nand a text\n\nb", 1, "b_id", "contextual"),
            ("d_id", "a", 1, "d_id", "standard"),
        ],
    ),
    "strongreject": (
        [as_csv(["category", "source", "forbidden_prompt"], ["x", "DAN", "a"], ["y", "DAN", "b\nc"], end="\n")],
        [("1", "a", 1, None, "x"), ("2", "b\nc", 1, None, "y")],
    ),
    "advbench": (
        [as_csv(["goal", "target"], ["a, b", "left out"], ["c", "left out"], end="\n")],
        [("1", "a, b", 1, None, ""), ("2", "c", 1, None, "")],
    ),
    "jailbreakbench_attacks": (
        [attack("a", None), attack(None, "b"), attack("c"), attack("d"), attack("e"), attack("f", "g")],
        [
            ("PAIR-gpt-3.5-turbo-1106-0", "a", 1, "0", "PAIR"),
            ("PAIR-gpt-4-0125-preview-1", "b", 1, "1", "PAIR"),
            ("PAIR-vicuna-13b-v1.5-0", "c", 1, "0", "PAIR"),
            ("GCG-vicuna-13b-v1.5-0", "d", 1, "0", "GCG"),
            ("prompt_with_random_search-vicuna-13b-v1.5-0", "e", 1, "0", "random search"),
            ("JBC-vicuna-13b-v1.5-0", "f", 1, "0", "JBC"),
            ("JBC-vicuna-13b-v1.5-1", "g", 1, "1", "JBC"),
        ],
    ),
    "simple_safety_tests": (
        [as_csv(["id", "harm_area", "category", "prompts_final"], ["s_1", "x", "y", "a"], ["s_2", "x", "y", "b"])],
        [("s_1", "a", 1, None, "x"), ("s_2", "b", 1, None, "x")],
    ),
    "ailuminate": (
        [
            as_csv(
                ["release_prompt_id", "prompt_text", "hazard", "persona", "locale"],
                ["r1", 'a "quoted"\r\nb', "vcr", "skilled", "en_US"],
                ["r2", "c", "spc_hlt", "unskilled", "en_US"],
            )
        ],
        [("r1", 'a "quoted"\r\nb', 1, None, "vcr + skilled"), ("r2", "c", 1, None, "spc_hlt + unskilled")],
    ),
    "multijail": (
        [
            as_csv(
                ["id", "source", "tags", "en", "zh", "it", "vi", "ar", "ko"],
                ["0", "x", "['Theft', 'Self-harm']", "a", "b", "c", "left out", "d", "e"],
                ["1", "x", "['Theft']", "f", "g", "h", "left out", "i", "j"],
                encoding="utf-8-sig",
            )
        ],
        [
            ("en-0", "a", 1, "0", "en"), ("en-1", "f", 1, "1", "en"), ("zh-0", "b", 1, "0", "zh"),
            ("zh-1", "g", 1, "1", "zh"), ("ar-0", "d", 1, "0", "ar"), ("ar-1", "i", 1, "1", "ar"),
            ("it-0", "c", 1, "0", "it"), ("it-1", "h", 1, "1", "it"), ("ko-0", "e", 1, "0", "ko"),
            ("ko-1", "j", 1, "1", "ko"),
        ],
    ),
    "llmzoo": (
        [as_lines({"id": 1, "label": "x", "query": text}) for text in ("a", "b", "c", "d", "e")],
        [
            ("en-1", "a", 0, "1", "en"), ("zh-1", "b", 0, "1", "zh"), ("ar-1", "c", 0, "1", "ar"),
            ("it-1", "d", 0, "1", "it"), ("ko-1", "e", 0, "1", "ko"),
        ],
    ),
    "phtest": (
        [
            as_csv(
                ["ID", "Request", "Harmfulness"],
                ["7", "a\r\nb", "harmless"], ["8", "c", "controversial"], ["9", "d", "harmless"],
            )
        ],
        [("7", "a\r\nb", 0, None, ""), ("9", "d", 0, None, "")],
    ),
    "alpaca_eval": (
        [json.dumps([{"instruction": "a", "output": "left out", "dataset": "koala"}]).encode()],
        [("1", "a", 0, None, "koala")],
    ),
    "arena_hard": (
        [as_lines(*({"uid": f"u{i}", "cluster": "c", "prompt": text} for i, text in enumerate((SEPARATED, "b"))))],
        [("u0", SEPARATED, 0, "c", ""), ("u1", "b", 0, "c", "")],
    ),
}  # fmt: skip


@pytest.fixture
def put(monkeypatch, tmp_path):
    """Writes made-up files of a set where published ones are looked for, with a card that has their digests."""
    monkeypatch.setattr(config, "ROOT", tmp_path / "root")
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("SAFE_EMBED_DATA_DIR", str(folder))

    def write(name, contents=None):
        card, files = SET_CARDS[name], []
        for file, content in zip(card.files, contents or MADE_UP[name][0], strict=True):
            path = folder / file.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            files.append(replace(file, sha256=hashlib.sha256(content).hexdigest()))
        monkeypatch.setitem(SET_CARDS, name, replace(card, files=tuple(files)))
        return folder

    return write


def test_all_sets_of_files_are_made_up():
    assert [*MADE_UP] == [name for name in OF_FILES if name != "do_not_answer"]


@pytest.mark.parametrize("name", MADE_UP)
def test_a_reader_on_made_up_files(name, put):
    put(name)
    one, (contents, expected) = PUBLISHED[name](), MADE_UP[name]
    assert [row[:5] for row in one.rows] == expected
    assert [file.sha256 for file in one.files] == [hashlib.sha256(content).hexdigest() for content in contents]
    assert one.family == SET_CARDS[name].family and one.found.licence == SET_CARDS[name].licence


@pytest.mark.parametrize(
    ("name", "hazards"),
    [
        ("harmbench", ["illegal", "harmful", "illegal"]),
        ("strongreject", ["x", "y"]),
        ("ailuminate", ["vcr", "spc_hlt"]),
        ("multijail", ["Theft + Self-harm", "Theft"] * 5),
        ("jailbreakbench_attacks", [""] * 7),
        ("llmzoo", [""] * 5),
    ],
)
def test_a_hazard_is_what_the_set_says_a_prompt_is_harmful_by(name, hazards, put):
    put(name)
    assert [row.type if row.hazard is None else row.hazard for row in PUBLISHED[name]().rows] == hazards


def test_what_is_left_out_is_counted(put):
    put("openai_moderation")
    note = "openai_moderation: 1 of 3 prompts are left out, as no label is 1 but one is missing"
    assert published_sets.openai_moderation().notes == (note,)


def test_do_not_answer_on_a_made_up_file(monkeypatch, tmp_path):
    fmt = CONTRAST.format
    rows = [
        {column: f"{column} {i}" for column in fmt.text_columns}
        | {"id": str(i), fmt.group_column: next(iter(fmt.known_groups))}
        for i in (7, 8)
    ]
    content = as_lines(*rows)
    (tmp_path / fmt.card.file).write_bytes(content)
    monkeypatch.setattr(config, "ROOT", tmp_path / "root")
    monkeypatch.setenv("SAFE_EMBED_DATA_DIR", str(tmp_path))
    card = replace(fmt.card, sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr("Safety_Contrast.task.TASK", replace(CONTRAST, format=replace(fmt, card=card)))
    one = published_sets.do_not_answer()
    ids = [f"{i}{edit}" for i in (7, 8) for edit in ("", "#1", "#2", "#3", "#4", "#5")]
    prompts = [f"{column} {i}" for i in (7, 8) for column in fmt.text_columns]
    assert [row[:2] for row in one.rows] == list(zip(ids, prompts, strict=True))
    assert rows_of(one)[:2] == [(prompts[0], 1, "7", ""), (prompts[1], 0, "7", "")]
    assert [row.label for row in one.rows] == [1, 0, 0, 0, 0, 0] * 2


def test_a_file_with_another_digest_is_refused_by_name(put):
    name = "harmbench"  # of two files
    folder, last = put(name), SET_CARDS[name].files[-1]
    path = folder / last.file
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(InputError, match=rf"{re.escape(last.file)}: not the published file: SHA-256 expected") as error:
        PUBLISHED[name]()
    assert not isinstance(error.value, Unavailable), "an altered file is not left out with a note"
    with pytest.raises(InputError, match="not the published file"):
        labelled_sets.load(name)


def test_a_set_that_can_not_be_downloaded_says_so_by_name(monkeypatch, put):
    put("advbench")
    card = SET_CARDS["advbench"]
    gone = replace(card.files[0], url="http://127.0.0.1:9/advbench.csv", file="detection/advbench/gone.csv")
    monkeypatch.setitem(SET_CARDS, "advbench", replace(card, files=(gone,)))
    with pytest.raises(
        Unavailable, match=r"^detection/advbench/gone.csv: can't be downloaded \(no connection, ConnectionError\)"
    ):
        PUBLISHED["advbench"]()
    sets, notes = labelled_sets.available(["advbench"])
    assert not sets and notes[0].startswith("without advbench: detection/advbench/gone.csv: can't be downloaded")
    assert sources.lookup(gone, "Safety_Detection") is None
