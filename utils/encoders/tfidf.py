"""Word overlap as an encoder: TF-IDF that is fitted on texts, those that are evaluated or those of a training side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.schema import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix, sparray, spmatrix
    from sklearn.feature_extraction.text import TfidfVectorizer

WITHOUT_WORDS = "--model tfidf: no text has a word of two letters or more; take another encoder"


@dataclass(frozen=True)
class Words:
    """Fitted TF-IDF. vocabulary: the words of the texts it was fitted on, in order. idf: float32, one for each."""

    vocabulary: tuple[str, ...]
    idf: np.ndarray

    def rows(self, texts: Sequence[str]) -> "csr_matrix":
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
        raise InputError(WITHOUT_WORDS) from None
    return Words(tuple(vectorizer.get_feature_names_out().tolist()), vectorizer.idf_), rows


class WordCounts:
    """The words of n texts, counted once, from which TF-IDF is fitted on any part of them."""

    def __init__(self, texts: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        self._counts = CountVectorizer(dtype=np.float32).fit_transform(texts).tocsr()
        self._counts.sort_indices()

    def fitted(self, train: np.ndarray, *others: np.ndarray) -> list:
        """The rows of `train`, on which TF-IDF is fitted, and of `others`, as `fit_words` and `Words.rows` give them.

        train, others: indices of texts. Raises InputError if no text of `train` has a word.
        """
        from scipy.sparse import diags_array
        from sklearn.preprocessing import normalize

        seen = self._counts[train]
        holders = np.bincount(seen.indices, minlength=seen.shape[1]).astype(np.float32)
        known = np.flatnonzero(holders)
        if not len(known):
            raise InputError(WITHOUT_WORDS)
        idf = np.log(np.float32(len(train) + 1) / (holders[known] + 1)) + 1
        scale = diags_array(idf.astype(np.float32))
        scaled = [(self._counts[rows][:, known] @ scale).tocsr() for rows in (train, *others)]
        return [normalize(rows, copy=False) if rows.shape[0] else rows for rows in scaled]


def without_known_word(rows: "np.ndarray | sparray | spmatrix") -> np.ndarray:
    """Whether each of n texts has no known word: bool (n,).

    rows: (n, d), what `Words.rows` gives, or an encoder's vectors, none of which is 0. A detector gives all such
    texts the same score, which carries no information.
    """
    return np.asarray(abs(rows).sum(axis=1)).ravel() == 0


def _vectorizer(**more: Any) -> "TfidfVectorizer":
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(dtype=np.float32, **more)
