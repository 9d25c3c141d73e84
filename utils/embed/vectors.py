"""The vectors of a dataset's texts, computed or written to a file for further use."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from utils.embed.embedder import Embedder, Embeddings
from utils.files import check_writable, shown_path, writing
from utils.schema import Dataset, EncoderSpec, InputError, is_word_overlap

FORMS = (".parquet", ".npz", ".jsonl")


def embed_dataset(embedder: Embedder, dataset: Dataset) -> Embeddings:
    """The vectors of all texts of a dataset, column after column."""
    columns = dataset.texts
    texts = [text for column in columns for text in columns[column]]
    return embedder.embed(texts, [f"id {i} ({column})" for column in columns for i in dataset.ids])


def check_vectors_file(path: Path, spec: EncoderSpec) -> None:
    """Raises InputError if the vectors of an encoder can't be written to the file, before they are computed."""
    if path.suffix not in FORMS:
        raise InputError(f"--out {shown_path(path)}: unknown kind of file; give one of {', '.join(FORMS)}")
    if is_word_overlap(spec):
        raise InputError(
            f"--model {spec.name}: is fitted on the data, a number for each of their words; name an encoder"
        )
    check_writable(path.parent)


def write_vectors(path: Path, dataset: Dataset, embedded: Embeddings) -> None:
    """Writes a row for each text, whole or not at all, in the form that the file's suffix names.

    A row has the id and group of the text's item, the text's column, the encoder with its fingerprint, and the vector,
    float32; never the text. dataset, embedded: as of embed_dataset. Raises InputError if the file can't be written.
    """
    info, columns = embedded.info, list(dataset.texts)
    rows = {
        "id": list(dataset.ids) * len(columns),
        "group": list(dataset.groups) * len(columns),
        "column": [column for column in columns for _ in dataset.ids],
        "encoder": [f"{info.name}@{info.fingerprint}"] * len(embedded.matrix),
    }
    with writing(path, "xb") as stream:
        if path.suffix == ".parquet":
            write_parquet(stream, rows, embedded.matrix)
        elif path.suffix == ".npz":
            arrays = {name: np.array(cells) for name, cells in rows.items()}
            np.savez(stream, allow_pickle=False, vector=embedded.matrix, **arrays)
        else:
            for cells, vector in zip(zip(*rows.values(), strict=True), embedded.matrix, strict=True):
                row = {**dict(zip(rows, cells, strict=True)), "vector": vector.tolist()}
                stream.write(f"{json.dumps(row)}\n".encode())


def write_parquet(stream: Any, columns: dict[str, Any], vectors: np.ndarray) -> None:
    """Writes a table of columns and, last, `vector`. vectors: float32 (n, d). columns: what Arrow takes, n of each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    vector = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    # Compression makes vectors of floats slower to read, and hardly smaller.
    pq.write_table(pa.table({**columns, "vector": vector}), stream, compression="none", use_dictionary=False)
