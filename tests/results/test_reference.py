"""The line that says what a number depends on, and results of other people beside one's own."""

import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from Safety_Taxonomy.evaluate import TASK
from utils.evaluation.run import evaluate
from utils.files import sha256_of
from utils.results import reference
from utils.results.result_file import read_result, read_with_items
from utils.results.signature import signature
from utils.schema import CONTROLS, DataFile


@pytest.fixture
def taxonomy(sample_results):
    return {name: read_result(sample_results / "sample" / "safety_taxonomy" / f"{name}.json")
            for name in ("all-minilm-l6-v2", "tfidf")}  # fmt: skip


def test_a_signature_has_all_that_a_number_depends_on(taxonomy, sample_results):
    result = taxonomy["all-minilm-l6-v2"]
    digest, mark = result.dataset_files[0].sha256, result.encoder.fingerprint
    line = f"taxonomy|k:10|all-minilm-l6-v2@{mark[:7]}|data:{digest[:7]}|n:144|v{result.environment['version']}"
    assert signature(result) == line and re.fullmatch(r"0\.\d+\.\d+", result.environment["version"])
    other_data = replace(result, dataset_files=(DataFile("x", "f" * 64, 1),))
    for changed in (
        replace(result, settings={**result.settings, "top_k": 5}),
        replace(result, dataset_items=9),
        replace(result, encoder=replace(result.encoder, fingerprint="0" * 32)),
        replace(result, environment={**result.environment, "version": "9"}),
        replace(result, task="safety_contrast"),
        other_data,
        replace(other_data, dataset_files=(*other_data.dataset_files, DataFile("y", "e" * 64, 1))),
    ):
        assert signature(changed) != line
    normalized = read_result(sample_results / "sample" / "safety_challenging" / "tfidf.json")
    b = normalized.settings["baseline"]["value"]
    assert f"|b:own={b:.3f}|t:0.5|" in signature(normalized)
    assert signature(normalized) != signature(replace(normalized, settings={**normalized.settings, "threshold": 0.4}))


def test_an_evaluation_ends_with_its_signature_and_the_references(sample_results, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reference, "config", SimpleNamespace(ROOT=tmp_path))
    flags = ["--data", "sample", "--quiet", "--out", str(tmp_path / "out"), "--bootstrap", "1000"]
    assert evaluate(TASK, ["tfidf", *flags]) == 0
    assert "beside reference results" not in capsys.readouterr().out
    there = tmp_path / "reference_results" / "sample" / "safety_taxonomy"
    shutil.copytree(sample_results / "sample" / "safety_taxonomy", there)
    assert evaluate(TASK, ["tfidf", *flags]) == 0
    said = capsys.readouterr().out
    other, mine, last = (read_result(there / f"{name}.json") for name in ("all-minilm-l6-v2", *CONTROLS))
    values = [result.value("categorical_purity", "average") for result in (other, mine, last)]
    assert values[0] > values[1] > values[2], "the first is the best one"
    rows = re.findall(r"^(\S+) +(0\.\d{3}) ±\d\.\d{3} +(\S+)", said[said.index("beside reference results") :], re.M)
    assert rows == [
        ("MiniLM-L6", f"{values[0]:.3f}", "reference_results"), ("TF-IDF", f"{values[1]:.3f}", "this"),
        ("Random", f"{values[2]:.3f}", "this"),
    ]  # fmt: skip
    assert said.count(signature(mine)) == said.count(signature(other)) == 1
    assert max(map(len, said.splitlines())) <= 80
    assert evaluate(TASK, ["tfidf", *flags, "--top-k", "5"]) == 0
    assert "beside reference results" not in capsys.readouterr().out, "k is a different one"


def test_a_reference_result_that_is_converted_has_the_signature_of_the_number_shown():
    folder = reference.config.ROOT / reference.FOLDER / "paper" / "safety_challenging"
    said = reference.reference_table([read_with_items(folder / "all-minilm-l6-v2.json")], lambda results: {})
    theirs = read_result(folder / "sentence-bert-all.json")
    own = theirs.average_similarities["own"]
    assert f"|b:paper={theirs.settings['baseline']['value']:.3f}|" in signature(theirs), "as it was computed"
    assert f"challenging|b:own={own:.3f}|t:0.5|sentence-bert-all@" in said and "|b:paper=" not in said


def test_the_reference_results_hold_numbers_and_are_of_the_published_data(paper_data):
    root = reference.config.ROOT / reference.FOLDER
    published = {sha256_of(path) for path in paper_data.iterdir() if path.is_file()}
    files = sorted(root.rglob("*.json"))
    assert {path.parent.name for path in files} == {"safety_challenging", "safety_contrast", "safety_taxonomy"}
    assert {path.stem for path in files} == {"all-minilm-l6-v2", "sentence-bert-all", "tfidf"}
    for path in files:
        result = read_result(path)
        assert {file.sha256 for file in result.dataset_files} <= published
        assert path.with_name(f"{path.stem}.items.csv").stat().st_size < 1_000_000
