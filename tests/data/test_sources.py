"""Finding, verifying and validating data; nothing leaves the machine."""

import hashlib
from dataclasses import replace

import pytest
from file_server import FileServer

from Safety_Challenging.task import FORMAT as CHALLENGING_FORMAT
from Safety_Contrast.task import FORMAT as CONTRAST_FORMAT
from Safety_Taxonomy.task import FORMAT as TAXONOMY_FORMAT
from utils import config
from utils.data.loading import load
from utils.data.sources import download
from utils.schema import InputError

FORMATS = [CHALLENGING_FORMAT, CONTRAST_FORMAT, TAXONOMY_FORMAT]
GOOD = "id,types_of_harm,question\n1,a,first\n2,a,second\n3,b,third\n4,b,fourth\n"


def taxonomy_file(tmp_path, text, name="mine.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return str(path)


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.folder)
def test_a_data_card_is_complete(fmt):
    card = fmt.card
    assert all(vars(card).values())
    assert len(card.sha256) == 64 and int(card.sha256, 16)
    commit = card.url.split("Safe-Embed/")[1].split("/")[0]
    assert len(commit) == 40 and int(commit, 16), "the download is pinned to a commit"
    readme = (config.ROOT / fmt.readme).read_text()
    assert card.sha256 in readme and fmt.group_column in readme


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.folder)
def test_the_paper_file_is_found_by_lookup_and_verified(fmt, paper_data):
    dataset, found = load(fmt, "auto")
    assert (found.name, dataset.name, len(dataset)) == ("paper", "paper", fmt.card.rows)
    assert dataset.files[0].sha256 == fmt.card.sha256 == hashlib.sha256(found.path.read_bytes()).hexdigest()
    assert dataset.group_order == tuple(fmt.known_groups.values())


def test_known_oddities_of_the_paper_data_are_kept_and_told(paper_data):
    challenging, _ = load(CHALLENGING_FORMAT, "paper")
    assert challenging.notes == (
        "1 of 250 rows had white space around a text; it was stripped",
        "3 of 250 rows repeat an earlier 'unsafe_prompt'; they are kept",
    )
    taxonomy, _ = load(TAXONOMY_FORMAT, "paper")
    question = dict(zip(taxonomy.ids, taxonomy.texts["question"], strict=True))
    assert question["433"] == question["434"]
    contrast, _ = load(CONTRAST_FORMAT, "paper")
    assert contrast.texts["original_prompt"] == taxonomy.texts["question"]
    assert contrast.notes == (
        "6 of 939 rows had white space around a text; it was stripped",
        "1 of 939 rows repeat an earlier 'original_prompt'; they are kept",
    ), "the 69 edits that two originals share are no originals"


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.folder)
def test_the_bundled_sample_is_in_the_papers_groups(fmt):
    dataset, found = load(fmt, "sample")
    assert found.name == dataset.name == "sample"
    assert dataset.group_order == tuple(fmt.known_groups.values())
    least = 6 if fmt is CHALLENGING_FORMAT else 12
    assert all(dataset.groups.count(group) >= least for group in dataset.group_order)
    texts = [text for column in dataset.texts.values() for text in column]
    assert len({text.lower() for text in texts}) == len(texts), "no text stands twice"
    assert not dataset.notes


def test_no_text_of_the_paper_stands_in_the_sample(paper_data):
    def plain(data):
        columns = [column for fmt in FORMATS for column in load(fmt, data)[0].texts.values()]
        return {" ".join(text.lower().split()) for column in columns for text in column}

    assert not plain("paper") & plain("sample")


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A taxonomy format whose file lies on a loopback server, in a repository with nothing downloaded."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "do_not_answer.csv").write_text(GOOD)
    server = FileServer(folder)
    monkeypatch.setattr(config, "ROOT", tmp_path / "root")
    sample = config.ROOT / "Safety_Taxonomy" / "sample.csv"
    sample.parent.mkdir(parents=True)
    sample.write_text(GOOD)
    card = replace(
        TAXONOMY_FORMAT.card,
        url=f"{server.url}/do_not_answer.csv",
        sha256=hashlib.sha256(GOOD.encode()).hexdigest(),
        rows=4,
    )
    yield replace(TAXONOMY_FORMAT, card=card)
    server.server.shutdown()


