"""A fitted detector as a folder, out and in: arrays as safetensors, everything else as JSON, nothing pickled.

That of TF-IDF holds the words of the prompts it was fitted on, so it is no more public than they are.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from Safety_Detection.detectors import Detector
from utils.embed.embedder import Embedder
from utils.encoders import registry
from utils.encoders.tfidf import Words
from utils.files import write_bytes_whole, write_whole
from utils.metrics import embedding as metrics
from utils.schema import EncoderOptions, EncoderSpec, InputError

SCHEMA = 1
ARRAYS, CARD, WORDS = "detector.safetensors", "detector.json", "words.json"
# The arrays of a sparse matrix.
SPARSE = ("data", "indices", "indptr")
PROBE = "The ferry to the island leaves at nine, and the market opens an hour later."
# Rounding on different devices changes float32 vectors by less than 1e-12 here, and half precision by more (bfloat16
# by 4e-5 for MiniLM, more for larger encoders). Further training changes them by more than that.
LARGEST_DISTANCE = {"float32": 1e-6}
LARGEST_DISTANCE_OF_HALVES = 1e-2


@dataclass(frozen=True)
class SavedDetector:
    """A detector with what it needs to be used again.

    model: the encoder's name as given. spec: the resolved encoder. words: of TF-IDF, else None.
    threshold: prompts with at least this score are flagged. probe: (d,), the vector of PROBE, of length 1 (or 0).
    about: how it was trained, what its threshold was chosen for, and its figures on other sets.
    """

    model: str
    spec: EncoderSpec
    words: Words | None
    detector: Detector
    threshold: float
    probe: np.ndarray
    about: dict


def rows_of(embedder: Embedder, words: Words | None, texts: Sequence[str], ids: Sequence[str]) -> tuple:
    """The vectors of texts, (n, d) of length 1 (or 0), and which texts were truncated, bool (n,).

    Sparse for TF-IDF. ids: the names of the texts, for errors.
    """
    if words is not None:
        return words.rows(texts), np.zeros(len(texts), dtype=bool)
    embedded = embedder.embed(texts, ids)
    return metrics.unit_rows(embedded.matrix).astype(np.float32), embedded.truncated


def probe_of(embedder: Embedder, words: Words | None) -> np.ndarray:
    """The vector of PROBE: (d,)."""
    row = rows_of(embedder, words, [PROBE], ["the probe text"])[0]
    return row[0] if words is None else row.toarray()[0]


def save(saved: SavedDetector, folder: Path) -> None:
    """Writes the folder, each file whole, and replaces an earlier one. Raises InputError if it can't be written."""
    from safetensors.numpy import save as packed

    arrays = {"probe": saved.probe}
    for name, array in saved.detector.arrays.items():
        if isinstance(array, np.ndarray):
            arrays[f"detector.{name}"] = array
        else:
            arrays |= {f"sparse.{name}.{part}": getattr(array, part) for part in SPARSE}
    vocabulary = ""
    if saved.words is not None:
        arrays["idf"] = saved.words.idf
        vocabulary = json.dumps(saved.words.vocabulary, ensure_ascii=False) + "\n"
    content = packed({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    options = saved.spec.options
    card = {
        "schema": SCHEMA,
        "model": saved.model,
        "encoder": {
            "name": saved.spec.name,
            "source": saved.spec.source,
            "revision": saved.spec.revision,
            "fingerprint": saved.spec.fingerprint,
            "options": {
                **{name: getattr(options, name) for name in ("dtype", "backend", "prompt", "trust_remote_code")},
                "revision": _revision(saved.spec),
            },
        },
        "detector": {"kind": saved.detector.kind, "settings": saved.detector.settings},
        "threshold": saved.threshold,
        "probe": PROBE,
        **saved.about,
        "arrays_sha256": hashlib.sha256(content).hexdigest(),
    }
    if vocabulary:
        card["words_sha256"] = hashlib.sha256(vocabulary.encode()).hexdigest()
        write_whole(folder / WORDS, vocabulary)
    else:
        (folder / WORDS).unlink(missing_ok=True)
    write_bytes_whole(folder / ARRAYS, content)
    write_whole(folder / CARD, json.dumps({**card, "card_sha256": _digest(card)}, indent=1, ensure_ascii=False) + "\n")


def _revision(spec: EncoderSpec) -> str | None:
    """The revision to load again: for a hub model its commit, as a name may point to a different one later."""
    of_hub = spec.loader == "sentence-transformers" and spec.checkpoints[0].location is None
    return spec.checkpoints[0].revision if of_hub else spec.options.revision


def _digest(card: dict) -> str:
    rest = {name: value for name, value in card.items() if name != "card_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def load(folder: Path, model: str | None = None, device: str = "auto", remote_code: bool = False) -> SavedDetector:
    """Reads a folder that `save` wrote.

    model: the encoder's name or folder, the one it was fitted with if None. Loads no encoder. Raises InputError if a
    file is missing or changed, or if the encoder is a different one.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as unpacked

    what = f"--detector {folder}"

    def read(name: str) -> bytes:
        try:
            return (folder / name).read_bytes()
        except OSError as error:
            raise InputError(f"{what}: {name} can't be read ({error.strerror}); give a folder that fit wrote") from None

    try:
        card = json.loads(read(CARD))
    except (ValueError, RecursionError):
        raise InputError(f"{what}: {CARD} is not JSON, it was altered; fit the detector again") from None
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        raise InputError(f"{what}: {CARD} is not one that this version writes; fit the detector again")
    if card.get("card_sha256") != _digest(card):
        raise InputError(f"{what}: {CARD} was altered since it was written; fit the detector again")
    content = {ARRAYS: read(ARRAYS), **({WORDS: read(WORDS)} if "words_sha256" in card else {})}
    for name, digest in ((ARRAYS, "arrays_sha256"), (WORDS, "words_sha256")):
        if digest in card and card[digest] != hashlib.sha256(content[name]).hexdigest():
            raise InputError(f"{what}: {name} was altered since it was written; fit the detector again")
    try:
        arrays = unpacked(content[ARRAYS])
    except SafetensorError:
        raise InputError(f"{what}: {ARRAYS} can't be read; fit the detector again") from None
    options = {"trust_remote_code": remote_code, **card["encoder"]["options"]}
    if options["trust_remote_code"] and not remote_code:
        raise InputError(
            f"{what}: its encoder may run code of its own; read it, then allow it with --trust-remote-code"
        )
    spec = registry.resolve(model or card["model"], EncoderOptions(device=device, **options))
    if spec.fingerprint != card["encoder"]["fingerprint"]:
        raise InputError(
            f"{what}: was fitted with {card['encoder']['name']} at {card['encoder']['revision'][:12]}, and "
            f"{spec.name} at {spec.revision[:12]} is another encoder; name the right one with --model, or fit again"
        )
    words = Words(tuple(json.loads(content[WORDS])), arrays["idf"]) if WORDS in content else None
    detector = Detector(card["detector"]["kind"], _detectors(arrays, words), card["detector"]["settings"])
    return SavedDetector(card["model"], spec, words, detector, card["threshold"], arrays["probe"], card)


def _detectors(arrays: dict[str, np.ndarray], words: Words | None) -> dict:
    """The detectors in the saved arrays."""
    found = {name.removeprefix("detector."): array for name, array in arrays.items() if name.startswith("detector.")}
    for name in {name.split(".")[1] for name in arrays if name.startswith("sparse.")}:
        from scipy.sparse import csr_matrix

        data, indices, starts = (arrays[f"sparse.{name}.{part}"] for part in SPARSE)
        found[name] = csr_matrix((data, indices, starts), shape=(len(starts) - 1, len(words.vocabulary)))
    return found


def check_probe(saved: SavedDetector, embedder: Embedder) -> None:
    """Raises InputError if the encoder's vector of the probe text differs from that of the fit."""
    vector = probe_of(embedder, saved.words)
    largest = LARGEST_DISTANCE.get(saved.spec.dtype, LARGEST_DISTANCE_OF_HALVES)
    distance = 2.0
    if vector.shape == saved.probe.shape:
        # For vectors of length 1, half the squared difference is the cosine distance; two zero vectors are equal.
        distance = float(np.square(vector.astype(np.float64) - saved.probe).sum()) / 2
    if distance > largest:
        raise InputError(
            f"--model {saved.spec.name}: gives the probe text another vector than when the detector was fitted (cosine "
            f"distance {distance:.2g}, allowed {largest:g}); its scores would mean nothing, fit again"
        )
