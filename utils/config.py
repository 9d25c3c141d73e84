"""Paths and settings: the only reader of os.environ and of .env."""

import os
from pathlib import Path

from utils.schema import InputError

ROOT = Path(__file__).resolve().parents[1]
ENV_FILE = ROOT / ".env"

# Every variable that the program reads: its default, its reader and its purpose. A test checks that `.env.example`
# says the same.
VARIABLES = {
    "MODEL": ("all-minilm-l6-v2", "evaluations", "encoder, or several, separated by commas"),
    "DATA": ("auto", "evaluations, build_data", "auto, paper, sample or a file"),
    "TOP_K": ("10", "Safety_Taxonomy, Safety_Detection", "neighbours counted by Categorical Purity and by knn_vote"),
    "THRESHOLD": ("0.5", "Safety_Challenging, Safety_Contrast", "limit of pairwise accuracy"),
    "BASELINE": ("auto", "Safety_Challenging, Safety_Contrast", "auto, paper, beavertails, own or a number"),
    "DEVICE": ("auto", "encoders", "auto, cuda, mps or cpu, or several, separated by commas"),
    "DTYPE": ("auto", "encoders", "auto, float32, bfloat16 or float16"),
    "OUT": ("results", "evaluations", "folder of the result files"),
    "SOURCE": ("", "scripts/get_contrast_set.sh", "paper or sample; empty has GPT write a set"),
    "TEMPLATE": (
        "auto",
        "scripts/get_contrast_set.sh",
        "paper, own or a file; auto takes the paper's where it can be had",
    ),
    "SAFE_EMBED_DATA_DIR": ("", "data sources", "a folder that holds the datasets already"),
    "SAFE_EMBED_CACHE_DIR": (".cache", "embedding store", "where embeddings are kept"),
    "OPENAI_API_KEY": ("", "OpenAI API", "key for text-embedding-3 and openai:MODEL"),
    "OPENAI_BASE_URL": ("", "OpenAI API", "a different server with the same API"),
    "SAFE_EMBED_SERVE_TOKEN": ("", "Safety_Detection.serve", "token that requests must send; empty for none"),
    "HF_TOKEN": ("", "Hugging Face hub", "token for gated models"),
    "HUGGINGFACE_TOKEN": ("", "Hugging Face hub", "the same, as the paper's code calls it"),
    "HUGGING_FACE_HUB_TOKEN": ("", "Hugging Face hub", "the same, as the hub's library called it"),
    "HF_ENDPOINT": ("", "Hugging Face hub", "a mirror of the hub"),
    "HF_HOME": ("", "Hugging Face hub", "where models and datasets are cached"),
    "HF_HUB_OFFLINE": ("", "Hugging Face hub", "1 to use only what is cached"),
}

# The names of the hub's token, the one that counts first.
TOKENS = ("HF_TOKEN", "HUGGINGFACE_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def load_environment() -> None:
    """Adds the variables of .env to the environment, except those that are set already.

    A documented variable that is empty counts as unset, because scripts pass unset variables on as empty. White space
    around a value, such as a line break copied with a key, is removed.
    Raises InputError, naming the line, if the file can't be parsed. The line may hold a key and is never printed.
    """
    for name in VARIABLES.keys() & os.environ.keys():
        value = os.environ.pop(name).strip()
        if value:
            os.environ[name] = value
    if ENV_FILE.is_file():
        _load_file(ENV_FILE)
    token = next(filter(None, map(os.environ.get, TOKENS)), None)
    if token:
        os.environ[TOKENS[0]] = token  # the only name that the hub's library reads


def _load_file(env_file: Path) -> None:
    from dotenv.parser import parse_stream

    try:
        with env_file.open(encoding="utf-8") as stream:
            lines = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{env_file.name}: can't be read ({type(error).__name__}); make it UTF-8 text") from None
    for line in lines:
        if line.error or (line.key is not None and line.value is None):
            raise InputError(
                f"{env_file.name}: line {line.original.line} is not NAME=value; fix or remove it (see .env.example)"
            )
    for line in lines:
        if line.key and line.value:
            os.environ.setdefault(line.key, line.value.strip() if line.key in VARIABLES else line.value)


def set_library_defaults(**variables: str) -> None:
    """Sets variables that a library reads, except those that the user has set."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def setting(name: str) -> str:
    """The value of a documented variable, or its default; raises KeyError for an undocumented name."""
    default = VARIABLES[name][0]
    return os.environ.get(name) or default


def environment_with(**variables: str) -> dict[str, str]:
    """The environment and these variables, for a child process."""
    return {**os.environ, **variables}


def leave_error(line: str) -> None:
    """Writes the line that a run ended with to SAFE_EMBED_ERROR_FILE, if the process that started it has set that."""
    path = os.environ.get("SAFE_EMBED_ERROR_FILE")
    if path:
        Path(path).write_text(f"{line}\n", encoding="utf-8")


def callers_directory() -> Path:
    """The folder that a script was called from, before it changed folder."""
    return Path(os.environ.get("SAFE_EMBED_CALLED_FROM_DIR") or Path.cwd())


def callers_path(text: str) -> Path:
    """The path that the user typed, relative to the folder that the command was called from."""
    return callers_directory() / Path(text).expanduser()


def data_directory() -> Path | None:
    """The folder named by SAFE_EMBED_DATA_DIR, relative to the repository's root, or None."""
    value = setting("SAFE_EMBED_DATA_DIR")
    return ROOT / Path(value).expanduser() if value else None


def cache_directory() -> Path:
    """The cache folder, relative to the repository's root."""
    return ROOT / Path(setting("SAFE_EMBED_CACHE_DIR")).expanduser()


def results_directory(chosen: str | None = None) -> Path:
    """The folder of the result files: `chosen`, else OUT. The default is in the repository."""
    text = chosen or setting("OUT")
    return ROOT / text if text == VARIABLES["OUT"][0] else callers_path(text)
