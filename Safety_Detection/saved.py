"""A fitted detector as a folder, out and in: arrays as safetensors, everything else as JSON, nothing pickled."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from Safety_Detection.detectors import Detector
from utils import encoders, metrics
from utils.embed import Embedder
from utils.results import write_bytes_whole, write_whole
from utils.schema import EncoderOptions, EncoderSpec, InputError

SCHEMA = 1
ARRAYS, CARD = "detector.safetensors", "detector.json"
PROBE = "The ferry to the island leaves at nine, and the market opens an hour later."
# Devices move float32 vectors by rounding noise, halves by more; another encoder is nowhere near.
LARGEST_DISTANCE = {"float32": 1e-4}
LARGEST_DISTANCE_OF_HALVES = 1e-2


@dataclass(frozen=True)
class SavedDetector:
    """A detector with what it needs to be used again.

    model: the name that the encoder was asked for by. spec: what it was resolved to. threshold: a prompt that scores
    as much is flagged. probe: (d,), the vector of PROBE.
    about: what a person should know: how it was trained, what its threshold was chosen for, and what it did elsewhere.
    """

    model: str
    spec: EncoderSpec
    detector: Detector
    threshold: float
    probe: np.ndarray
    about: dict


def save(saved: SavedDetector, folder: Path) -> None:
    """Writes the folder, each file whole; one that is there already is replaced. Raises InputError if it can't be."""
    from safetensors.numpy import save as packed

    arrays = {f"detector.{name}": np.ascontiguousarray(array) for name, array in saved.detector.arrays.items()}
    content = packed({**arrays, "probe": np.ascontiguousarray(saved.probe)})
    options = saved.spec.options
    card = {
        "schema": SCHEMA,
        "model": saved.model,
        "encoder": {
            "name": saved.spec.name,
            "source": saved.spec.source,
            "revision": saved.spec.revision,
            "fingerprint": saved.spec.fingerprint,
            "options": {name: getattr(options, name) for name in ("dtype", "backend", "prompt", "revision")},
        },
        "detector": {"kind": saved.detector.kind, "settings": saved.detector.settings},
        "threshold": saved.threshold,
        "probe": PROBE,
        **saved.about,
        "arrays_sha256": hashlib.sha256(content).hexdigest(),
    }
    write_bytes_whole(folder / ARRAYS, content)
    write_whole(folder / CARD, json.dumps({**card, "card_sha256": _digest(card)}, indent=1, ensure_ascii=False) + "\n")


def _digest(card: dict) -> str:
    rest = {name: value for name, value in card.items() if name != "card_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def load(folder: Path, model: str | None = None, device: str = "auto", remote_code: bool = False) -> SavedDetector:
    """Reads a folder that `save` wrote.

    model: the encoder's name or folder, the one it was fitted with if None. Loads no encoder. Raises InputError if a
    file is missing or altered, or if the encoder is another one.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as unpacked

    what = f"--detector {folder}"
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        content = (folder / ARRAYS).read_bytes()
    except OSError as error:
        name = Path(error.filename).name if error.filename else CARD
        raise InputError(f"{what}: {name} can't be read ({error.strerror}); give a folder that fit wrote") from None
    except ValueError:
        raise InputError(f"{what}: {CARD} is not JSON, it was altered; fit the detector again") from None
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        raise InputError(f"{what}: {CARD} is not one that this version writes; fit the detector again")
    if card.get("card_sha256") != _digest(card):
        raise InputError(f"{what}: {CARD} was altered since it was written; fit the detector again")
    if card["arrays_sha256"] != hashlib.sha256(content).hexdigest():
        raise InputError(f"{what}: {ARRAYS} was altered since it was written; fit the detector again")
    try:
        arrays = unpacked(content)
    except SafetensorError:
        raise InputError(f"{what}: {ARRAYS} can't be read; fit the detector again") from None
    options = EncoderOptions(device=device, trust_remote_code=remote_code, **card["encoder"]["options"])
    spec = encoders.resolve(model or card["model"], options)
    if spec.fingerprint != card["encoder"]["fingerprint"]:
        raise InputError(
            f"{what}: was fitted with {card['encoder']['name']} at {card['encoder']['revision'][:12]}, and "
            f"{spec.name} at {spec.revision[:12]} is another encoder; name the right one with --model, or fit again"
        )
    kept = {name.removeprefix("detector."): array for name, array in arrays.items() if name != "probe"}
    detector = Detector(card["detector"]["kind"], kept, card["detector"]["settings"])
    return SavedDetector(card["model"], spec, detector, card["threshold"], arrays["probe"], card)


def check_probe(saved: SavedDetector, embedder: Embedder) -> None:
    """Raises InputError if the encoder no longer gives the probe text the vector it gave to the fit."""
    vector = embedder.embed([PROBE], ["the probe text"]).matrix[0]
    largest = LARGEST_DISTANCE.get(saved.spec.dtype, LARGEST_DISTANCE_OF_HALVES)
    same = vector.shape == saved.probe.shape
    distance = 1 - float(metrics.paired_cosine(vector, saved.probe)) if same else 2.0
    if distance > largest:
        raise InputError(
            f"--model {saved.spec.name}: gives the probe text another vector than when the detector was fitted (cosine "
            f"distance {distance:.2g}, allowed {largest:g}); its scores would mean nothing, fit again"
        )
