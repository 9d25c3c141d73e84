"""Finds a data file on this machine, or downloads it, and verifies it."""

from dataclasses import dataclass
from pathlib import Path

from utils import config
from utils.data.reading import dataset_stem, refuse_unreadable
from utils.files import sha256_of, shown_path
from utils.schema import InputError
from utils.tasks import TASKS, DataCard, Format


@dataclass(frozen=True)
class Found:
    """A data file: its dataset's name, path, SHA-256, how it was found, and its licence."""

    name: str
    path: Path
    sha256: str
    how: str
    licence: str


def find(fmt: Format, data: str) -> Found:
    """The file that `data` (auto, paper, sample or a path) stands for.

    Raises InputError if there is none, if a file named as the paper's has a different digest, or if a download fails.
    """
    if data == "sample":
        return _sample(fmt, "as asked")
    if data in ("auto", "paper"):
        path = lookup(fmt.card, fmt.folder)
        if path is not None:
            return _published(fmt.card, path)
        try:
            return published(fmt.card, fmt.folder)
        except InputError as error:
            if data == "paper":
                raise
            return _sample(fmt, f"because the paper's file is not there: {error}")
    return _given(fmt, config.callers_path(data))


def published(card: DataCard, folder: str) -> Found:
    """The card's file, found on this machine or downloaded into the task's data folder.

    Raises InputError if the file has a different digest, or can't be downloaded.
    """
    path = lookup(card, folder)
    if path is not None:
        return _published(card, path)
    path = download(card, config.ROOT / folder / "data")
    return Found("paper", path, card.sha256, "downloaded", card.licence)


def _published(card: DataCard, path: Path) -> Found:
    return Found("paper", path, _verified(card, path), "found", card.licence)


def lookup(card: DataCard, folder: str) -> Path | None:
    """The card's file in the task's data folder, else in SAFE_EMBED_DATA_DIR; None if it is in neither."""
    directories = [config.ROOT / folder / "data"]
    extra = config.data_directory()
    if extra is not None:
        if not extra.is_dir():
            raise InputError(f"SAFE_EMBED_DATA_DIR: no folder {shown_path(extra)}; correct or unset the variable")
        directories.append(extra)
    return next((d / card.file for d in directories if (d / card.file).is_file()), None)


def download(card: DataCard, directory: Path) -> Path:
    """Downloads the card's file into `directory`, complete and with its published digest, or not at all.

    Raises InputError if the download fails or has a different digest.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    try:
        fetched = pooch.retrieve(
            card.url,
            known_hash=f"sha256:{card.sha256}",
            fname=card.file,
            path=directory,
            downloader=pooch.HTTPDownloader(timeout=20),
        )
    except requests.exceptions.RequestException as error:
        status = getattr(error.response, "status_code", None)
        reason = f"HTTP {status}" if status else f"no connection, {type(error).__name__}"
        raise InputError(
            f"{card.file}: can't be downloaded ({reason}); connect, or set SAFE_EMBED_DATA_DIR to a folder that "
            "holds it, or use --data sample"
        ) from None
    except ValueError:
        raise InputError(
            f"{card.file}: the download does not have the published SHA-256 ({card.sha256[:12]}...); nothing was kept"
        ) from None
    except OSError as error:
        if "CA certificate bundle" in str(error):
            raise InputError(
                f"{card.file}: can't be downloaded; REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE must name a file with "
                "certificates, correct or unset it"
            ) from None
        raise InputError(
            f"{shown_path(directory)}: can't be written ({error.strerror or type(error).__name__})"
        ) from None
    return Path(fetched)


def _verified(card: DataCard, path: Path) -> str:
    digest = sha256_of(path)
    if digest != card.sha256:
        raise InputError(
            f"{shown_path(path)}: not the published file: SHA-256 expected {card.sha256[:12]}..., found "
            f"{digest[:12]}... ({path.stat().st_size} bytes); remove it to fetch it again, or evaluate it as it is "
            "with --data PATH"
        )
    return digest


def _sample(fmt: Format, how: str) -> Found:
    path = config.ROOT / fmt.folder / fmt.sample
    return Found("sample", path, sha256_of(path), how, "Apache-2.0, written for this project")


def _given(fmt: Format, path: Path) -> Found:
    refuse_unreadable(path, f"--data {path}", f"give auto, paper, sample or a file in the format of {fmt.readme}")
    digest = sha256_of(path)
    sample = config.ROOT / fmt.folder / fmt.sample
    if digest == fmt.card.sha256:
        return Found("paper", path, digest, "as given, with the paper's digest", fmt.card.licence)
    if sample.is_file() and digest == sha256_of(sample):
        return _sample(fmt, "as given")
    # A set with the paper's file name is named after its folder.
    name = path.parent.name if path.name == fmt.card.file else dataset_stem(path)
    if name in ("paper", "sample"):
        raise InputError(f"--data {path}: '{name}' is the name of another dataset; rename the file")
    return Found(name, path, digest, "as given", "not known here")


def dataset_name(data: str) -> str:
    """The name of the folder of results on `data`: of a dataset, of a file, or of several with commas between.

    Raises InputError for a file whose name is reserved.
    """
    path = config.callers_path(data)
    if not path.is_file():
        return joined_name(data) if "," in data else data
    names = {fmt.card.file: find(fmt, data).name for fmt in _formats()}
    known = next((name for name in names.values() if name in ("paper", "sample")), None)
    return known or names.get(path.name) or next(iter(names.values()))


def _formats() -> list[Format]:
    return [task.format for task in TASKS.values() if task.format]


def joined_name(data: str) -> str:
    """The name of the folder of results of detection on `data`: sets and files with commas between, or one of them."""
    paths = [config.callers_path(part) for part in parts_of(data)]
    return "+".join(dict.fromkeys(dataset_stem(path) if path.is_file() else path.name for path in paths))


def parts_of(data: str) -> list[str]:
    """The sets and files that `data` names, with commas between. A file's own name may have commas."""
    return [data] if config.callers_path(data).is_file() else list(filter(None, map(str.strip, data.split(","))))


def given_files(data: str) -> list[Path]:
    """The files among the parts of `data`."""
    return [path for path in map(config.callers_path, parts_of(data)) if path.is_file()]
