"""The map of the taxonomy: what t-SNE is given, what it shows, and that it is computed once."""

import csv

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.manifold import TSNE

from Safety_Taxonomy import figures as taxonomy_figures
from Safety_Taxonomy import map as projection
from Safety_Taxonomy.task import FORMAT
from utils import config
from utils.data.loading import load_evaluated
from utils.results.result_file import read_result, read_with_items
from utils.store.embeddings import EmbeddingStore, default_path


@pytest.fixture
def clusters():
    """Three clusters of 20 in 8 dimensions, far from one another: (60, 8), and the cluster of each row."""
    generator = np.random.default_rng(0)
    centres = 20 * np.eye(3, 8)
    return (np.repeat(centres, 20, axis=0) + generator.normal(size=(60, 8))), np.repeat(range(3), 20)


def test_columns_are_standardised_first(clusters):
    rows, _ = clusters
    # Powers of two scale a float without rounding, so a map of standardised columns can't see them.
    scaled = (rows * 2.0 ** np.arange(-4, 4)).astype(np.float32)
    assert np.array_equal(projection.tsne(rows.astype(np.float32)), projection.tsne(scaled))


def test_clusters_stay_together_and_trustworthiness_tells(clusters):
    rows, labels = clusters
    points = projection.tsne(rows)
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(axis=1)] == labels).all()
    angles = np.sort(np.random.default_rng(1).uniform(0, 3, 30))
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # on a circle the nearest by cosine are the nearest
    assert projection.trustworthiness(arc, arc) == 1
    assert projection.trustworthiness(arc, np.random.default_rng(0).permutation(arc)) < 0.7


def test_a_map_of_sparse_rows_is_that_of_the_same_rows_made_dense(monkeypatch):
    # No text has words 3 and 7, so their columns are all 0 and are left out of what t-SNE is given.
    rows = np.random.default_rng(2).integers(0, 3, size=(40, 12)).astype(np.float32)
    rows[:, 0] += 1
    rows[:, [3, 7]] = 0
    monkeypatch.setattr(TSNE, "fit_transform", lambda self, given: given)
    given = projection.tsne(csr_array(rows))
    assert given.shape == (40, 10) and given.mean(axis=0) == pytest.approx(0, abs=1e-6)
    assert given == pytest.approx(np.delete(projection.tsne(rows), [3, 7], axis=1), abs=1e-6)
    dense = projection.trustworthiness(rows, rows[:, :2])
    assert 0 < dense < 1 and projection.trustworthiness(csr_array(rows), rows[:, :2]) == pytest.approx(dense)


def test_four_prompts_are_enough():
    assert projection.tsne(np.eye(4)).shape == (4, 2)
    assert projection.tsne(np.arange(4.0)[:, None]).shape == (4, 2)


def test_a_map_is_of_the_evaluated_prompts_and_is_kept(sample_results, sample_store, monkeypatch):
    paths = [sample_results / "sample" / "safety_taxonomy" / f"{name}.json" for name in ("all-minilm-l6-v2", "tfidf")]
    results = [read_with_items(path) for path in paths]
    dataset = load_evaluated(results[0], None)
    maps = projection.taxonomy_maps(results, dataset)
    assert [one.label for one in maps] == ["MiniLM-L6", "TF-IDF"]
    with (config.ROOT / "Safety_Taxonomy" / "sample.csv").open(encoding="utf-8") as stream:
        question = {row["id"]: row["question"] for row in csv.DictReader(stream)}
    store = EmbeddingStore(default_path())
    for one, result in zip(maps, results, strict=True):
        assert len(one.ids) == 144 and one.points.shape == (144, 2) and 0.5 < one.trustworthiness <= 1
        texts = [question[i] for i in one.ids]
        vectors = projection.vectors_of(result, texts, store)
        vectors = vectors if isinstance(vectors, np.ndarray) else vectors.toarray()
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosine = unit.astype(float) @ unit.T.astype(float)
        for row in (0, 17, 143):
            others = sorted((j for j in range(144) if j != row), key=lambda j: -cosine[row, j])[:10]
            got = [cosine[row, one.ids.index(i)] for i in one.nearest[row]]
            assert got == pytest.approx([cosine[row, j] for j in others], abs=1e-6)
        nearest = dict(zip(result.items["id"], result.items["nearest_id"], strict=True))
        assert [row[0] for row in one.nearest] == [nearest[i] for i in one.ids]
    monkeypatch.setattr(projection, "tsne", lambda vectors: pytest.fail("computed again"))
    again = projection.taxonomy_maps(results, dataset)
    assert all(np.array_equal(a.points, b.points) for a, b in zip(maps, again, strict=True))
    notes = []
    store.prune(results[0].encoder.fingerprint)
    assert [one.label for one in projection.taxonomy_maps(results, dataset, notes.append)] == ["TF-IDF"]
    assert len(notes) == 1 and "run the task again without --no-cache" in notes[0]


def test_a_map_by_another_program_is_computed_anew(result, monkeypatch):
    store = EmbeddingStore(default_path())
    texts = [f"word{i} apple{i % 3} pear{i % 5}" for i in range(12)]
    calls, tsne = [], projection.tsne
    monkeypatch.setattr(projection, "tsne", lambda vectors: calls.append(1) or tsne(vectors))
    made = []
    for digest in ("one", "one", "another"):
        monkeypatch.setattr(projection, "code_digest", lambda folder, digest=digest: digest)
        projection.taxonomy_map(result, texts, ["a", "b"] * 6, texts, store)
        made.append(len(calls))
    assert made == [1, 1, 2]


def test_a_map_is_not_taken_for_that_of_other_categories(result, monkeypatch):
    """Beyond MOST_POINTS the categories say which prompts are shown."""
    monkeypatch.setattr(projection, "MOST_POINTS", 6)
    texts = [f"word{i} apple{i % 3} pear{i % 5}" for i in range(12)]
    ids = [str(i) for i in range(12)]
    store = EmbeddingStore(default_path())
    maps = [
        projection.taxonomy_map(result, ids, categories, texts, store)
        for categories in (["a"] * 6 + ["b"] * 6, ["a", "b"] * 6)
    ]
    assert [one.ids for one in maps] == [("0", "1", "2", "6", "7", "8"), ("0", "1", "2", "3", "4", "5")]
    assert not np.array_equal(maps[0].points, maps[1].points)


@pytest.fixture
def result(sample_results):
    return read_result(sample_results / "sample" / "safety_taxonomy" / "tfidf.json")


def test_a_category_has_one_colour_and_mark_everywhere():
    twelve = list(FORMAT.known_groups.values())
    styles = taxonomy_figures.category_styles(twelve)
    assert len(set(styles.values())) == 12 and len({mark for _, mark in styles.values()}) == 12
    assert taxonomy_figures.category_styles(twelve[5:7]) == {name: styles[name] for name in twelve[5:7]}
    assert len(set(taxonomy_figures.category_styles([f"own {i}" for i in range(144)]).values())) == 144
