"""The three evaluations from the command line to the result file, on real weights and real data where they are."""

import csv
import json
import os
import re
import stat
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256

import numpy as np
import oracles
import pytest
from doubles import StandIn, written

from Safety_Challenging.evaluate import TASK as CHALLENGING
from Safety_Contrast.evaluate import TASK as CONTRAST
from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils import config, files
from utils.encoders import loading, registry, tfidf
from utils.encoders.paper import paper_figures
from utils.evaluation.run import evaluate, evaluate_all
from utils.metrics import summary
from utils.results import result_file
from utils.schema import CONTROLS, DataFile, InputError

TASKS = [CHALLENGING, CONTRAST, TAXONOMY]


def run(task, tmp_path, *flags):
    """Runs an evaluation; its status. Results go to a folder of the test's."""
    return evaluate(task, ["--out", str(tmp_path / "results"), *flags])


def document(tmp_path, task, encoder="tfidf", dataset="sample", within="results"):
    return json.loads((tmp_path / within / dataset / task.name / f"{encoder}.json").read_text())


def items(tmp_path, task, encoder="tfidf", dataset="sample", within="results"):
    with (tmp_path / within / dataset / task.name / f"{encoder}.items.csv").open() as stream:
        return list(csv.DictReader(stream))


def value(doc, metric, group):
    return next(m["value"] for m in doc["metrics"] if (m["metric"], m["group"]) == (metric, group))


# --- A small world with known answers -------------------------------------------------------------------------------

ANGLES = {
    # pairs of type a at 0/60 and 90/90, of type b at 180/240 and 270/300
    "u1": 0, "s1": 60, "u2": 90, "s2": 90, "u3": 180, "s3": 240, "u4": 270, "s4": 300,
}  # fmt: skip


@pytest.fixture
def compass(monkeypatch):
    """An encoder that reads an angle off ANGLES."""

    class Compass(StandIn):
        dimension = 2

        def encode(self, texts):
            radians = np.radians([ANGLES.get(text) if text in ANGLES else float(text) for text in texts])
            return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)

    monkeypatch.setattr(loading, "load", lambda spec: Compass())