def test_a_download_is_verified_and_kept(served):
    dataset, found = load(served, "auto")
    assert (dataset.name, found.how) == ("paper", "downloaded")
    assert found.path == config.ROOT / "Safety_Taxonomy" / "data" / "do_not_answer.csv"
    assert load(served, "auto")[1].how == "found"


def test_an_altered_download_is_refused_and_not_kept(served):
    wrong = replace(served, card=replace(served.card, sha256="0" * 64))
    with pytest.raises(InputError, match=r"published SHA-256 \(000000000000\.\.\.\)"):
        load(wrong, "paper")
    assert not list((config.ROOT / "Safety_Taxonomy" / "data").iterdir())


def test_a_setting_that_keeps_a_download_from_being_made_is_named(monkeypatch, tmp_path):
    card = replace(CHALLENGING_FORMAT.card, url="https://127.0.0.1:9/xstest_aug.csv")
    monkeypatch.setenv("HTTPS_PROXY", "foo://user:secret@x")
    with pytest.raises(InputError, match=r"^xstest_aug\.csv: can't be downloaded \(no connection, \w+\); connect"):
        download(card, tmp_path)
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent.pem")
    with pytest.raises(InputError, match="REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE must name a file with certificates"):
        download(card, tmp_path)


@pytest.mark.parametrize(("url", "reason"), [("http://127.0.0.1:9/x", "no connection"), ("{}x", "HTTP 404")])
def test_without_the_paper_file_auto_takes_the_sample_and_paper_fails(served, url, reason):
    gone = replace(served, card=replace(served.card, url=url.format(served.card.url), sha256="1" * 64))
    dataset, found = load(gone, "auto")
    assert dataset.name == found.name == "sample"
    assert reason in found.how
    with pytest.raises(InputError, match=f"{reason}.*SAFE_EMBED_DATA_DIR.*--data sample"):
        load(gone, "paper")


def test_a_truncated_file_in_the_lookup_path_is_refused_with_both_digests(served, monkeypatch, tmp_path):
    found = tmp_path / "found"
    found.mkdir()
    (found / "do_not_answer.csv").write_text(GOOD[:40])
    monkeypatch.setenv("SAFE_EMBED_DATA_DIR", str(found))
    is_there = hashlib.sha256(GOOD[:40].encode()).hexdigest()[:12]
    for data in ("auto", "paper"):
        with pytest.raises(InputError, match=f"expected {served.card.sha256[:12]}.*found {is_there}.*40 bytes"):
            load(served, data)


def test_a_given_file_with_the_papers_bytes_is_the_papers(served, tmp_path):
    assert load(served, taxonomy_file(tmp_path, GOOD))[0].name == "paper"


PAIRS = "id,type,safe_prompt,unsafe_prompt\n"

EQUAL = "rows have an 'unsafe_prompt' that equals the 'safe_prompt' of"

SWAPPED = "one of each two may have its columns swapped; they are kept"


