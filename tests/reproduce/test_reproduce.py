"""What can run here, on stand-ins for the machine; the paper's cells beside ours, with known gaps."""

import csv
import io
import re
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from hashlib import sha256

import numpy as np
import psutil
import pytest
from doubles import StandIn
from hypothesis import given
from hypothesis import strategies as st
from latex_tables import tables_in

from Safety_Challenging.evaluate import TASK as CHALLENGING
from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils import config, hub
from utils.data import catalogue
from utils.encoders import loading, paper, registry
from utils.evaluation import run as evaluation_run
from utils.reproduce import __main__ as reproduce_main
from utils.reproduce import machine
from utils.reproduce import tables as reproduce_tables
from utils.reproduce.cells import rounding_of
from utils.results import result_file
from utils.results.tables import group_table
from utils.schema import DataFile, EmbeddingStats, EncoderInfo, Metric, Result
from utils.tables import text_table

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


def test_the_hub_is_asked_once_and_never_for_what_is_cached(able, capsys):
    asked = []
    able.setattr(hub, "reachable", lambda: asked.append(1))
    plan(capsys)
    assert len(asked) == 1
    able.setattr(hub, "cached", lambda *checkpoint: True)
    able.setattr(hub, "has_token", lambda: False)
    names, *_ = plan(capsys)
    assert names == list(FIGURES) and len(asked) == 1, "nor does a gated encoder that is cached need a token"


def test_every_checkpoint_has_to_be_cached_at_its_pinned_commit(able):
    able.setattr(hub, "reachable", lambda: False)
    asked = []
    able.setattr(hub, "cached", lambda *checkpoint: asked.append(checkpoint[:3]) or "mntp" not in checkpoint[0])
    found = machine.obstacles(["llm2vec-mistral", "sup-simcse", "st5-base"])
    assert [one.short for one in found["llm2vec-mistral"]] == ["no hub"] and not found["st5-base"]
    assert len(asked) == 5 and ("princeton-nlp/sup-simcse-bert-base-uncased", "refs/pr/5", "90bd602") in asked


def test_offline_by_choice_has_its_own_reason(able, capsys):
    able.setattr(hub, "is_offline", lambda: True)
    able.setattr(hub, "reachable", lambda: pytest.fail("must not be asked"))
    assert "no hub: the weights are not cached, and HF_HUB_OFFLINE forbids" in plan(capsys, "st5-xl")[2]


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
    ("free", "arguments", "sentence"),
    [
        (
            {"main memory": 16.19e9},
            [],
            "st5-xxl needs about 24.4 GB (free: 16.1 GB of main memory); --dtype bfloat16 would need 12.7 GB",
        ),
        ({"main memory": 8e9}, [], "(free: 8.0 GB of main memory); use a machine with more memory"),
        (
            {"main memory": 8e9},
            ["--dtype", "bfloat16"],
            "needs about 12.7 GB (free: 8.0 GB of main memory); use a machine with more memory",
        ),
        (
            {"main memory": 64e9, "cuda:1": 10e9},
            ["--device", "cuda:1"],
            "(free: 10.0 GB of cuda:1); --device cpu has enough memory",
        ),
        (
            {"main memory": 9e9, "cuda": 10e9},
            [],
            "(free: 9.0 GB of main memory and 10.0 GB of cuda); use a machine with more memory",
        ),
    ],
)
def test_too_little_memory_says_how_much_and_what_to_do(able, capsys, free, arguments, sentence):
    able.setattr(machine, "free_memory", lambda device: free)
    names, rows, text = plan(capsys, "st5-xxl", "st5-base", *arguments)
    assert names == ["st5-base"] and rows["st5-xxl"].split()[-2:] == ["no", "memory"] and sentence in text


def test_free_memory_is_that_of_the_devices_and_of_main_memory(monkeypatch):
    import torch

    monkeypatch.setattr(psutil, "virtual_memory", lambda: namedtuple("Memory", "available")(5))
    assert machine.free_memory("cpu") == {"main memory": 5}
    monkeypatch.setattr(machine, "choose_devices", lambda requested: requested.split(","))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: ({"cuda:0": 7, "cuda:1": 3}[device], 80))
    assert machine.free_memory("cuda:0,cuda:1") == {"main memory": 5, "cuda:0": 7, "cuda:1": 3}


