"""Word overlap as an encoder: TF-IDF that is fitted on texts, those that are evaluated or those of a training side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.schema import InputError


@dataclass(frozen=True)
class Words:
    """Fitted TF-IDF. vocabulary: the words of the texts it was fitted on, in order. idf: float32, one for each."""

    vocabulary: tuple[str, ...]
    idf: np.ndarray

    def rows(self, texts: Sequence[str]):
        """Sparse float32 (n, words), rows of length 1; a text without a known word gives a row of 0."""
        vectorizer = _vectorizer(vocabulary=self.vocabulary)
        vectorizer.idf_ = self.idf
        return vectorizer.transform(texts)


def fit_words(texts: Sequence[str]) -> tuple:
    """TF-IDF fitted on texts: `Words`, and the rows of the texts themselves, a sparse float32 CSR matrix (n, words).

    scikit-learn's defaults: words are lower-cased runs of two letters, digits or underscores at least. Rows are of
    length 1; a text without a word gives a row of 0. Raises InputError if no text has a word.
    """
    vectorizer = _vectorizer()
    try:
        rows = vectorizer.fit_transform(texts)
    except ValueError:  # an empty vocabulary
        raise InputError("--model tfidf: no text has a word of two letters or more; take another encoder") from None
    return Words(tuple(vectorizer.get_feature_names_out().tolist()), vectorizer.idf_), rows


def without_known_word(rows) -> np.ndarray:
    """Whether each of n texts has no known word: bool (n,).

    rows: (n, d), what `Words.rows` gives, or an encoder's vectors, none of which is 0. A detector gives all such
    texts the same score, which carries no information.
    """
    return np.asarray(abs(rows).sum(axis=1)).ravel() == 0


def _vectorizer(**more):
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(dtype=np.float32, **more)
