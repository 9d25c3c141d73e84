"""Finds the commit of a Hugging Face repository and fetches its files, without loading a model."""

import contextlib
import re
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import model_folder
from utils.schema import Checkpoint, InputError

if TYPE_CHECKING:
    import datasets

NO_FILES = ["-"]
OFFLINE_ENCODERS = ("all-minilm-l6-v2", "tfidf")
UNUSABLE_PROXY = (
    "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY must name an http:// or https:// proxy, and SSL_CERT_FILE a file with "
    "certificates; correct or unset them"
)

# Never fetched: weights that would have to be unpickled, or that are not used here.
UNREAD_FILES = [
    "*.bin",
    "*.pt",
    "*.pth",
    "*.pkl",
    "*.ckpt",
    "*.h5",
    "*.msgpack",
    "*.ot",
    "*.onnx*",
    "onnx/*",
    "openvino/*",
    "original/*",
    "consolidated*",
]


def commit(repository: str, revision: str, expected: str = "") -> str:
    """The commit that `revision` of a Hugging Face model repository stands for.

    A full commit is returned unchanged. A name is looked up on the hub, or in the local cache if the hub can't be
    reached. expected: how the commit must begin. Raises InputError if it begins differently, if the repository or
    revision does not exist, or if the hub can't be reached.
    """
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    with _hub_errors(repository, revision):
        from huggingface_hub import HfApi, snapshot_download

        wanted: dict[str, Any] = {"repo_id": repository, "revision": revision, "allow_patterns": NO_FILES}
        try:
            HfApi().model_info(repository, revision=revision, timeout=10)
            # Fetches nothing, but records in the cache which commit the name stands for, for use offline.
            folder = snapshot_download(**wanted)
        except Exception as error:
            if not _is_connection_error(error):
                raise
            folder = snapshot_download(**wanted, local_files_only=True)
    found = Path(folder).name
    if not found.startswith(expected):
        raise InputError(
            f"--model {repository}: {revision} is commit {found[:7]} now, not the pinned {expected}; name the one that "
            "you trust with --revision"
        )
    return found


def snapshot(checkpoint: Checkpoint, own_code: bool = False, layout: Sequence[str] = ()) -> Path:
    """The folder with a checkpoint's files, fetched from the hub if they are not cached, without pickled weights.

    own_code: whether Python files are fetched too.
    layout: files that the revision is known to have, used when the hub can't be asked.
    Raises InputError if a file is missing and can't be fetched.
    """
    if checkpoint.location is not None:
        return checkpoint.location
    folder: Any = None
    absent: Exception | None = None
    with _hub_errors(checkpoint.source, checkpoint.revision):
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        wanted: dict[str, Any] = {
            "repo_id": checkpoint.source,
            "revision": checkpoint.revision,
            "ignore_patterns": UNREAD_FILES if own_code else [*UNREAD_FILES, "*.py"],
        }
        try:
            folder = Path(snapshot_download(**wanted, local_files_only=True))
        except LocalEntryNotFoundError as error:
            absent = error
        if folder is None or not _is_listed(checkpoint.source, checkpoint.revision):
            try:
                # Fails at once if the hub can't be reached; the download would try for half a minute.
                HfApi().model_info(checkpoint.source, revision=checkpoint.revision, timeout=10)
                folder = Path(snapshot_download(**wanted))
            except Exception as error:
                unreachable = _is_connection_error(error)
                if absent is not None and unreachable:
                    raise absent from error
                missing = None if absent else _missing(folder, layout)
                if missing is not None and unreachable:
                    raise InputError(
                        f"--model {checkpoint.source}: is cached only in part, without '{missing}', and the Hugging "
                        f"Face hub can't be reached; {_remedy(error)}"
                    ) from None
                if absent is not None or missing is not None:
                    raise
    model_folder.refuse_unusable_weights(folder, checkpoint.source)
    return folder


def one_file(repository: str, revision: str, name: str) -> Path | None:
    """A small file of a model repository at a commit, fetched if it is not cached; None if the commit has no such file.

    Raises InputError if the hub can't be reached and nothing of the commit is cached.
    """
    with _hub_errors(repository, revision):
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        wanted: dict[str, Any] = {"repo_id": repository, "revision": revision, "allow_patterns": [name]}
        try:
            folder = snapshot_download(**wanted, local_files_only=True)
        except LocalEntryNotFoundError:
            HfApi().model_info(repository, revision=revision, timeout=10)  # fails at once, as in `snapshot`
            folder = snapshot_download(**wanted)
    path = Path(folder) / name
    return path if path.is_file() else None