def test_an_api_that_is_not_the_papers_or_a_dtype_it_lacks(able, capsys):
    able.setenv("OPENAI_BASE_URL", "http://user:secret@localhost:8000/v1")
    names, _, text = plan(capsys, "text-embedding-v3", "--dtype", "bfloat16")
    assert names == [] and "secret" not in text
    assert "other API: text-embedding-v3 runs at api.openai.com; unset OPENAI_BASE_URL (localhost:8000/v1)" in text
    assert "dtype: text-embedding-v3 returns only float32 vectors" in text


def test_a_plan_that_ends_at_the_hub_imports_no_torch():
    code = (
        "import sys; from utils.reproduce.__main__ import main; status = main(['plan'])\n"
        "print(status, [m for m in ('torch', 'transformers', 'pandas', 'sklearn') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=config.ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "0 []\n" and run.stderr.count("no hub") == 11, "HF_HUB_OFFLINE is set for the tests"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "st5-xxxl"], "st5-xxxl: not one of the paper's eleven encoders; nearest: st5-xxl, st5-xl"),
        (["table", "all-minilm-l6-v2"], "all-minilm-l6-v2: not one of the paper's eleven encoders"),
        (["plan", "--dtype", "int8"], "--dtype int8: give one of auto, float32"),
        (["plan", "--device", "tpu", "st5-xl"], "--device tpu: give auto, cuda, mps or cpu"),
        (["table", "--format", "html"], "--format html: give one of text, markdown, csv"),
        (["plan", "--limit", "3"], "unrecognized arguments: --limit 3"),
        (["plan", "st5-xl", "--out"], "--out: expected one argument"),
        (["tabel"], "invalid choice: 'tabel'"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, message):
    assert reproduce_main.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and message in captured.err and captured.err.count("\n") == 1


# --- What rounding explains ------------------------------------------------------------------------------------------


def test_the_papers_figures_have_three_decimals():
    """What HALF_UNIT stands on: each is a multiple of 0.001, and one that is none of 0.01 is in every table."""
    for key in ("normalized_similarity", "categorical_purity_at_10"):
        values = [value for entry in FIGURES.values() for value in entry[key].values()]
        assert all(round(value, 3) == value for value in values)
        assert any(round(value, 2) != value for value in values)
    for key in ("average_similarity", "average_categorical_purity"):
        values = [entry[key] for entry in FIGURES.values()]
        assert all(round(value, 3) == value for value in values) and any(round(value, 2) != value for value in values)


def test_rounding_by_hand():
    # Of purity: the printed figure alone, half of 0.001.
    assert rounding_of(0.4, None) == 0.0005
    # Of similarity, norm = (x - b) / (1 - b): 1 - norm = (1 - x) / (1 - b), so between b and b* it moves by
    # (1 - x) |1/(1 - b) - 1/(1 - b*)| = (1 - norm) |b - b*| / (1 - b*). With norm 0.4, b 0.721 and b* up to 0.7215:
    # 0.6 * 0.0005 / 0.2785 = 0.00107720, and 0.0005 for the printed figure.
    assert rounding_of(0.4, 0.721) == pytest.approx(0.00157720, abs=1e-8)


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


def test_the_summary_has_averages_counts_and_the_worst_verdict(tmp_path, capsys):
    both(tmp_path, "st5-xl")
    write(tmp_path, "st5-large", "safety_challenging", lambda group: {"average": -0.012, "action": 0.07}.get(group, 0))
    write(tmp_path, "st5-large", "safety_taxonomy", lambda group: 0.01 if group == "average" else 0)
    assert reproduce_main.main(["table", "st5-xl", "st5-large", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.split("averages, and the verdicts of the 24 cells")[1].splitlines()
    rows = [line.split() for line in lines if line.startswith("ST5-")]
    # ST5-XL's mean of the ten printed types is 0.4566, its printed average purity 0.753; ST5-Large's 0.479 and 0.749.
    assert rows[0] == ["ST5-XL", "0.457", "0.457", "0.000", "0.753", "0.753", "0.000"]
    assert rows[1] == ["ST5-Large", "0.467", "0.479", "-0.012", "0.759", "0.749", "+0.010"]
    # Both averages are in our interval of ±0.05, action is 0.07 off; the other 21 are the paper's own.
    assert rows[2] == ["ST5-XL", "24", "0", "0", "0.000", "within", "rounding"]
    assert rows[3] == ["ST5-Large", "21", "2", "1", "0.070", "differs"]


def test_a_difference_that_rounds_to_zero_has_no_sign(tmp_path, capsys):
    both(tmp_path, "st5-xl", gap=lambda group: -0.0004)
    assert reproduce_main.main(["table", "st5-xl", "--out", str(tmp_path)]) == 0
    result = result_file.read_result(result_file.result_path(tmp_path, "paper", "safety_taxonomy", "st5-xl"))
    for text in (capsys.readouterr().out, text_table(group_table([result], "categorical_purity"))):
        assert " 0.000" in text and "-0.000" not in text and "+0.000" not in text


def test_all_eleven_in_every_format(tmp_path, capsys):
    for name in FIGURES:
        both(tmp_path, name, gap=lambda group: -0.01)
    printed = {}
    for form in reproduce_tables.FORMATS:
        assert reproduce_main.main(["table", "--out", str(tmp_path), "--format", form]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        printed[form] = captured.out
    assert max(map(len, printed["text"].splitlines())) <= 80
    assert printed["markdown"].count("| average ") == 22
    assert "\nST5-XXL (st5-xxl), float32, 2026-01-02\n" in printed["markdown"]
    rows = list(csv.DictReader(io.StringIO(printed["csv"])))
    assert len(rows) == 11 * 24 and list(dict.fromkeys(row["encoder"] for row in rows)) == list(FIGURES)
    assert printed["latex"].startswith("% needs \\usepackage{booktabs}")
    # As many encoders beside one another as fit; then come the averages, and how many cells have which verdict.
    *whole, (_, _, averages), (_, _, verdicts) = tables_in(printed["latex"])
    assert len({label for _, label, _ in whole}) == len(whole) and len(averages) == len(verdicts) == 1 + 11
    labels = [registry.known_encoders()[name]["label"] for name in FIGURES]
    assert [head for _, _, [heads, *_] in whole for head, _ in heads[1::3]] == labels * 2
    assert [row[0][0] for row in averages[1:]] == [row[0][0] for row in verdicts[1:]] == labels
    triples = [row[i : i + 3] for _, _, [_, *rows] in whole for row in rows for i in range(1, len(row), 3)]
    assert len(triples) == 11 * 24
    for (ours, _), (theirs, _), _ in triples:
        # A hundredth below the paper's: rounding does not explain it, our interval of ±0.05 does.
        number, reach = ours.split()
        assert float(number) == pytest.approx(float(theirs) - 0.01, abs=0.0011) and reach == "±0.050*"
    counts = [[text for text, _ in row[1:]] for row in verdicts[1:]]
    assert counts == [["0", "24", "0", "0.010", "within the interval"]] * 11


def test_a_result_without_intervals_is_within_rounding_or_differs(tmp_path, capsys):
    both(tmp_path, "st5-xl", gap=lambda group: 0.01 if group in ("group", "False Info") else 0, reach=None)
    rows = cells(capsys, "st5-xl", "--out", tmp_path)
    assert {row["group"] for row in rows if row["verdict"] != "within rounding"} == {"group", "False Info"}
    assert {row["verdict"] for row in rows} == {"within rounding", "differs"}


def test_a_dtype_that_is_not_the_registrys_is_named(tmp_path, capsys):
    [(source, revision, _)] = registry.listed_checkpoints(registry.known_encoders()["st5-xl"])
    info = EncoderInfo("st5-xl", "ST5-XL", source, revision, 3, "bfloat16", None, "", "torch", "x")
    both(tmp_path, "st5-xl", encoder=info)
    assert reproduce_main.main(["table", "st5-xl", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("ST5-XL (st5-xl), bfloat16 (not float32), 2026-01-02\n")


def test_the_dtype_asked_for_is_taken_from_the_variants(tmp_path, capsys):
    [(source, revision, _)] = registry.listed_checkpoints(registry.known_encoders()["st5-xl"])
    info = EncoderInfo("st5-xl", "ST5-XL (bfloat16)", source, revision, 3, "bfloat16", None, "", "torch", "x")
    both(tmp_path, "st5-xl", encoder=info)
    for task in OF_TASK:
        path = tmp_path / "paper" / task / "st5-xl.json"
        path.rename(path.with_name("st5-xl@0123abcd.json"))
        path.with_name("st5-xl@9999ffff+own.json").write_text("not to be looked at")
    both(tmp_path, "st5-xl", gap=lambda group: 0.01)
    for dtype, heading in (("auto", "ST5-XL (st5-xl), float32,"), ("float32", "ST5-XL (st5-xl), float32,"),
                           ("bfloat16", "ST5-XL (bfloat16) (st5-xl), bfloat16 (not float32),")):  # fmt: skip
        assert reproduce_main.main(["table", "st5-xl", "--out", str(tmp_path), "--dtype", dtype]) == 0
        assert capsys.readouterr().out.startswith(heading)
    assert reproduce_main.main(["table", "st5-xl", "--out", str(tmp_path), "--dtype", "float16"]) == 3


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


def test_what_was_run_and_what_failed(tmp_path, capsys, monkeypatch):
    for name in ("st5-base", "st5-large", "st5-xl"):
        both(tmp_path, name)
    ran = {"st5-base": "", "st5-large": "--model st5-large: no memory"}
    monkeypatch.setattr(reproduce_main, "evaluate_encoders", lambda *choices, **more: ran)
    names = ["st5-base", "st5-large", "st5-xl", "st5-xxl"]
    assert reproduce_main.main(["run", *names, "--out", str(tmp_path)]) == 3
    captured = capsys.readouterr()
    assert "ST5-Base (st5-base), float32, 2026-01-02\n" in captured.out
    for name in ("ST5-Large (st5-large)", "ST5-XL (st5-xl)"):
        assert f"{name}, float32, 2026-01-02, from an earlier run\n" in captured.out
    assert captured.err.splitlines() == [
        "st5-large failed: --model st5-large: no memory",
        "incomplete: 3 of 4 not run and compared (st5-large, st5-xl, st5-xxl); see the reasons above",
    ]
    assert reproduce_main.main(["run", "st5-base", "--out", str(tmp_path)]) == 0
    ran.clear()
    assert reproduce_main.main(["run", "st5-base", "--out", str(tmp_path / "no")]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_evaluations_on_the_papers_data_come_out_beside_its_figures(paper_data, tmp_path, capsys, monkeypatch):
    """An encoder of arbitrary vectors under a paper encoder's name: the numbers' way is looked at."""

    class Arbitrary(StandIn):
        dimension = 8

        def encode(self, texts):
            return np.array([list(sha256(text.encode()).digest()[:8]) for text in texts], dtype=np.float32) + 1

    name = "sentence-bert-all"
    loaded = []
    monkeypatch.setattr(loading, "load", lambda spec: loaded.append(spec.name) or Arbitrary())
    monkeypatch.setattr(hub, "commit", lambda repository, revision, expected="": revision)
    flags = ["--model", name, "--out", str(tmp_path), "--data", "paper", "--baseline", "auto", "--top-k", "10"]
    flags += ["--bootstrap", "1000"]
    assert evaluation_run.evaluate_all((CHALLENGING, TAXONOMY), "paper", flags, show_data=False) == 0
    assert loaded == [name, "random"] and "sha256" not in capsys.readouterr().err
    rows = cells(capsys, name, "--out", tmp_path)
    assert len(rows) == 24
    for row in rows:
        result = result_file.read_result(result_file.result_path(tmp_path, "paper", row["task"], name))
        assert float(row["ours"]) == result.value(row["metric"], row["group"])
        if row["group"] != "average":
            assert float(row["paper"]) == FIGURES[name][OF_TASK[row["task"]][2]][row["group"]]
    # The paper's printed ten, summed by hand: 0.394 + 0.296 + 0.494 + 0.653 + 0.534 + 0.514 + 0.385 + 0.698 + 0.396
    # + 0.511 = 4.875.
    averages = [float(row["paper"]) for row in rows if row["group"] == "average"]
    assert averages == pytest.approx([0.4875, 0.712])
