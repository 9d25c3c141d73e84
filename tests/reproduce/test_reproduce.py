"""What can run here, on stand-ins for the machine; the paper's cells beside ours, with known gaps."""

import csv
import io
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from latex_tables import tables_in, too_wide

from Safety_Challenging.task import TASK as CHALLENGING
from Safety_Taxonomy.task import TASK as TAXONOMY
from utils import hub
from utils.data import catalogue
from utils.encoders import paper, registry
from utils.reproduce import __main__ as reproduce_main
from utils.reproduce import figures, machine
from utils.reproduce.cells import rounding_of
from utils.results import result_file
from utils.results.tables import papers_row
from utils.schema import DataFile, EmbeddingStats, EncoderInfo, Metric, Result

FIGURES = paper.paper_figures()
KEY = "the-key-that-must-never-be-seen"
OF_TASK = {
    "safety_challenging": (catalogue.CHALLENGING, "normalized_similarity", "normalized_similarity"),
    "safety_taxonomy": (catalogue.DO_NOT_ANSWER, "categorical_purity", "categorical_purity_at_10"),
}


# --- What can run here -----------------------------------------------------------------------------------------------


@pytest.fixture
def able(monkeypatch):
    """A machine that can run everything: the hub answers, there is a token, a key, and 100 GB of main memory."""
    monkeypatch.setattr(hub, "cached", lambda *checkpoint: False)
    monkeypatch.setattr(hub, "is_offline", lambda: False)
    monkeypatch.setattr(hub, "reachable", lambda: True)
    monkeypatch.setattr(hub, "has_token", lambda: True)
    monkeypatch.setattr(machine, "free_memory", lambda device: {"main memory": 100e9})
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return monkeypatch


def plan(capsys, *arguments):
    """(names that can run, the table's rows by name, the whole of what is printed)."""
    assert reproduce_main.main(["plan", *arguments]) == 0
    captured = capsys.readouterr()
    assert max(map(len, captured.err.splitlines())) <= 80, captured.err
    assert KEY not in captured.out + captured.err
    rows = {
        line.split()[0]: line for line in captured.err.splitlines() if line.split()[:1] and line.split()[0] in FIGURES
    }
    return captured.out.split(), rows, " ".join(captured.err.split())


def test_a_machine_that_can_runs_all_eleven(able, capsys):
    names, rows, _ = plan(capsys)
    assert names == list(FIGURES) == list(rows) and all(row.split()[-1] == "yes" for row in rows.values())


def test_without_hub_key_and_token_each_of_the_eleven_has_its_reason(able, capsys):
    able.setattr(hub, "reachable", lambda: False)
    able.setattr(hub, "has_token", lambda: False)
    able.delenv("OPENAI_API_KEY")
    able.setattr(machine, "free_memory", lambda device: pytest.fail("memory is looked at last"))
    names, rows, text = plan(capsys)
    assert names == []
    for name, row in rows.items():
        assert re.split(r"\s{2,}", row)[-2:] == [
            "no",
            {
                "text-embedding-v3": "no key",
                "llm2vec-mistral": "no hub, no token",
                "llm2vec-llama3": "no hub, no token",
            }.get(name, "no hub"),
        ]
    assert len(rows) == 11 and text.count("no hub: ") == 1
    assert "check the connection, or set HF_ENDPOINT to a mirror" in text and "put OPENAI_API_KEY=... into .env" in text
    for page in ("mistralai/Mistral-7B-Instruct-v0.2", "meta-llama/Meta-Llama-3-8B-Instruct"):
        assert f"accept its terms at https://huggingface.co/{page} and put a token into HF_TOKEN" in text


