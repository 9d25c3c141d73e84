"""The Hugging Face hub: a revision to its commit, a commit to a folder of files; no model is loaded here."""

import re
from pathlib import Path

from utils import model_folder
from utils.schema import Checkpoint, InputError

NO_FILES = ["-"]
OFFLINE_ENCODERS = ("all-minilm-l6-v2", "tfidf")

# Weights that would have to be unpickled, or that we don't read: never fetched from a hub.
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

    A full commit is taken as it is; a name is asked of the hub, or of the local cache where the hub can't be reached.
    expected: what the commit must begin with. Raises InputError if it does not, if the repository or revision isn't
    there, or if the hub can't be reached.
    """
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    found = None
    with _HubErrors(repository, revision):
        from huggingface_hub import HfApi, constants, snapshot_download

        if not constants.HF_HUB_OFFLINE:
            try:
                HfApi().model_info(repository, revision=revision, timeout=10)
                # Fetches nothing, but notes in the cache which commit the name stands for, to be found offline.
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


def snapshot(checkpoint: Checkpoint, own_code: bool = False) -> Path:
    """The folder with a checkpoint's files, fetched from the hub if need be; never pickled weights.

    own_code: whether Python files are fetched too.
    """
    if checkpoint.location is not None:
        return checkpoint.location
    with _HubErrors(checkpoint.source, checkpoint.revision):
        from huggingface_hub import HfApi, constants, snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        wanted = {
            "repo_id": checkpoint.source,
            "revision": checkpoint.revision,
            "ignore_patterns": UNREAD_FILES if own_code else [*UNREAD_FILES, "*.py"],
        }
        try:
            folder = snapshot_download(**wanted, local_files_only=True)
        except LocalEntryNotFoundError:
            if constants.HF_HUB_OFFLINE:
                raise
            # Asked first because it fails at once where the hub can't be reached; the download tries for half a minute.
            HfApi().model_info(checkpoint.source, revision=checkpoint.revision, timeout=10)
            folder = snapshot_download(**wanted)
    folder = Path(folder)
    model_folder.refuse_pickled_weights(folder, checkpoint.source)
    return folder


def cached(repository: str, revision: str, expected: str = "") -> bool:
    """Whether every file that `snapshot` would fetch is on this machine; never asks the hub.

    expected: what the commit that `revision` stands for must begin with.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            repository, revision=revision, ignore_patterns=[*UNREAD_FILES, "*.py"], local_files_only=True
        )
    except LocalEntryNotFoundError:
        return False
    return Path(folder).name.startswith(expected)


def has_token() -> bool:
    """Whether there is a token to send: HF_TOKEN, or the one that `hf auth login` has kept."""
    from huggingface_hub import get_token

    return get_token() is not None


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the hub."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def reachable() -> bool:
    """Whether the Hugging Face hub answers within a few seconds; False when HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception as error:
        if _is_connection_error(error):
            return False
        raise
    return True


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

    def __exit__(self, kind, error, traceback) -> bool:
        if error is None or isinstance(error, InputError) or not isinstance(error, Exception):
            return False
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
            message = (
                "the Hugging Face hub can't be reached and the model is not cached; connect, set HF_ENDPOINT to a "
                f"mirror, or give a folder; {OFFLINE_ENCODERS[0]} works offline"
            )
        else:
            return False
        raise InputError(f"--model {repository}: {message}") from None