@pytest.mark.parametrize(
    ("rows", "notes"),
    [
        # Columns are read by name, in any order. Case and spacing within a text make it a different one.
        ("1,a,s,u\n2,a,U,u  x\n3,b,u x,v\n4,b,t,w\n", ()),
        # Row 2 is identical once it is stripped; row 3 has its text as safe prompt of a different one.
        (
            "1,a,s,u\n2,a,v,v \n3,b,v,w\n4,b,t,x\n",
            (
                "1 of 4 rows had white space around a text; it was stripped",
                f"1 of 4 {EQUAL} the same row (id 2); they are kept",
                f"1 of 4 {EQUAL} another row (ids 2 and 3); {SWAPPED}",
            ),
        ),
        # Rows 1 and 4, 2 and 3, 5 and 6 have each other's texts, and 7's unsafe prompt is safe in 8 and 9: 6 + 1 rows.
        (
            "1,a,s,u\n2,a,t,v\n3,a,v,t\n4,a,u,s\n5,b,w,x\n6,b,x,w\n7,b,q,y\n8,b,y,z\n9,b,y,r\n",
            (f"7 of 9 {EQUAL} another row (ids 1 and 4, 2 and 3, 5 and 6, ...); {SWAPPED}",),
        ),
    ],
)
def test_texts_that_are_unsafe_and_safe_are_counted(tmp_path, rows, notes):
    dataset, _ = load(CHALLENGING_FORMAT, taxonomy_file(tmp_path, PAIRS + rows))
    assert dataset.notes == notes and len(dataset) == rows.count("\n"), "every row is kept"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("id,types_of_harm,question\n", "no rows"),
        (GOOD.replace("question", "text"), r"no column 'question' \(found: id, types_of_harm, text\).*README"),
        (GOOD.replace(",", ";"), r"no column 'id' \(found: id;types_of_harm;question\); save it with commas"),
        (GOOD.replace("first", "   "), r"row 1 \(id 1\): no text in 'question'; give each one, or leave the row out"),
        (GOOD.replace("4,b", "1,b"), r"id 1 occurs twice \(row 4\)"),
        (GOOD.replace("4,b", "4,c"), "just one row in types_of_harm 'b'"),
        (GOOD.replace("3,b,third", "3,b"), r"row 3 \(line 4\): has 2 cells, the heading has 3"),
        (GOOD.replace(",a,", ",average,"), "row 1: a types_of_harm can't be called 'average'.*rename it"),
        (GOOD.replace(",b,", ",Adult Contnet,").replace(",a,", ",Adult Content,"), "mean 'Adult Content'"),
    ],
)
def test_bad_csv_gets_one_line_that_names_the_place(tmp_path, text, message):
    with pytest.raises(InputError, match=f"^mine.csv: .*{message}") as error:
        load(TAXONOMY_FORMAT, taxonomy_file(tmp_path, text))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 2: is not JSON \(.* at character \d\)"),
        ("[1]", r"line 2: is not a JSON object"),
        ("\n" + "[" * 100_000, r"row 2 \(line 3\): is not JSON that can be read \(nested too deeply"),
        ('{"id": ' + "1" * 5000 + "}", r"line 2: .* a number too long"),
        ('{"id": null, "types_of_harm": "a", "question": "x"}', r"line 2: 'id' is missing"),
        ('{"id": 2, "types_of_harm": "a", "question": "\\ud800"}', r"row 2 \(id 2\): 'question' holds half a char"),
        ('{"id": 2, "types_of_harm": "a"}', r"row 2 \(id 2\): 'question' is missing"),
        ('{"id": 2, "types_of_harm": "a", "question": 5}', r"row 2 \(id 2\): 'question' is not text \(int\)"),
        ('{"id": 2.5, "types_of_harm": "a", "question": "x"}', r"line 2: 'id' is not text \(float\)"),
    ],
)
def test_bad_json_lines_get_one_line_that_names_the_place(tmp_path, line, message):
    first = '{"id": 1, "types_of_harm": "a", "question": "x"}'
    with pytest.raises(InputError, match=f"^mine.jsonl: .*{message}"):
        load(TAXONOMY_FORMAT, taxonomy_file(tmp_path, f"{first}\n{line}\n", "mine.jsonl"))


def test_a_file_that_is_not_there_or_not_readable_as_data(tmp_path):
    with pytest.raises(InputError, match="no such file; give auto, paper, sample or a file"):
        load(TAXONOMY_FORMAT, str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="is a folder"):
        load(TAXONOMY_FORMAT, str(tmp_path))
    with pytest.raises(InputError, match=r"neither \.csv nor \.jsonl"):
        load(TAXONOMY_FORMAT, taxonomy_file(tmp_path, GOOD, "mine.xlsx"))
    with pytest.raises(InputError, match="rename the file"):
        load(TAXONOMY_FORMAT, taxonomy_file(tmp_path, GOOD, "paper.csv"))


def test_a_limit_takes_rows_in_turn_from_each_group(tmp_path):
    text = GOOD + "5,a,fifth\n6,b,sixth\n7,a,seventh\n"
    dataset, _ = load(TAXONOMY_FORMAT, taxonomy_file(tmp_path, text), limit=5)
    # In turn: 1 (a), 3 (b), 2 (a), 4 (b), 5 (a).
    assert dataset.ids == ("1", "2", "3", "4", "5")
    assert dataset.files[0].rows == 5
    with pytest.raises(InputError, match="raise --limit above 3"):
        load(TAXONOMY_FORMAT, taxonomy_file(tmp_path, text), limit=3)