@pytest.mark.parametrize(
    ("name", "dtype", "gigabytes"),
    [
        # 4.87e9 parameters of 4 bytes 19.48 GB, and a fifth more 23.376, and 1 for the program 24.376
        ("st5-xxl", "auto", "24.4 GB"),
        # of 2 bytes: 9.74, 11.688, 12.688
        ("st5-xxl", "bfloat16", "12.7 GB"),
        # 7.2e9 of 2 bytes, its own dtype: 14.4, 17.28, 18.28, rounded up
        ("llm2vec-mistral", "auto", "18.3 GB"),
        # 109e6 of 4 bytes: 0.436, 0.5232, 1.5232, rounded up
        ("sup-simcse", "float32", "1.6 GB"),
    ],
)
def test_memory_that_is_needed(name, dtype, gigabytes):
    assert machine.gigabytes(machine.memory_needed(name, dtype)) == gigabytes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "st5-xxxl"], "st5-xxxl: not one of the paper's eleven encoders; nearest: st5-xxl, st5-xl"),
        (["table", "all-minilm-l6-v2"], "all-minilm-l6-v2: not one of the paper's eleven encoders"),
        (["table", "--format", "html"], "--format html: give one of text, markdown, csv"),
        (["plan", "--limit", "3"], "unrecognized arguments: --limit 3"),
        (["tabel"], "invalid choice: 'tabel'"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, message):
    assert reproduce_main.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and message in captured.err and captured.err.count("\n") == 1


def test_rounding_by_hand():
    # Of purity: the printed figure alone, half of 0.001.
    assert rounding_of(0.4, None) == 0.0005
    # Of similarity, norm = (x - b) / (1 - b): 1 - norm = (1 - x) / (1 - b), so between b and b* it moves by
    # (1 - x) |1/(1 - b) - 1/(1 - b*)| = (1 - norm) |b - b*| / (1 - b*). With norm 0.4, b 0.721 and b* up to 0.7215:
    # 0.6 * 0.0005 / 0.2785 = 0.00107720, and 0.0005 for the printed figure.
    assert rounding_of(0.4, 0.721) == pytest.approx(0.00157720, abs=1e-8)


# --- What rounding explains ------------------------------------------------------------------------------------------


@given(st.floats(-0.2, 0.9), st.lists(st.floats(-1, 1), min_size=1, max_size=10))
def test_what_the_paper_prints_of_the_same_cosines_is_within_rounding_and_no_further(true_b, cosines):
    """One type or the mean of several: the paper's figures by unrounded b, then printed; ours by the printed b."""
    b = round(true_b, 3)
    printed = [round((x - true_b) / (1 - true_b), 3) for x in cosines]
    ours = [(x - b) / (1 - b) for x in cosines]
    value = sum(ours) / len(ours)
    bound = rounding_of(value, b)
    assert abs(value - sum(printed) / len(printed)) <= bound + 1e-9
    # Just as far, with both roundings at their worst: b* half a unit above b, the figure half a unit below its own.
    worst = (cosines[0] - b - 0.0005) / (1 - b - 0.0005) - 0.0005
    assert ours[0] - worst == pytest.approx(rounding_of(ours[0], b), abs=1e-9)


# --- Ours beside the paper's -----------------------------------------------------------------------------------------