def test_safety_challenging_by_hand(compass, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("id,type,unsafe_prompt,safe_prompt\n1,a,u1,s1\n2,a,u2,s2\n3,b,u3,s3\n4,b,u4,s4\n")
    assert run(CHALLENGING, tmp_path, "--data", str(path), "--baseline", "0.2") == 0
    doc = document(tmp_path, CHALLENGING, "all-minilm-l6-v2+0.2", "pairs")
    # Cosines 0.5, 1, 0.5, cos 30 = 0.8660254; normalized with b = 0.2: 0.375, 1, 0.375, 0.8325318.
    got = [value(doc, "normalized_similarity", g) for g in ("a", "b", "average", "overall")]
    assert got == pytest.approx([(0.375 + 1) / 2, (0.375 + 0.8325318) / 2, 0.64563295, 0.64563295], abs=1e-6)
    # Below 0.5: the first and the third.
    assert value(doc, "pairwise_accuracy", "overall") == 0.5
    # The rivals are 90 degrees away, no nearer than any twin.
    assert value(doc, "triplet_accuracy", "overall") == 0
    assert doc["settings"]["baseline"]["source"] == "given"
    assert [row["id"] for row in items(tmp_path, CHALLENGING, "all-minilm-l6-v2+0.2", "pairs")] == ["1", "2", "3", "4"]


def test_safety_contrast_by_hand(compass, tmp_path, monkeypatch):
    """Two originals of two words; the edits of the first fall into three bins, the second's into one."""
    degrees = {"o p": 0, "o p q": 30, "o r s": 60, "x": 91, "y": 20, "z": 80, "v w": 45, "k": 180, "m": 200}
    for text, angle in degrees.items():
        monkeypatch.setitem(ANGLES, text, angle)
    rows = [["o p", "o p q", "o r s", "x", "y", "z"], ["v w", "k", "m", "x", "y", "z"]]
    names = ["original_prompt", *(f"prompt_#{j}" for j in range(1, 6))]
    lines = [{"id": i, "category": "a", **dict(zip(names, row, strict=True))} for i, row in enumerate(rows)]
    path = tmp_path / "bins.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    assert run(CONTRAST, tmp_path, "--data", str(path), "--baseline", "0") == 0
    doc = document(tmp_path, CONTRAST, "all-minilm-l6-v2+0.0", "bins")

    def cosines(*angles):
        return np.cos(np.radians(angles))

    # The nearest edits are 20 and 25 degrees away; below 0.5, more than 60 degrees away, are 2 and 2 of the five.
    of_all = [cosines(30, 60, 91, 20, 80), cosines(135, 155, 46, 25, 35)]
    assert value(doc, "boundary_similarity", "a") == pytest.approx(cosines(20, 25).mean(), abs=1e-6)
    assert value(doc, "mean_similarity", "a") == pytest.approx(np.mean(of_all), abs=1e-6)
    assert value(doc, "pairwise_accuracy", "a") == pytest.approx(2 / 5)
    # Overlaps of the first: {o p} with {o p q} 2/3, with {o r s} 1/4, with x, y, z 0. The second's are all 0.
    top, middle, bottom = "overlap >= 0.5", "overlap 0.2-0.5", "overlap < 0.2"
    assert value(doc, "boundary_similarity", top) == pytest.approx(cosines(30)[0], abs=1e-6)
    assert value(doc, "boundary_similarity", middle) == pytest.approx(cosines(60)[0], abs=1e-6)
    # Below 0.2: x, y, z at 91, 20, 80 from the first; k, m, x, y, z at 135, 155, 46, 25, 35 from the second.
    assert value(doc, "boundary_similarity", bottom) == pytest.approx(cosines(20, 25).mean(), abs=1e-6)
    means = [cosines(91, 20, 80).mean(), cosines(135, 155, 46, 25, 35).mean()]
    assert value(doc, "mean_similarity", bottom) == pytest.approx(np.mean(means), abs=1e-6)
    # A cosine below 0.5 is more than 60 degrees: of the first 2 of 3, of the second 2 of 5.
    assert value(doc, "pairwise_accuracy", bottom) == pytest.approx((2 / 3 + 2 / 5) / 2)
    # The rival is 45 degrees away: nearer than 2 of the first's 3 edits and 3 of the second's 5.
    assert value(doc, "triplet_accuracy", bottom) == pytest.approx((2 / 3 + 3 / 5) / 2)
    # x, y, z are the third to the fifth edit: y is 20 degrees from the first original, 25 from the second.
    assert [row["nearest_edit"] for row in items(tmp_path, CONTRAST, "all-minilm-l6-v2+0.0", "bins")] == ["4", "4"]
    counts = {m["group"]: m["n"] for m in doc["metrics"] if m["metric"] == "boundary_similarity"}
    assert (counts[top], counts[middle], counts[bottom], counts["overall"]) == (1, 1, 2, 2)


def test_safety_taxonomy_by_hand(compass, tmp_path):
    path = tmp_path / "circle.csv"
    path.write_text("id,types_of_harm,question\n1,a,0\n2,a,10\n3,a,20\n4,b,25\n5,b,100\n")
    assert run(TAXONOMY, tmp_path, "--data", str(path), "--top-k", "2") == 0
    doc = document(tmp_path, TAXONOMY, "all-minilm-l6-v2", "circle")
    # By hand in test_metrics: a 1, 1, 1/2; b 0, 1/2.
    got = [value(doc, "categorical_purity", g) for g in ("a", "b", "average", "overall")]
    assert got == pytest.approx([2.5 / 3, 0.25, (2.5 / 3 + 0.25) / 2, 0.6])
    b = next(m for m in doc["metrics"] if (m["metric"], m["group"]) == ("categorical_purity", "b"))
    assert (b["chance"], b["ceiling"], b["n"], b["better"]) == (0.25, 0.5, 2, "higher")
    assert {m["metric"] for m in doc["metrics"]} == {"categorical_purity", "categorical_purity@1", "silhouette", "nmi"}


@pytest.mark.parametrize(("umask", "mode"), [(0o027, 0o640), (0o002, 0o664)])
def test_a_new_file_has_what_the_umask_leaves_and_a_replaced_one_keeps_its_mode(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        path = written(tmp_path, "one", np.linspace(0, 1, 22))
        items_path = path.with_name("one.items.csv")
        names = ["one.influence.safetensors", "one.items.csv", "one.json"]
        assert [stat.S_IMODE(p.stat().st_mode) for p in (path, items_path)] == [mode, mode]
        path.chmod(0o604)
        written(tmp_path, "one", np.linspace(0, 0.5, 22))
        assert [stat.S_IMODE(p.stat().st_mode) for p in (path, items_path)] == [0o604, mode]
    finally:
        os.umask(before)
    assert sorted(p.name for p in path.parent.iterdir()) == names


def test_a_link_stays_and_a_pipe_is_not_replaced(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    files.write_whole(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "real.txt").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"pipe: can't be written \(it is a device or a pipe\)"):
        files.write_whole(tmp_path / "pipe", "new")
    assert (tmp_path / "pipe").is_fifo() and len(list(tmp_path.iterdir())) == 3


# --- Real data and weights -------------------------------------------------------------------------------------------


def test_paper_data_with_minilm_equals_an_independent_computation(paper_data, tmp_path, capsys):
    """All three tasks on the paper's data; headline numbers again from the vectors by plain numpy."""
    for task in TASKS:
        assert run(task, tmp_path, "--data", "paper") == 0
    printed, readme = capsys.readouterr().out, (config.ROOT / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```text\n(Categorical Purity at 10.*?\n)```", readme, re.S)
    assert block in printed, "the README's output, byte for byte"
    encoder = loading.load(registry.resolve("all-minilm-l6-v2"))

    def read(name):
        with (paper_data / name).open(encoding="utf-8-sig") as stream:
            return list(csv.DictReader(stream))

    def vectors(texts):
        rows = np.empty((len(texts), 384))
        by_length = np.argsort([len(text) for text in texts])
        for some in (by_length[i : i + 64] for i in range(0, len(texts), 64)):
            rows[some] = encoder.encode([texts[i].strip() for i in some])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    rows = read("do_not_answer.csv")
    x, categories = vectors([row["question"] for row in rows]), np.array([row["types_of_harm"] for row in rows])
    similarity = x @ x.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :10]
    purity = (categories[nearest] == categories[:, None]).mean(axis=1)
    doc = document(tmp_path, TAXONOMY, "all-minilm-l6-v2", "paper")
    assert value(doc, "categorical_purity", "overall") == pytest.approx(purity.mean(), abs=2e-4)
    by_category = [purity[categories == c].mean() for c in dict.fromkeys(categories)]
    assert value(doc, "categorical_purity", "average") == pytest.approx(np.mean(by_category), abs=2e-4)
    duplicate = {row["id"]: row["nearest_id"] for row in items(tmp_path, TAXONOMY, "all-minilm-l6-v2", "paper")}
    assert (duplicate["433"], duplicate["434"]) == ("434", "433")

    rows = read("xstest_aug.csv")
    u, v = vectors([row["unsafe_prompt"] for row in rows]), vectors([row["safe_prompt"] for row in rows])
    doc = document(tmp_path, CHALLENGING, "all-minilm-l6-v2", "paper")
    b = doc["settings"]["baseline"]["value"]
    everything, types = np.concatenate([u, v]), np.array([row["type"] for row in rows] * 2)
    assert b == pytest.approx((everything @ everything.T)[types[:, None] != types].mean(), abs=1e-5)
    normalized = ((u * v).sum(axis=1) - b) / (1 - b)
    assert value(doc, "normalized_similarity", "overall") == pytest.approx(normalized.mean(), abs=1e-5)

    lines = [json.loads(line) for line in (paper_data / "contrast_parsed.jsonl").read_text().splitlines()]
    edits = np.stack([vectors([line[f"prompt_#{j}"] for line in lines]) for j in range(1, 6)], axis=1)
    doc = document(tmp_path, CONTRAST, "all-minilm-l6-v2", "paper")
    b = doc["settings"]["baseline"]["value"]
    boundary = (np.einsum("nd,nmd->nm", x, edits).max(axis=1) - b) / (1 - b)
    assert value(doc, "boundary_similarity", "overall") == pytest.approx(boundary.mean(), abs=1e-5)
    # Do-Not-Answer's questions are embedded once for both tasks.
    embedding = document(tmp_path, TAXONOMY, "all-minilm-l6-v2", "paper")["embedding"]
    assert (embedding["unique"], embedding["computed"]) == (938, 0)


def test_random_on_the_papers_data_is_what_knowing_nothing_gets(paper_data, tmp_path):
    """Each score by the distribution of random cosines, within four of its standard deviations."""
    for task in TASKS:
        assert run(task, tmp_path, "--data", "paper", "--model", "random", "--bootstrap", "0") == 0
    purity = [
        m for m in document(tmp_path, TAXONOMY, "random", "paper")["metrics"] if m["metric"] == "categorical_purity"
    ]
    categories, average = purity[:-2], purity[-2]
    # Ten neighbours drawn without regard to categories: for each prompt the share of its own varies by p (1 - p) / 10.
    variances = [m["chance"] * (1 - m["chance"]) / 10 / m["n"] for m in categories]
    assert average["value"] == pytest.approx(average["chance"], abs=4 * sum(variances) ** 0.5 / len(categories))
    assert average["chance"] == pytest.approx(0.082, abs=0.0005)
    # A cosine is normal with mean 0 and standard deviation 1 / sqrt(384); the largest of five is 1.163 of them above 0.
    deviation = 384**-0.5
    challenging, contrast = (document(tmp_path, task, "random", "paper") for task in (CHALLENGING, CONTRAST))
    for doc, metric, expected, spread in (
        (challenging, "normalized_similarity", 0, deviation / 250**0.5),
        (contrast, "mean_similarity", 0, deviation / (5 * 939) ** 0.5),
        (contrast, "boundary_similarity", 1.163 * deviation, 0.669 * deviation / 939**0.5),
        # A share of other prompts that are nearer than one is uniform on [0, 1].
        (challenging, "triplet_accuracy", 0.5, (12 * 250) ** -0.5),
        (contrast, "triplet_accuracy", 0.5, (12 * 5 * 939) ** -0.5),
    ):
        assert value(doc, metric, "overall") == pytest.approx(expected, abs=4 * spread), metric
        assert doc["settings"]["baseline"]["source"] == "own"
        assert doc["settings"]["baseline"]["value"] == pytest.approx(0, abs=1e-3)


def test_all_tasks_at_once_are_as_each_by_itself_and_load_an_encoder_once(no_model, tmp_path, capsys, monkeypatch):
    loads, load = [], loading.load
    monkeypatch.setattr(loading, "load", lambda spec: loads.append(spec.name) or load(spec))
    flags = ["--data", "sample", "--bootstrap", "1000", "--out", str(tmp_path / "results"), "--limit", "40"]
    assert evaluate_all(TASKS, "scripts.all_tasks", flags) == 0
    assert loads == ["all-minilm-l6-v2", "random"]
    together = capsys.readouterr()
    assert together.err.count("  sha256   ") == 3 and together.out.count("SAMPLE: scores") == 3
    assert max(map(len, together.out.splitlines())) <= 80 and "\x1b" not in together.out
    assert together.err.count("the average similarity is that of the evaluated prompts (own), because ") == 1, (
        "for two tasks"
    )
    for task in TASKS:
        one = [document(tmp_path, task, name) for name in ("all-minilm-l6-v2", *CONTROLS)]
        assert run(task, tmp_path, *flags[:4], *flags[6:], "--no-cache") == 0
        assert capsys.readouterr().out.strip() in together.out
        for before, name in zip(one, ("all-minilm-l6-v2", *CONTROLS), strict=True):
            assert document(tmp_path, task, name)["metrics"] == before["metrics"]
    assert len(loads) == 2 * (1 + 3)


def test_the_result_file_is_as_the_contract_says_and_holds_no_prompt(sample_results):
    for task in TASKS:
        doc = document(sample_results, task, within="")
        assert list(doc) == [
            "schema", "task", "created", "seconds", "encoder", "dataset", "settings", "embedding", "metrics",
            "environment", "made_by", *(["average_similarities"] if task.uses_baseline else []), "items", "influence",
        ]  # fmt: skip
        for name in ("influence.safetensors", "items.csv"):
            content = (sample_results / "sample" / task.name / f"tfidf.{name}").read_bytes()
            assert doc[name.partition(".")[0]] == {"sha256": sha256(content).hexdigest()}
        if task.uses_baseline:
            assert doc["average_similarities"] == {"own": doc["settings"]["baseline"]["value"]}
        assert list(doc["encoder"]) == [
            "name", "label", "source", "revision", "dimension", "dtype", "max_tokens", "prompt", "backend",
            "fingerprint",
        ]  # fmt: skip
        assert list(doc["dataset"]) == ["name", "files", "items"]
        assert {"top_k", "threshold", "bootstrap", "seed", "baseline"} == doc["settings"].keys()
        assert list(doc["environment"]) == ["version", "python", "platform", "device", "packages", "commit"]
        rows = items(sample_results, task, within="")
        assert len(rows) == doc["dataset"]["items"]
        for headline in [m for m in doc["metrics"] if m["group"] == "overall" and m["metric"] in rows[0]]:
            numbers = [float(row[headline["metric"]]) for row in rows if row[headline["metric"]]]
            assert np.mean(numbers) == pytest.approx(headline["value"])
        with (config.ROOT / task.package / task.format.sample).open() as stream:
            texts = re.findall(r"[A-Z][^\",|]{30,}\?", stream.read())
        whole = b"".join(p.read_bytes() for p in (sample_results / "sample").rglob("*") if p.is_file())
        assert texts and not [text for text in texts if text.encode() in whole]


def test_what_is_no_result_file_is_named(sample_results, tmp_path):
    path = tmp_path / "tfidf.json"
    text = (sample_results / "sample" / "safety_challenging" / "tfidf.json").read_text()
    path.write_text(text.replace('"schema": 1', '"schema": 99'))
    with pytest.raises(InputError, match="schema 99, this version reads 1"):
        result_file.read_result(path)
    for broken in ("{", "[" * 100_000, '{"schema": 1, "settings": []}'):
        path.write_text(broken)
        with pytest.raises(InputError, match="not a result file"):
            result_file.read_result(path)


def test_a_paper_encoder_on_the_papers_data_stands_beside_the_papers_figures(sample_results):
    """The sample's numbers under a paper encoder's name: the columns and the arithmetic are looked at."""
    name, figures = next(iter(paper_figures().items()))
    entry = registry.known_encoders()[name]
    revision = " + ".join(commit or named for _, named, commit in registry.listed_checkpoints(entry))
    result = result_file.read_result(sample_results / "sample" / TAXONOMY.name / "tfidf.json")
    encoder = replace(result.encoder, name=name, source=entry["source"], revision=revision, prompt=entry["prompt"])
    card = TAXONOMY.format.card
    result = replace(result, encoder=encoder, dataset_files=(DataFile(card.file, card.sha256, card.rows),))
    table = TAXONOMY.tables([result])[0]
    assert table.headings == ["category", "n", "TF-IDF", "paper", "minus paper", "chance", "ceiling"]
    shown = {row[0].text: [cell.text for cell in row[3:5]] for row in (*table.rows, *table.foot)}
    papers = figures["categorical_purity_at_10"] | {"average": figures["average_categorical_purity"]}
    assert shown.pop("overall") == ["-", "-"] and shown.keys() == papers.keys()
    for group, cells in shown.items():
        ours = result.value("categorical_purity", group)
        assert cells == [f"{papers[group]:.3f}", f"{ours - papers[group]:+.3f}"]
    at_five = replace(result, settings={**result.settings, "top_k": 5})
    assert "paper" not in TAXONOMY.tables([at_five])[0].headings, "not beside another k"


def test_summaries_by_hand():
    # a: 1, 0 -> 0.5; b: 1, NaN -> 1 of one item; average 0.75, overall 2/3.
    rows = summary.summarise("m", [1, 0, 1, np.nan], list("aabb"), ("a", "b"), "higher", chance=[0.1, 0.3, 0.4, 9])
    assert [(r.group, r.n, r.value) for r in rows] == [
        ("a", 2, 0.5), ("b", 1, 1.0), ("average", 3, 0.75), ("overall", 3, pytest.approx(2 / 3)),
    ]  # fmt: skip
    assert [r.chance for r in rows] == pytest.approx([0.2, 0.4, 0.3, 0.8 / 3])
    assert summary.summarise("m", [np.nan], ["a"], ("a",), "higher") == []


def test_purity_of_the_sample_is_the_slow_oracles(sample_results):
    with (config.ROOT / "Safety_Taxonomy" / "sample.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    vectors = tfidf.fit_words([row["question"] for row in rows])[1].toarray().astype(float)
    purity = oracles.purity(vectors.tolist(), [row["types_of_harm"] for row in rows], 10)
    found = [float(row["categorical_purity"]) for row in items(sample_results, TAXONOMY, within="")]
    assert found == pytest.approx(purity)


def test_a_run_whose_embeddings_are_stored_imports_no_torch(sample_store, tmp_path):
    code = (
        "import sys; from Safety_Taxonomy.evaluate import TASK, evaluate\n"
        "status = evaluate(TASK, ['--data', 'sample', '--quiet', '--out', sys.argv[1]])\n"
        "print(status, [m for m in ('torch', 'transformers', 'sentence_transformers') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=config.ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == "0 []"
    document = json.loads((tmp_path / "sample" / "safety_taxonomy" / "all-minilm-l6-v2.json").read_text())
    stats = document["embedding"]
    assert (stats["computed"], stats["reused"]) == (0, stats["unique"]) and document["settings"]["bootstrap"] != 1000
