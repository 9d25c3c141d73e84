"""Word overlap as an encoder: TF-IDF fitted on the texts themselves."""

from collections.abc import Sequence

import numpy as np

from utils.schema import InputError

# A run needs some seven times as much (benchmarks/README.md). The paper's data take 7 MB, its contrast set 84.
TFIDF_MOST_BYTES = 2**28


def tfidf_vectors(texts: Sequence[str]) -> np.ndarray:
    """Word TF-IDF fitted on the texts themselves: float32 (n, number of words); what word overlap alone gets.

    scikit-learn's defaults: words are lower-cased runs of two letters, digits or underscores at least. A text without
    a word gives a zero row. Raises InputError if no text has one, or if the matrix, which grows as texts times words,
    would take more than TFIDF_MOST_BYTES.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(dtype=np.float32)
    try:
        vectors = vectorizer.fit_transform(texts)
    except ValueError:  # an empty vocabulary
        raise InputError("--model tfidf: no text has a word of two letters or more; take another encoder") from None
    n, words = vectors.shape
    size = n * words * vectors.dtype.itemsize
    if size > TFIDF_MOST_BYTES:
        raise InputError(
            f"--model tfidf: {n} texts with {words} different words take {size / 2**20:.0f} MiB, more than the "
            f"{TFIDF_MOST_BYTES / 2**20:.0f} allowed; take fewer rows (--limit) or another encoder"
        )
    return vectors.toarray()