def _is_listed(repository: str, revision: str) -> bool:
    """Whether the cache has the list of a revision's files, so that a snapshot can be checked for completeness."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        return bool(get_cached_repo_tree(repository, revision=revision))
    except CachedRepoTreeNotFoundError:
        return False


def _missing(folder: Path, layout: Sequence[str]) -> str | None:
    """A file that a snapshot lacks, as far as can be known without the list of its revision's files."""
    if not any(folder.rglob("*.safetensors")):
        return "model.safetensors"
    # A module that only normalizes has no file, so the hub has no folder for it.
    modules = [part for part in model_folder.module_folders(folder) if not part.name.endswith("Normalize")]
    known = [*(folder / name for name in layout), *modules]
    return next((str(path.relative_to(folder)) for path in known if not path.exists()), None)


def cached(repository: str, revision: str, expected: str = "", layout: Sequence[str] = ()) -> bool:
    """Whether every file that `snapshot` would fetch is on this machine; never asks the hub.

    expected: how the commit must begin. layout: as for `snapshot`.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            repository, revision=revision, ignore_patterns=[*UNREAD_FILES, "*.py"], local_files_only=True
        )
    except LocalEntryNotFoundError:
        return False
    whole = _is_listed(repository, revision) or _missing(Path(folder), layout) is None
    return whole and Path(folder).name.startswith(expected)


def has_token() -> bool:
    """Whether there is a token: HF_TOKEN, or the one that `hf auth login` has stored."""
    from huggingface_hub import get_token

    try:
        return get_token() is not None
    except OSError:
        return False


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids requests to the hub."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def reachable() -> bool:
    """Whether the Hugging Face hub answers within a few seconds; False when HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception as error:
        if _is_connection_error(error):
            return False
        raise
    return True


def _unusable_setting(error: BaseException | None) -> str | None:
    """The setting with which no request can be made, and the remedy, by the error of one that was to be made."""
    from huggingface_hub.utils._http import httpx2

    if isinstance(error, UnicodeEncodeError):
        return "HF_TOKEN has a character that is not ASCII, such as a long dash; copy the token again"
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        return (
            "HF_ENDPOINT must be an address such as https://huggingface.co, and a proxy's one such as http://proxy:3128"
        )
    without_certificates = type(error) is FileNotFoundError and error.filename is None
    if without_certificates or isinstance(error, ImportError | ssl.SSLError) or "proxy URL" in str(error):
        return UNUSABLE_PROXY
    return None


def dataset(title: str, path: str, config: str | None = None, *, split: str, revision: str) -> "datasets.Dataset":
    """A split of a dataset of the hub, as `datasets` gives it.

    Raises InputError, which names the title, if it can't be loaded.
    """
    if not is_offline() and not reachable():
        raise InputError(f"{title}: the Hugging Face hub can't be reached; connect to fetch it, or set HF_ENDPOINT")
    import datasets
    from huggingface_hub.utils._http import httpx2

    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(path, config, split=split, revision=revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError, httpx2.TransportError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, OSError) and cause.strerror and not _is_connection_error(cause):
            raise InputError(f"{title}: {_unwritable(cause)}") from None
        raise InputError(f"{title}: can't be loaded ({type(cause).__name__}); connect to fetch it") from None


def _remedy(error: BaseException) -> str:
    """By the error of a request, or of a search of the cache after it."""
    settings = map(_unusable_setting, (error, error.__cause__, error.__context__))
    return next(filter(None, settings), "connect, set HF_ENDPOINT to a mirror, or give a folder")


def _unwritable(error: OSError) -> str:
    return f"can't be kept in the Hugging Face cache ({error.strerror}); make room, or set HF_HOME to another folder"


def _is_connection_error(error: BaseException) -> bool:
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils._http import httpx2

    if _unusable_setting(error):
        return True
    if isinstance(error, HfHubHTTPError):
        return error.response is not None and error.response.status_code >= 500
    return isinstance(error, (LocalEntryNotFoundError, httpx2.TransportError, ConnectionError, TimeoutError))


@contextlib.contextmanager
def _hub_errors(repository: str, revision: str) -> Iterator[None]:
    """Turns the hub's exceptions into one line that says what to do."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        message = _message(error, repository, revision)
        if message is None:
            raise
        raise InputError(f"--model {repository}: {message}") from None


def _message(error: Exception, repository: str, revision: str) -> str | None:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return f"is gated: accept its terms at https://huggingface.co/{repository} and put a token into HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"has no revision '{revision}'; see https://huggingface.co/{repository}/commits/main"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "is not on the hub, or is private: check the name, or put a token into HF_TOKEN"
    if isinstance(error, errors.HFValidationError):
        return "is not a valid Hugging Face id (organisation/name)"
    if _is_connection_error(error):
        extent = "cached only in part" if isinstance(error, errors.IncompleteSnapshotError) else "not cached"
        return (
            f"the Hugging Face hub can't be reached and the model is {extent}; {_remedy(error)}; {OFFLINE_ENCODERS[0]} "
            "works offline"
        )
    if isinstance(error, errors.HfHubHTTPError):
        return f"the hub answered HTTP {error.response.status_code}; try again later, or give a folder"
    if isinstance(error, OSError):
        return _unwritable(error)
    return "what the hub answered can't be read; check HF_ENDPOINT" if isinstance(error, ValueError) else None