def write(out, name, task, gap=lambda group: 0.0, reach=0.05, **more):
    """A result file of a paper's encoder in the paper's setting: the paper's figures plus gap(group), ± reach."""
    card, metric, key = OF_TASK[task]
    figures, entry = FIGURES[name], registry.known_encoders()[name]
    values = {group: figure + gap(group) for group, figure in figures[key].items()}
    papers_average = sum(figures[key].values()) / len(values)
    if metric == "categorical_purity":
        papers_average = figures["average_categorical_purity"]
    values |= {"average": papers_average + gap("average"), "overall": 0.5}
    source = FIGURES[name]["checkpoint"] if entry["loader"] == "openai" else entry["source"]
    revision = " + ".join(named.replace("refs/pr/5", commit) for _, named, commit in registry.listed_checkpoints(entry))
    info = EncoderInfo(name, entry["label"], source, revision, 3, entry["dtype"], None, "", "torch", name)
    baseline = {"value": figures["average_similarity"], "source": "paper"} if task == "safety_challenging" else None
    top_k = 10 if task == "safety_taxonomy" else None
    result = Result(
        task=task, created="2026-01-02T03:04:05+00:00", seconds=0.1, encoder=info, dataset_name="paper",
        dataset_files=(DataFile(card.file, card.sha256, card.rows),), dataset_items=card.rows,
        settings={"top_k": top_k, "threshold": 0.5, "bootstrap": 1000, "seed": 42, "baseline": baseline},
        embedding=EmbeddingStats(1, 1, 1, 0, 0.0),
        metrics=tuple(
            Metric(metric, group, value, 9, "lower", *((value - reach, value + reach) if reach else (None, None)))
            for group, value in values.items()
        ),
        environment={}, items={"id": [], "type": []},
    )  # fmt: skip
    return result_file.write_result(replace(result, **more), out)


def both(out, name, **more):
    for task in OF_TASK:
        write(out, name, task, **more)


def cells(capsys, *arguments, status=0):
    assert reproduce_main.main(["table", *map(str, arguments), "--format", "csv"]) == status
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_every_cell_of_both_tables_with_its_verdict(tmp_path, capsys):
    # b of ST5-Base is 0.721. homonyms: the paper's 0.419; target and group get gaps on either side of their rounding.
    name = "st5-base"
    target = FIGURES[name]["normalized_similarity"]["target"]
    # Ours is g above the paper's p where g = h + h (1 - p - g) / (1 - b - h): solved for g, with h = 0.0005.
    edge = 0.0005 * (1 + (1 - target) / 0.2785) / (1 + 0.0005 / 0.2785)
    gaps = {"target": edge - 1e-6, "context": 0.04, "group": -0.06, "Adult Content": 0.0005, "Hate Speech": -0.0006}
    edges = {"target": edge + 1e-6}
    write(tmp_path, name, "safety_challenging", lambda group: gaps.get(group, 0.0))
    write(tmp_path, name, "safety_taxonomy", lambda group: gaps.get(group, 0.0))
    rows = cells(capsys, name, "--out", tmp_path)
    assert [row["group"] for row in rows[:11]] == [*catalogue.CHALLENGING_TYPES, "average"]
    assert [row["group"] for row in rows[11:]] == [*catalogue.CATEGORIES.values(), "average"]
    verdicts = {row["group"]: row["verdict"] for row in rows if row["verdict"] != "within rounding"}
    assert verdicts == {"context": "within the interval", "group": "differs", "Hate Speech": "within the interval"}
    for row in rows:
        assert float(row["difference"]) == pytest.approx(gaps.get(row["group"], 0.0), abs=1e-12)
        assert float(row["ours"]) - float(row["paper"]) == pytest.approx(float(row["difference"]), abs=1e-12)
    write(tmp_path, name, "safety_challenging", lambda group: edges.get(group, 0.0))
    rows = cells(capsys, name, "--out", tmp_path)
    assert [row["verdict"] for row in rows if row["group"] == "target"] == ["within the interval"]


def test_the_papers_averages():
    """Of similarity they are computed, of purity they are printed."""
    figures = FIGURES["sentence-bert-all"]
    # The paper's printed ten, summed by hand: 0.394 + 0.296 + 0.494 + 0.653 + 0.534 + 0.514 + 0.385 + 0.698 + 0.396
    # + 0.511 = 4.875.
    assert papers_row(figures, CHALLENGING)["average"] == pytest.approx(0.4875)
    assert papers_row(figures, TAXONOMY)["average"] == 0.712


