"""What an encoder was tuned on is marked as seen wherever its numbers are shown, and takes no rank."""

import csv
import io
import json

from checkpoints import sentence_bert

from Safety_Detection import guards
from Safety_Detection.sets import labelled_sets
from Safety_Detection.task import TASK
from utils.compare import __main__ as compare
from utils.evaluation.evaluation import with_seen
from utils.evaluation.run import evaluate
from utils.schema import Metric
from utils.tables import with_interval


def test_numbers_of_a_seen_set_and_means_over_one_are_marked():
    pair, other, against, mean = (
        Metric("auroc", "g", 0.5, 9, "higher", low=0.4, high=0.6, test=test, against=by)
        for test, by in (("a", None), ("b", None), ("b", "a"), (None, None))
    )
    marks = [metric.seen for metric in with_seen([pair, other, against, mean], ("a", "c"))]
    assert marks == [True, None, True, True]
    assert with_seen([pair, mean], ("c",)) == [pair, mean], "nothing of what was tuned on is tested"
    assert with_interval(with_seen([pair], ("a",))[0]) == "0.500 ±0.100 (seen)"


def test_a_tuned_encoder_takes_no_rank_by_what_it_was_tuned_on(tmp_path, capsys):
    for seed, name in enumerate(("tuned", "plain")):
        folder = sentence_bert(tmp_path / name, seed)
        if name == "tuned":
            (folder / "tuning.json").write_text(json.dumps({"seen": ["edits"]}))
    models = f"{tmp_path / 'tuned'},{tmp_path / 'plain'}"
    given = ["--model", models, "--data", "sample", "--out", str(tmp_path / "out"), "--no-figures", "--bootstrap", "0"]
    assert evaluate(TASK, given) == 0
    assert "(seen)" in capsys.readouterr().out
    results = [json.loads(path.read_text()) for path in (tmp_path / "out").rglob("*.json")]
    seen = {r["encoder"]["label"]: {m["test"] for m in r["metrics"] if m.get("seen") and "test" in m} for r in results}
    assert sorted(map(sorted, seen.values())) == [[], [], ["edits"]], "of TF-IDF and of the plain one nothing"
    assert compare.main(["--out", str(tmp_path / "out"), "--task", "safety_detection", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    ranks = {row["encoder"].split("@")[0]: row["rank"] for row in rows if row["rank"]}
    assert set(ranks) == {"plain", "tfidf"}

    # A guard beside them, whose scores are the labels, changes nothing in that.
    sample = labelled_sets.load("sample")[0]
    scores = "".join(f"{one},{label}\n" for one, label in zip(sample.ids, sample.labels, strict=True))
    (tmp_path / "scores.csv").write_text(f"id,score\n{scores}")
    beside = ["--name", "judge", "--data", "sample", "--out", str(tmp_path / "out")]
    assert guards.main(["--scores", str(tmp_path / "scores.csv"), *beside]) == 0
    assert "(seen)" in capsys.readouterr().out
    names = ["judge", *(result["encoder"]["name"] for result in results)]
    assert compare.main([*names, "--data", "sample", "--out", str(tmp_path / "out"), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    ranks = {row["encoder"].split("@")[0]: row["rank"] for row in rows if row["rank"]}
    assert set(ranks) == {"judge", "plain", "tfidf"} and ranks["judge"] == "1"
