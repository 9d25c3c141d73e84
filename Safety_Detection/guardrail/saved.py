"""A fitted detector as files, out and in: arrays as safetensors, everything else as JSON, nothing pickled.

It holds vectors and hashed words of the prompts it was fitted on, that of TF-IDF their words, so it is no more public
than they are.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from Safety_Detection.detectors.calibration import base_rate
from Safety_Detection.detectors.kinds import Detector
from Safety_Detection.detectors.neighbors import Matrix
from Safety_Detection.guardrail import versions
from Safety_Detection.guardrail.bank import Bank
from Safety_Detection.guardrail.guard import Guard
from Safety_Detection.guardrail.saved_detector import PROBE, SavedDetector
from Safety_Detection.guardrail.splitting import WHOLE
from Safety_Detection.sets.labelled_sets import LabelledDataset
from utils import cli, config
from utils.encoders import registry
from utils.encoders.tfidf import Words
from utils.schema import EncoderOptions, EncoderSpec, InputError, shown

SCHEMA = 2
# What is known of a fit, of all that a card holds.
ABOUT = ("created", "trained_on", "chosen_for", "missed", "elsewhere", "calibration", "card", "version", "parent",
         "added", "match", "allowed", "allow", "changed")  # fmt: skip
ARRAYS, CARD, WORDS = "detector.safetensors", versions.CARD, "words.json"
BANK_ARRAYS, BANK = "bank.safetensors", "bank.json"
# Each file, and the digest of it in the card.
DIGESTS = {ARRAYS: "arrays_sha256", WORDS: "words_sha256", BANK_ARRAYS: "bank_arrays_sha256", BANK: "bank_sha256"}
# The arrays of a sparse matrix.
SPARSE = ("data", "indices", "indptr")


def files_of(saved: SavedDetector) -> dict[str, bytes]:
    """The files of a detector, by name."""
    arrays = {"probe": saved.probe}
    for name, array in saved.detector.arrays.items():
        arrays |= _flat(name, array)
    content = {}
    if saved.words is not None:
        arrays["idf"] = saved.words.idf
        content[WORDS] = _json(saved.words.vocabulary)
    content[ARRAYS] = _packed(arrays)
    bank, prompts = saved.bank, saved.bank.dataset
    lists = {
        "ids": prompts.ids,
        "sets": prompts.groups,
        "words": prompts.texts["prompt"],
        "digests": bank.digests,
        "family_of": prompts.family_of,
        "twins": prompts.twins,
        "familiar": bank.familiar,
        "known_words": bank.known_words,
        "signs": bank.signs,
    }
    content[BANK] = _json(lists)
    more = {"labels": np.array(prompts.labels, dtype=np.int8), "clusters": np.array(prompts.clusters)}
    more |= _flat("rows", bank.rows)
    if len(bank.part_of):
        more |= {"part_of": bank.part_of} | _flat("parts", bank.parts)
    content[BANK_ARRAYS] = _packed(more)
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
                **{name: getattr(options, name) for name in ("dtype", "prompt", "trust_remote_code")},
                "revision": _revision(saved.spec),
            },
        },
        "detector": {"kind": saved.detector.kind, "settings": saved.detector.settings},
        "threshold": saved.threshold,
        "normalize": saved.normalize,
        "read": saved.reading,
        "normalizing": saved.normalizing,
        "probe": PROBE,
        **{name: value for name, value in saved.about.items() if name in ABOUT},
        **{DIGESTS[name]: hashlib.sha256(text).hexdigest() for name, text in content.items()},
    }
    card["card_sha256"] = _digest(card)
    return content | {CARD: (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode()}


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save as packed

    return packed({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def _flat(name: str, array: Matrix) -> dict[str, np.ndarray]:
    """An array, or the three of a sparse matrix, by their names in the file."""
    if isinstance(array, np.ndarray):
        return {f"detector.{name}": array}
    return {f"sparse.{name}.{part}": getattr(array, part) for part in SPARSE}


def _revision(spec: EncoderSpec) -> str | None:
    """The revision to load again: for a hub model its commit, as a name may point to a different one later."""
    of_hub = spec.loader == "sentence-transformers" and spec.checkpoints[0].location is None
    return spec.checkpoints[0].revision if of_hub else spec.options.revision


def _digest(card: dict) -> str:
    rest = {name: value for name, value in card.items() if name != "card_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def read(folder: Path, number: int, names: Iterable[str] = ()) -> tuple[dict, dict[str, bytes]]:
    """The card of a version, and those of the files `names` that it has. number: of the version.

    Raises InputError if a file is missing or was changed.
    """
    home, remedy = versions.home(folder, number), "fit the detector again"
    if number:
        remedy += f", or write the number of another version into {versions.CURRENT}"

    def refused(name: str, why: str) -> InputError:
        return InputError(f"--detector {folder}: {(home / name).relative_to(folder)} {why}")

    def content(name: str) -> bytes:
        try:
            return (home / name).read_bytes()
        except OSError as error:
            raise refused(name, f"can't be read ({error.strerror}); give a folder that fit wrote") from None

    try:
        card = json.loads(content(CARD))
    except (ValueError, RecursionError):
        raise refused(CARD, f"is not JSON, it was altered; {remedy}") from None
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        raise refused(CARD, "is not one that this version writes; fit the detector again")
    if card.get("card_sha256") != _digest(card):
        raise refused(CARD, f"was altered since it was written; {remedy}")
    found = {name: content(name) for name in names if DIGESTS[name] in card}
    for name, text in found.items():
        if card[DIGESTS[name]] != hashlib.sha256(text).hexdigest():
            raise refused(name, f"was altered since it was written; {remedy}")
    return card, found


def load(
    folder: Path,
    model: str | None = None,
    device: str = "auto",
    remote_code: bool = False,
    number: int | None = None,
) -> SavedDetector:
    """Reads a version of a detector from the folder that fit wrote.

    model: the encoder's name or folder, the one it was fitted with if None. number: of the version, the one that counts
    if None. Loads no encoder.
    Raises InputError if a file is missing or changed, or if the encoder is a different one.
    """
    what, number = f"--detector {folder}", versions.current(folder) if number is None else number
    card, content = read(folder, number, DIGESTS)
    arrays = _unpacked(content[ARRAYS], f"{what}: {ARRAYS}")
    options = {"trust_remote_code": remote_code, **card["encoder"]["options"]}
    options.pop("backend", None)  # of an earlier version, which could choose no other than torch
    if options["trust_remote_code"] and not remote_code:
        raise InputError(f"{what}: its encoder may run its own code; read it, then allow it with --trust-remote-code")
    spec = registry.resolve(model or card["model"], EncoderOptions(device=device, **options))
    if spec.fingerprint != card["encoder"]["fingerprint"]:
        raise InputError(
            f"{what}: was fitted with {card['encoder']['name']} at {card['encoder']['revision'][:12]}, and "
            f"{spec.name} at {spec.revision[:12]} is another encoder; name the right one with --model, or fit again"
        )
    words = Words(tuple(json.loads(content[WORDS])), arrays["idf"]) if WORDS in content else None
    width = len(arrays["probe"])
    detector = Detector(card["detector"]["kind"], _shaped(arrays, width), card["detector"]["settings"])
    more, lists = _unpacked(content[BANK_ARRAYS], f"{what}: {BANK_ARRAYS}"), json.loads(content[BANK])
    shaped = _shaped(more, width)
    prompts = LabelledDataset(
        name="fitted",
        ids=tuple(lists["ids"]),
        groups=tuple(lists["sets"]),
        group_order=tuple(dict.fromkeys(lists["sets"])),
        texts={"prompt": tuple(lists["words"])},
        files=(),
        labels=tuple(more["labels"].tolist()),
        clusters=tuple(more["clusters"].tolist()),
        types=("",) * len(lists["ids"]),
        family_of=lists["family_of"],
        twins=tuple(map(tuple, lists["twins"])),
    )
    bank = Bank(
        dataset=prompts,
        rows=shaped["rows"],
        parts=shaped.get("parts", shaped["rows"][:0]),
        part_of=more.get("part_of", np.zeros(0, dtype=np.int64)),
        digests=tuple(lists.get("digests") or [""] * len(prompts)),
        familiar=lists["familiar"],
        known_words=lists.get("known_words", 0.0),
        signs=lists.get("signs", 1.0),
    )
    parts = (card["model"], spec, words, detector, card["threshold"], arrays["probe"], bank, card)
    how = card["normalize"], card.get("read", WHOLE), card.get("normalizing", 1)
    return SavedDetector(*parts, *how)


def _unpacked(content: bytes, what: str) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as unpacked

    try:
        return unpacked(content)
    except SafetensorError:
        raise InputError(f"{what} can't be read; fit the detector again") from None


def _shaped(arrays: dict[str, np.ndarray], width: int) -> dict:
    """The arrays and sparse matrices that `_flat` names. width: the number of columns of the latter."""
    found = {name.removeprefix("detector."): array for name, array in arrays.items() if name.startswith("detector.")}
    for name in {name.split(".")[1] for name in arrays if name.startswith("sparse.")}:
        from scipy.sparse import csr_matrix

        data, indices, starts = (arrays[f"sparse.{name}.{part}"] for part in SPARSE)
        found[name] = csr_matrix((data, indices, starts), shape=(len(starts) - 1, width))
    return found


def add_detector(flags: argparse.ArgumentParser) -> None:
    """Adds the flags that say which detector is loaded, and how its encoder is."""
    flags.add_argument("--detector", metavar="FOLDER", required=True, help="what fit wrote")
    flags.add_argument("--model", metavar="NAME", help="where the encoder is, if not under the name it was fitted by")
    flags.add_argument("--device", metavar="DEVICE", help="auto, cuda, mps or cpu (variable DEVICE)")
    flags.add_argument("--trust-remote-code", action="store_true", help="allow a model to run its own code")


def add_threshold(flags: argparse.ArgumentParser) -> None:
    """Adds the flags that say what is flagged, and for which traffic probabilities are."""
    flags.add_argument(
        "--threshold",
        metavar="T",
        type=cli.real(),
        help="flag texts with at least this score; a score is log-odds, a cosine, a share of votes or a difference of "
        "cosines, by the kind of detector, and each detector has a scale of its own, see its card "
        "(default what fit chose; texts like an unsafe prompt added later are flagged at any threshold)",
    )
    flags.add_argument(
        "--fpr", metavar="RATE", type=cli.share, help="take the card's threshold for this rate of false alarms instead"
    )
    flags.add_argument(
        "--of", metavar="TRAFFIC", help="whose false alarms these are, as the card names it (default those of the fit)"
    )
    flags.add_argument(
        "--base-rate",
        metavar="P",
        type=base_rate,
        help="probabilities where a share P of prompts is unsafe, as 0.01 (default 0.5)",
    )


def threshold_of(arguments: argparse.Namespace, detector: SavedDetector | None = None) -> float | None:
    """The threshold that the flags ask for, None for the saved one.

    detector: whose card has it; None to look at the flags alone, before anything is loaded.
    Raises InputError if they contradict each other, or if the card has no such threshold.
    """
    if arguments.threshold is not None and arguments.fpr is not None:
        raise InputError("--fpr: chooses a threshold, as --threshold does; leave one of them out")
    if arguments.of is not None and arguments.fpr is None:
        raise InputError("--of: says of what --fpr is a share; add --fpr, or leave it out")
    if arguments.fpr is None or detector is None:
        return arguments.threshold
    return detector.threshold_at(arguments.fpr, arguments.of)


def output_path(flag: str, given: str, folders: dict[str, Path | None], inputs: Iterable[Path | None]) -> Path:
    """The path of a file that a flag names to write.

    folders: what is read to its folder. inputs: the files that are read; None stands for none.
    Raises InputError if it is no file, or if it would change what is read.
    """
    path = config.callers_path(given)
    if path.exists() and not path.is_file():
        raise InputError(f"{flag} {given}: is {'a folder' if path.is_dir() else 'a pipe or a device'}; name a file")
    for of, folder in folders.items():
        if folder is not None and versions.is_inside(path, folder):
            raise InputError(f"{flag} {given}: is in the folder of the {of}; name another file")
    if path.resolve() in [read.resolve() for read in inputs if read is not None]:
        raise InputError(f"{flag} {given}: is an input, which it would replace; name another file")
    return path


def load_detector(
    folder: str | Path,
    model: str | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
    threshold: float | None = None,
    base_rate: float | None = None,
    threads: int | None = None,
) -> Guard:
    """The detector that `python -m Safety_Detection.fit` wrote into a folder, its encoder loaded, ready to score texts.

    model: the encoder's name or folder, if it is not under the name it was fitted by. threshold: the saved one if None.
    base_rate: the share of unsafe prompts in your traffic, in (0, 1), for which probabilities hold; one half if None.
    threads: of the processor, at least 1; if None, one for a single text, and for several what torch and numpy choose.
    Raises InputError if a file of the folder is missing or changed, if the encoder is a different one, or if an
    argument is none of what it may be.
    """
    if not isinstance(folder, str | os.PathLike):
        raise InputError(f"folder {shown(folder)}: is no path; give the folder that fit wrote")
    if not isinstance(model, str | None):
        raise InputError(f"model {shown(model)}: is no name; give that of an encoder, or its folder")
    cli.read_as(cli.devices, device, "device")
    detector = load(Path(folder), model, device, trust_remote_code)
    return Guard(detector, threshold, base_rate=base_rate, threads=threads)