def test_the_tables_of_all_eleven_fit_a_paper_in_two_columns(tmp_path, capsys):
    for name in FIGURES:
        both(tmp_path, name, gap=lambda group: {"context": 0.04, "group": -0.06, "Hate Speech": -0.06}.get(group, 0.0))
    assert reproduce_main.main(["table", "--out", str(tmp_path), "--format", "latex"]) == 0
    text = capsys.readouterr().out
    cells = [rows for _, label, rows in tables_in(text) if "tab:reproduction-normalized" in label]
    for rows in cells:  # each encoder's numbers, the paper's and their difference, under the headings
        names = [row[0][0] for row in rows if row[0][0]]
        assert names[1:4] == ["SBERT-all", "SBERT-all: paper", "SBERT-all: diff"] and len(names) == 1 + 3 * 11
    assert cells
    assert too_wide(text, tmp_path) == []


def test_what_has_no_comparable_result_is_listed_and_the_rest_shown(tmp_path, capsys):
    both(tmp_path, "st5-base")
    write(tmp_path, "st5-large", "safety_challenging")
    both(tmp_path, "st5-xl")
    own = {"top_k": None, "threshold": 0.5, "bootstrap": 0, "seed": 42, "baseline": {"value": 0.6, "source": "own"}}
    write(tmp_path, "st5-xl", "safety_challenging", settings=own)
    both(tmp_path, "st5-xxl")
    (tmp_path / "paper" / "safety_taxonomy" / "st5-xxl.json").write_text("{")
    names = ["st5-base", "st5-large", "st5-xl", "st5-xxl"]
    assert reproduce_main.main(["table", *names, "--out", str(tmp_path)]) == 3
    captured = capsys.readouterr()
    assert captured.out.count("(st5-") == 1 and captured.out.startswith("ST5-Base (st5-base)")
    reasons = captured.err.splitlines()
    assert "st5-large: no result in" in reasons[0] and "safety_taxonomy; run: source scripts/reproduce.sh" in reasons[0]
    assert "st5-xl.json: not computed as in the paper" in reasons[1] and "not a result file" in reasons[2]
    assert reasons[3].startswith("incomplete: 3 of 4 not run and compared (st5-large, st5-xl, st5-xxl);")


def test_a_run_draws_the_papers_rows_with_ours_under_them_once(tmp_path, capsys, monkeypatch):
    both(tmp_path, "st5-base", gap=lambda group: 0.01)
    monkeypatch.setattr(reproduce_main, "evaluate_encoders", lambda *_, **__: {"st5-base": ""})
    drawn, heatmap = [], figures.heatmap
    monkeypatch.setattr(figures, "heatmap", lambda *given: drawn.append(given) or heatmap(*given))
    arguments = ["run", "st5-base", "--out", str(tmp_path)]
    folder = tmp_path / "paper" / "figures"
    assert reproduce_main.main([*arguments, "--no-figures"]) == 0 and not folder.exists()
    for _ in range(2):
        assert reproduce_main.main(arguments) == 0
        names = [f"{task}_reproduction.png" for task in OF_TASK]
        assert capsys.readouterr().err.splitlines()[-2:] == [f"figure: {folder / name}" for name in names]
    assert sorted(path.name for path in folder.iterdir()) == names and len(drawn) == 2
    for [drawing], (task, (_, metric, key)) in zip(drawn, OF_TASK.items(), strict=True):
        rows = drawing.results
        labels = [registry.known_encoders()[name]["label"] for name in FIGURES]
        expected = [f"{label}, paper" for label in labels]
        expected.insert(labels.index("ST5-Base") + 1, "ST5-Base, ours")
        assert rows[0].task == task and [row.encoder.label for row in rows] == expected
        papers = {row.encoder.label: row for row in rows}
        for group, figure in FIGURES["st5-xl"][key].items():
            assert papers["ST5-XL, paper"].value(metric, group) == figure
        for group, figure in FIGURES["st5-base"][key].items():
            assert papers["ST5-Base, ours"].value(metric, group) == pytest.approx(figure + 0.01)
