"""The taxonomy as a map: the evaluated prompts of a result, by its encoder's vectors, in two dimensions."""

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from utils.data.loading import in_turn
from utils.encoders import tfidf
from utils.encoders.random_vectors import random_vectors
from utils.metrics.embedding import is_sparse
from utils.metrics.neighbors import nearest_neighbors
from utils.results.program import code_digest
from utils.schema import RANDOM_VECTORS, Dataset, InputError, Result, is_word_overlap
from utils.store.embeddings import MAP, EmbeddingStore, default_path

SEED = 0  # the paper's
PERPLEXITY = 30
# scikit-learn's 1,000 take twice as long, and lower the divergence of MiniLM's map from 1.090 to 1.079.
ITERATIONS = 500
NEIGHBORS = 10
# The most prompts of a map, as t-SNE of more takes minutes; they are taken in turn from each category.
MOST_POINTS = 4000


@dataclass(frozen=True)
class TaxonomyMap:
    """A t-SNE map of the prompts of a Safety-Taxonomy result.

    ids, categories: n each, of the prompts shown. points: float (n, 2), without unit.
    nearest: n lists of ids, of each prompt's nearest neighbours by cosine among all evaluated prompts, nearest first.
    is_part: whether they are some of the evaluated prompts only.
    trustworthiness: in [0, 1], how far neighbours on the map are neighbours in the encoder's space; higher is better.
    """

    encoder: str
    label: str
    ids: tuple[str, ...]
    categories: tuple[str, ...]
    points: np.ndarray
    nearest: tuple[tuple[str, ...], ...]
    trustworthiness: float
    is_part: bool = False


def tsne(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings in two dimensions by t-SNE of their standardised columns, as the paper draws them.

    embeddings: (n, d), n at least 4, an array or a sparse CSR matrix.
    Returns float32 (n, 2); near points are similar, large distances have no meaning.
    scikit-learn's t-SNE with 500 iterations and perplexity 30, or a third of n if that is less.
    Safe-Embed, t-SNE of the taxonomy; van der Maaten and Hinton 2008.
    """
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    if is_sparse(embeddings):
        # Standardised columns are dense. Columns of words that no prompt here has are left out, as they would be 0.
        embeddings = embeddings[:, np.unique(embeddings.indices)].toarray()
    standardised = StandardScaler().fit_transform(np.asarray(embeddings, dtype=np.float32))
    perplexity = min(PERPLEXITY, (len(standardised) - 1) / 3)
    start = "pca" if min(standardised.shape) >= 2 else "random"
    with threadpool_limits(1):  # its threads wait for each other by spinning, which takes longer than one alone
        model = TSNE(perplexity=perplexity, init=start, max_iter=ITERATIONS, random_state=SEED)
        return model.fit_transform(standardised)


def trustworthiness(embeddings: np.ndarray, points: np.ndarray) -> float:
    """How far each point's neighbours on a map are neighbours in the encoder's space by cosine (scikit-learn).

    embeddings: (n, d). points: (n, 2). Returns a float in [0, 1], 1 is best. Venna and Kaski 2001, among 5 neighbours.
    """
    from sklearn.manifold import trustworthiness as by_scikit_learn

    k = min(5, (len(points) - 1) // 2)
    return float(by_scikit_learn(embeddings, points, n_neighbors=k, metric="cosine"))


def vectors_of(result: Result, texts: Sequence[str], store: EmbeddingStore) -> np.ndarray:
    """The vectors that a result was computed from: float32 (n, d), in the order of `texts`. No model is loaded.

    Vectors of TF-IDF are a sparse CSR matrix.
    texts: evaluated prompts, all of them for TF-IDF, which is fitted on them.
    Raises InputError if a vector is not in the store.
    """
    encoder = result.encoder
    if is_word_overlap(encoder):
        return tfidf.fit_words(texts)[1]
    if encoder.backend == RANDOM_VECTORS:
        return random_vectors(texts)
    stored = store.get(encoder.fingerprint, list(dict.fromkeys(texts)), encoder.dimension)
    if any(text not in stored for text in texts):
        raise InputError(
            f"{encoder.name}: its vectors are not in the embedding store; remove its result file and run the task "
            "again without --no-cache"
        )
    return np.stack([stored[text] for text in texts])


def taxonomy_map(
    result: Result, ids: Sequence[str], categories: Sequence[str], texts: Sequence[str], store: EmbeddingStore
) -> TaxonomyMap:
    """The map of a Safety-Taxonomy result, from the stored vectors. The map is stored too.

    ids, categories, texts: n each, of the evaluated prompts. Raises InputError if a vector is not in the store.
    """
    shown = in_turn(categories, MOST_POINTS)
    data = "\0".join([*texts, *categories]).encode("utf-8", "surrogatepass")
    name = f"{MAP}{SEED} {PERPLEXITY} {MOST_POINTS} {NEIGHBORS} {hashlib.sha256(data).hexdigest()}"
    kept = store.fact(result.encoder.fingerprint, name)
    code = code_digest("Safety_Taxonomy")
    if kept is None or kept.get("code") != code:
        vectors = vectors_of(result, texts, store)
        neighbors = nearest_neighbors(vectors, min(NEIGHBORS, len(texts) - 1))[shown]
        points = tsne(vectors[shown])
        kept = {
            "code": code,
            "points": points.tolist(),
            "nearest": neighbors.tolist(),
            "trustworthiness": trustworthiness(vectors[shown], points),
        }
        if store.encoder_info(result.encoder.fingerprint) is None:  # of a control, whose vectors are not kept
            store.put_encoder_info(result.encoder)
        store.put_fact(result.encoder.fingerprint, name, kept)
    return TaxonomyMap(
        encoder=result.encoder.name,
        label=result.encoder.label,
        ids=tuple(ids[i] for i in shown),
        categories=tuple(categories[i] for i in shown),
        points=np.array(kept["points"]),
        nearest=tuple(tuple(ids[j] for j in row) for row in kept["nearest"]),
        trustworthiness=kept["trustworthiness"],
        is_part=len(shown) < len(ids),
    )


def taxonomy_maps(
    results: Sequence[Result],
    dataset: Dataset,
    note: Callable[[str], None] = lambda sentence: None,
) -> list[TaxonomyMap]:
    """The maps of all Safety-Taxonomy results whose vectors are stored.

    results: with their items. dataset: all of the evaluated data. note: called with the reason for each missing map.
    """
    text_of = dict(zip(dataset.ids, dataset.texts["question"], strict=True))
    maps = []
    try:
        store = EmbeddingStore(default_path())
    except InputError as error:
        note(f"without maps: {error}")
        return []
    with contextlib.closing(store) as kept:
        for result in results:
            ids, categories = result.items["id"], result.items["category"]
            try:
                maps.append(taxonomy_map(result, ids, categories, [text_of[i] for i in ids], kept))
            except InputError as error:
                note(f"without a map: {error}")
            except KeyError as error:
                note(f"without a map: the items of {result.encoder.name} name id {error}, which the data don't have")
    return maps
