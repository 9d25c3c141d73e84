"""What README and docs say, held against the results that come with the program, and their links."""

import re
from dataclasses import replace

import pytest

from utils import config
from utils.compare import __main__ as compare_main
from utils.compare.paired import comparing
from utils.encoders.paper import paper_figures
from utils.encoders.registry import known_encoders
from utils.reproduce.cells import VERDICTS, read_reproduction
from utils.results.result_file import read_result
from utils.tables import rendered, with_interval
from utils.tasks import TASKS

README = (config.ROOT / "README.md").read_text(encoding="utf-8")
REFERENCES = config.ROOT / "reference_results" / "paper"
PAGES = [config.ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
PAGES += sorted(path for folder in ("docs", "Safety_*", "benchmarks") for path in config.ROOT.glob(f"{folder}/*.md"))


def page(name):
    return (config.ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def rows(heading, text=README):
    """The cells of a page's table whose first line begins with `heading`, its heading aside."""
    lines = text[text.index(heading) :].split("\n\n")[0].splitlines()
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_its_first_table_is_what_the_program_prints_of_the_reference_results():
    """Where the paper's data are, tests/evaluation/test_tasks.py compares all of it with a run's output."""
    folder = REFERENCES / "safety_taxonomy"
    minilm, tfidf = (read_result(folder / f"{name}.json") for name in ("all-minilm-l6-v2", "tfidf"))
    # A third encoder of wide cells, as a run has, moves chance and ceiling out of the first 80 columns.
    wide = replace(tfidf, encoder=replace(tfidf.encoder, label="Random" * 4))
    shown = rendered(TASKS["safety_taxonomy"].tables([minilm, tfidf, wide]), "text")
    [block] = re.findall(r"\n(Categorical Purity at 10, .*?\n)```", README, re.S)
    assert shown.startswith(block) and len(block.splitlines()) == 19


@pytest.mark.parametrize(
    ("row", "task", "metric"),
    [
        ("Categorical Purity at 10", "safety_taxonomy", "categorical_purity"),
        ("normalized similarity of safe twins", "safety_challenging", "normalized_similarity"),
        ("triplet accuracy on those", "safety_challenging", "triplet_accuracy"),
        ("boundary similarity of safe edits", "safety_contrast", "boundary_similarity"),
        ("guarded purity", "safety_contrast", "guarded_purity"),
    ],
)
def test_what_it_concludes_from_is_in_the_reference_results(row, task, metric):
    names = ("all-minilm-l6-v2", "sentence-bert-all", "tfidf")
    results, _ = comparing(TASKS[task]).alike([REFERENCES / task / f"{name}.json" for name in names])
    cells = next(cells for cells in rows("| | MiniLM-L6") if cells[0].startswith(f"{row}, "))
    means = [result.metric(metric, "average") for result in results]
    assert cells[0] == f"{row}, {means[0].better} is better"
    assert [cells[1], cells[2], cells[4]] == [with_interval(mean) for mean in means]


def test_its_table_of_tuned_encoders_is_that_of_their_page():
    heading = "| | better | MiniLM-L6 | tuned"
    found = {name: columns for name, _, *columns in rows(heading, page("tuned-encoders"))}
    for name, _, *cells in rows(heading):
        minilm, tuned, change, sbert, other, its_change = found[name]
        shown = (tuned, other) if name == "ten neighbours kept" else (change, its_change)
        expected = [minilm.partition(" ")[0], shown[0], sbert.partition(" ")[0], shown[1]]
        assert [cell.replace("*", "") for cell in cells] == [cell.replace("*", "") for cell in expected], name


def test_its_table_of_guards_is_that_of_their_page():
    found = [columns for _, *columns in rows("| | MiniLM-L6, whole", page("guardrail"))]
    for place, (_, whole, worst, sentences, but_one, one, _) in enumerate(rows("| | read whole")):
        by_whole, by_sentences = ([columns[2 * place + reading] for columns in found] for reading in (0, 1))
        assert [whole, worst] == [by_whole[0], min(by_whole[1:])]
        assert [sentences, but_one, one] == [by_sentences[0], min(by_sentences[1:-1]), by_sentences[-1]]


def test_the_papers_table_is_of_its_figures():
    shown = rows("| encoder | average similarity")[:-2]
    assert [cells[0] for cells in shown] == [known_encoders()[name]["label"] for name in paper_figures()]
    for cells, figures in zip(shown, paper_figures().values(), strict=True):
        similarity = sum(figures["normalized_similarity"].values()) / 10
        numbers = (figures["average_similarity"], similarity, figures["average_categorical_purity"])
        assert [float(cell) for cell in cells[1:]] == pytest.approx(numbers, abs=0.0005 + 1e-9)  # printed decimals


def test_the_encoder_that_it_calls_reproduced_is():
    assert "All\n24 cells of the paper's two tables are within rounding, the largest difference 0.000" in README
    found = read_reproduction("sentence-bert-all", REFERENCES.parent)
    assert found.count(VERDICTS[0]) == len(found.cells) == 24
    assert max(abs(cell.difference) for cell in found.cells) < 0.0005


def test_the_comparison_shown_is_what_its_command_prints(capsys):
    page = (config.ROOT / "docs" / "your-encoder.md").read_text(encoding="utf-8")
    [(command, block)] = re.findall(r"`python -m utils\.compare ([^`]*)`\nprints:\n\n```text\n(.*?)```", page, re.S)
    assert compare_main.main(command.replace("reference_results", str(REFERENCES.parent)).split()) == 0
    assert capsys.readouterr().out == block


def anchors(text):
    """What GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(config.ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if not link.startswith("https://"):
            address, _, anchor = link.partition("#")
            target = page.parent / address if address else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link
