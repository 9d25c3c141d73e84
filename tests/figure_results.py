"""Results to draw: those of the sample, and made-up ones of many encoders with long names."""

import json
from dataclasses import replace

import numpy as np

from Safety_Taxonomy.map import TaxonomyMap
from utils.figures import plane
from utils.metrics.embedding import OVERLAP_BINS
from utils.results.result_file import read_with_items
from utils.tasks import TASKS

ENCODERS = ("all-minilm-l6-v2", "tfidf")
KINDS = {
    "challenging": ("heatmap", "average", "accuracy_curve"),
    "contrast": ("heatmap", "average", "overlap"),
    "taxonomy": ("heatmap", "average", "purity_against_k", "tsne"),
}
STEMS = {f"safety_{task}_{kind}" for task, kinds in KINDS.items() for kind in kinds} | {plane.NAME}


def read(folder, task):
    paths = [folder / "sample" / task / f"{name}.json" for name in ENCODERS]
    return paths, [read_with_items(path) for path in paths], [json.loads(path.read_text()) for path in paths]


def long_named(sample_results, task, encoders, groups, letters=(55, 70)):
    """Results of so many encoders and groups with items, and maps. letters: of an encoder's and of a group's name."""
    _, results, _ = read(sample_results, task)
    first, metric = results[0], TASKS[task].headline
    average = first.metric(metric, "average")
    kept = [m for m in first.metrics if m.metric != metric or m.group in ("average", *OVERLAP_BINS)]
    rows = [replace(average, group=f"group {i} ".ljust(letters[1], "g"), value=i % 10 / 10) for i in range(groups)]
    made = []
    for i in range(encoders):
        encoder = replace(first.encoder, name=f"e{i}", label=f"organisation/encoder-{i}".ljust(letters[0], "x"))
        made.append(replace(first, encoder=encoder, dataset_name="data" * 30, metrics=(*rows, *kept)))
    points = np.random.default_rng(0).normal(size=(2 * groups, 2))
    names = tuple(row.group for row in rows) * 2
    ids = tuple(map(str, range(len(names))))
    maps = [TaxonomyMap("e", one.encoder.label, ids, names, points, ((),) * len(ids), 0.9) for one in made]
    return made, maps if task == "safety_taxonomy" else []
