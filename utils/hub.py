"""Finds the commit of a Hugging Face repository and fetches its files, without loading a model."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import model_folder, network
from utils.schema import Checkpoint, InputError

if TYPE_CHECKING:
    import datasets

NO_FILES = ["-"]
OFFLINE_ENCODERS = ("all-minilm-l6-v2", "tfidf")

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
    found = None
    with _HubErrors(repository, revision):
        from huggingface_hub import HfApi, snapshot_download

        if _may_ask():
            try:
                HfApi().model_info(repository, revision=revision, timeout=10)
                # Fetches nothing, but records in the cache which commit the name stands for, for use offline.
                found = Path(snapshot_download(repository, revision=revision, allow_patterns=NO_FILES)).name
            except Exception as error:
                if not _is_connection_error(error):
                    raise
        if found is None:
            folder = snapshot_download(repository, revision=revision, allow_patterns=NO_FILES, local_files_only=True)
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
    with _HubErrors(checkpoint.source, checkpoint.revision):
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        wanted: dict[str, Any] = {
            "repo_id": checkpoint.source,
            "revision": checkpoint.revision,
            "ignore_patterns": UNREAD_FILES if own_code else [*UNREAD_FILES, "*.py"],
        }
        try:
            folder = Path(snapshot_download(**wanted, local_files_only=True))
        except LocalEntryNotFoundError:
            if not _may_ask():
                raise
        whole = folder is not None and _is_listed(checkpoint.source, checkpoint.revision)
        if not whole and _may_ask():
            try:
                # Fails at once if the hub can't be reached; the download would try for half a minute.
                HfApi().model_info(checkpoint.source, revision=checkpoint.revision, timeout=10)
                folder, whole = Path(snapshot_download(**wanted)), True
            except Exception as error:
                if folder is None or (not _is_connection_error(error) and _missing(folder, layout)):
                    raise
    missing = None if whole else _missing(folder, layout)
    if missing is not None:
        raise InputError(
            f"--model {checkpoint.source}: is cached only in part, without '{missing}', and the Hugging Face hub "
            f"can't be reached; {_remedy()}"
        )
    model_folder.refuse_unusable_weights(folder, checkpoint.source)
    return folder


def one_file(repository: str, revision: str, name: str) -> Path | None:
    """A small file of a model repository at a commit, fetched if it is not cached; None if the commit has no such file.

    Raises InputError if the hub can't be reached and nothing of the commit is cached.
    """
    with _HubErrors(repository, revision):
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        wanted: dict[str, Any] = {"repo_id": repository, "revision": revision, "allow_patterns": [name]}
        try:
            folder = snapshot_download(**wanted, local_files_only=True)
        except LocalEntryNotFoundError:
            if not _may_ask():
                raise
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

    if not _may_ask():
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception as error:
        if _is_connection_error(error):
            return False
        raise
    return True


def unusable_setting() -> str | None:
    """The variable that makes every request to the hub fail, with its remedy; None if there is no such variable."""
    from huggingface_hub import constants, get_session, get_token
    from huggingface_hub.utils._http import httpx2

    try:
        endpoint = httpx2.URL(constants.ENDPOINT)
    except httpx2.InvalidURL:
        endpoint = httpx2.URL()
    if endpoint.scheme not in ("http", "https") or not endpoint.host:
        return "HF_ENDPOINT must be an address such as https://huggingface.co; correct or unset it"
    try:
        token = get_token()
    except OSError as error:
        return f"HF_HOME must be a folder that can be read ({error.strerror}); correct or unset it"
    if token is not None and not token.isascii():
        return "HF_TOKEN has a character that is not ASCII, such as a long dash; copy the token again"
    try:
        network.client_of(get_session)
    except InputError as error:
        return str(error)
    return None


def _may_ask() -> bool:
    return not is_offline() and unusable_setting() is None


def dataset(title: str, path: str, config: str | None = None, *, split: str, revision: str) -> "datasets.Dataset":
    """A split of a dataset of the hub, as `datasets` gives it.

    Raises InputError, which names the title, if it can't be loaded.
    """
    if not is_offline() and not reachable():
        reason = unusable_setting() or "the Hugging Face hub can't be reached; connect to fetch it"
        raise InputError(f"{title}: {reason}")
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


def _remedy() -> str:
    fault = None if is_offline() else unusable_setting()
    return fault or "connect, set HF_ENDPOINT to a mirror, or give a folder"


def _unwritable(error: OSError) -> str:
    return f"can't be kept in the Hugging Face cache ({error.strerror}); make room, or set HF_HOME to another folder"


def _is_connection_error(error: BaseException) -> bool:
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils._http import httpx2

    if isinstance(error, HfHubHTTPError):
        return error.response is not None and error.response.status_code >= 500
    return isinstance(error, (LocalEntryNotFoundError, httpx2.TransportError, ConnectionError, TimeoutError))


class _HubErrors:
    """Turns the hub's exceptions into one line that says what to do."""

    def __init__(self, repository: str, revision: str) -> None:
        self.repository, self.revision = repository, revision

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or isinstance(error, InputError) or not isinstance(error, Exception):
            return
        from huggingface_hub import errors

        repository = self.repository
        if isinstance(error, errors.GatedRepoError):
            message = f"is gated: accept its terms at https://huggingface.co/{repository} and put a token into HF_TOKEN"
        elif isinstance(error, errors.RevisionNotFoundError):
            message = f"has no revision '{self.revision}'; see https://huggingface.co/{repository}/commits/main"
        elif isinstance(error, errors.RepositoryNotFoundError):
            message = "is not on the hub, or is private: check the name, or put a token into HF_TOKEN"
        elif isinstance(error, errors.HFValidationError):
            message = "is not a valid Hugging Face id (organisation/name)"
        elif _is_connection_error(error):
            extent = "cached only in part" if isinstance(error, errors.IncompleteSnapshotError) else "not cached"
            message = (
                f"the Hugging Face hub can't be reached and the model is {extent}; {_remedy()}; {OFFLINE_ENCODERS[0]} "
                "works offline"
            )
        elif isinstance(error, errors.HfHubHTTPError):
            message = f"the hub answered HTTP {error.response.status_code}; try again later, or give a folder"
        elif isinstance(error, OSError):
            message = _unwritable(error)
        elif isinstance(error, ValueError):
            message = "what the hub answered can't be read; check HF_ENDPOINT"
        else:
            return
        raise InputError(f"--model {repository}: {message}") from None
