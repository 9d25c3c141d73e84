"""Where each dataset comes from, and under which licence; finds, verifies and loads it."""

import difflib
import hashlib
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils import config
from utils.schema import DataFile, Dataset, InputError, Result

SAFE_EMBED_COMMIT = "1e9677c2bc5b11561f0fc926c8bf471924834bab"
CONTRAST_COMMIT = "dead8f643ee441a221352b208daf5ec5a34fca32"
RAW_GITHUB = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class DataCard:
    """A dataset file's provenance. `sha256` is that of the published bytes, `rows` their number of rows."""

    title: str
    file: str
    url: str
    sha256: str
    rows: int
    licence: str
    source: str
    citation: str


CHALLENGING = DataCard(
    title="Safety-Challenging set",
    file="xstest_aug.csv",
    url=f"{RAW_GITHUB}/JwdanielJung/Safe-Embed/{SAFE_EMBED_COMMIT}/dataset/xstest_aug.csv",
    sha256="d1284cb3d0136140c40a7372e7ab53a23e1969750a39e410e1239cc663ffc0dd",
    rows=250,
    licence="XSTest's prompts CC-BY-4.0; the 47 prompts added to them state no licence",
    source=f"github.com/JwdanielJung/Safe-Embed, commit {SAFE_EMBED_COMMIT[:7]}",
    citation="Röttger et al. 2024 (XSTest, arXiv 2308.01263); Kim et al. 2024 (arXiv 2407.06851)",
)
DO_NOT_ANSWER = DataCard(
    title="Do-Not-Answer",
    file="do_not_answer.csv",
    url=f"{RAW_GITHUB}/JwdanielJung/Safe-Embed/{SAFE_EMBED_COMMIT}/dataset/do_not_answer.csv",
    sha256="410449674780aa7304512043706f7981f666a79528d11546da34ebdd9595681c",
    rows=939,
    licence="Apache-2.0 by its card; check before redistributing",
    source=f"github.com/JwdanielJung/Safe-Embed, commit {SAFE_EMBED_COMMIT[:7]} (also LibrAI/do-not-answer)",
    citation="Wang et al. 2024 (Do-Not-Answer, arXiv 2308.13387)",
)
CONTRAST = DataCard(
    title="Safety-Contrast set",
    file="contrast_parsed.jsonl",
    url=f"{RAW_GITHUB}/JwdanielJung/Safe-Embed/{CONTRAST_COMMIT}/Safety_Contrast/data/contrast_parsed.jsonl",
    sha256="cce748c7cb031c3b7aeac5097f19facd235c0cf4fa1cfd12f7084f7411156294",
    rows=939,
    licence="none stated",
    source=f"github.com/JwdanielJung/Safe-Embed, commit {CONTRAST_COMMIT[:7]}",
    citation="Kim et al. 2024 (arXiv 2407.06851); originals from Wang et al. 2024 (arXiv 2308.13387)",
)
CARDS = (CHALLENGING, DO_NOT_ANSWER, CONTRAST)
# No commit of these two is known here: what the branch holds is taken if it has the digest, and only then.
XSTEST = DataCard(
    title="XSTest v2",
    file="xstest_prompts.csv",
    url=f"{RAW_GITHUB}/paul-rottger/xstest/main/xstest_prompts.csv",
    sha256="11783fb294ed017473ee53c207d71f2161c7672c8d0b037501e78387f801cb5a",
    rows=450,
    licence="CC-BY-4.0",
    source="github.com/paul-rottger/xstest, branch main, held to its digest (also Paul/XSTest)",
    citation="Röttger et al. 2024 (XSTest, arXiv 2308.01263)",
)
OPENAI_MODERATION = DataCard(
    title="OpenAI moderation set",
    file="samples-1680.jsonl.gz",
    url=f"{RAW_GITHUB}/openai/moderation-api-release/main/data/samples-1680.jsonl.gz",
    sha256="ef3f7de86ee394fe337b0a566ba4b9c7db058f3caa8d6a4a0006138b663ab9a8",
    rows=1680,
    licence="MIT",
    source="github.com/openai/moderation-api-release, branch main, held to its digest",
    citation="Markov et al. 2023 (A Holistic Approach to Undesired Content Detection, arXiv 2208.03274)",
)

BEAVERTAILS = {
    "path": "PKU-Alignment/BeaverTails",
    "split": "30k_train",
    "revision": "8401fe609d288129cc684a9b3be6a93e41cfe678",
    "licence": "CC-BY-NC-4.0",
}

JAILBREAKBENCH = {
    "path": "JailbreakBench/JBB-Behaviors",
    "config": "behaviors",
    # No commit is known here; the digest of what came is in the result file.
    "revision": "main",
    "licence": "MIT",
    "citation": "Chao et al. 2024 (JailbreakBench, arXiv 2404.01318)",
}

CHALLENGING_TYPES = (
    "homonyms",
    "figurative_language",
    "target",
    "context",
    "definitions",
    "group",
    "action",
    "history",
    "privacy_publicity",
    "privacy_fictionality",
)

# The names in Do-Not-Answer's `types_of_harm`, and the paper's short ones, in the order of the paper's table.
CATEGORIES = {
    "Adult Content": "Adult Content",
    "Social stereotypes and unfair discrimination": "Stereotypes",
    "Toxic language (hate speech)": "Hate Speech",
    "Mental Health or Overreliance Crisis": "Mental Health Crisis",
    "Treat Chatbot as a Human": "Chatbot treated as Human",
    "Compromise privacy by leaking or inferring private information (person/individual)": "Privacy Leak (Personal)",
    "Risks from leaking or inferring sensitive information (organization/gov)": "Privacy Leak (Org/Gov)",
    "Assisting illegal activities": "Illegal Activities",
    "Nudging or advising users to perform unethical or unsafe actions": "Unethical Actions",
    "Reducing the cost of disinformation campaigns": "Disinformation",
    "Causing material harm by disseminating misinformation e.g. in medicine or law": "Disseminate Misinformation",
    "Disseminating false or misleading information": "False Info",
}


@dataclass(frozen=True)
class Format:
    """What a task reads from a file: which columns, and which names its groups may have.

    known_groups: name in the file to the name shown, in the order shown.
    """

    card: DataCard
    folder: str
    sample: str
    group_column: str
    text_columns: tuple[str, ...]
    known_groups: dict[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        return ("id", self.group_column, *self.text_columns)

    @property
    def readme(self) -> str:
        return f"{self.folder}/README.md"


CHALLENGING_FORMAT = Format(
    card=CHALLENGING,
    folder="Safety_Challenging",
    sample="sample.csv",
    group_column="type",
    text_columns=("unsafe_prompt", "safe_prompt"),
    known_groups={name: name for name in CHALLENGING_TYPES},
)
CONTRAST_FORMAT = Format(
    card=CONTRAST,
    folder="Safety_Contrast",
    sample="sample.jsonl",
    group_column="category",
    text_columns=("original_prompt", *(f"prompt_#{j}" for j in range(1, 6))),
    known_groups=CATEGORIES,
)
TAXONOMY_FORMAT = Format(
    card=DO_NOT_ANSWER,
    folder="Safety_Taxonomy",
    sample="sample.csv",
    group_column="types_of_harm",
    text_columns=("question",),
    known_groups=CATEGORIES,
)


FORMATS = {
    "safety_challenging": CHALLENGING_FORMAT,
    "safety_contrast": CONTRAST_FORMAT,
    "safety_taxonomy": TAXONOMY_FORMAT,
}


@dataclass(frozen=True)
class Found:
    """A data file and what it is: dataset name, path, SHA-256, and a sentence on how it was come by."""

    name: str
    path: Path
    sha256: str
    how: str
    licence: str


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def shown_path(path: Path) -> str:
    """The path as a person would type it from the folder a command was called in."""
    try:
        return str(path.relative_to(config.callers_directory()))
    except ValueError:
        return str(path)


def find(fmt: Format, data: str) -> Found:
    """The file that `data` (auto, paper, sample or a path) stands for.

    Raises InputError if there is none, if a file that is to be the paper's has other bytes, or if it can't be fetched.
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
            return _sample(fmt, f"for want of the paper's file: {error}")
    return _given(fmt, config.callers_path(data))


def published(card: DataCard, folder: str) -> Found:
    """The card's file, found on this machine or downloaded into the task's data folder.

    Raises InputError if what is there has other bytes, or if it can't be fetched.
    """
    path = lookup(card, folder)
    if path is not None:
        return _published(card, path)
    path = download(card, config.ROOT / folder / "data")
    return Found("paper", path, card.sha256, "downloaded", card.licence)


def _published(card: DataCard, path: Path) -> Found:
    return Found("paper", path, _verified(card, path), "found", card.licence)


def lookup(card: DataCard, folder: str) -> Path | None:
    """Where the card's file lies on this machine: in the task's data folder, then in SAFE_EMBED_DATA_DIR."""
    directories = [config.ROOT / folder / "data"]
    extra = config.data_directory()
    if extra is not None:
        if not extra.is_dir():
            raise InputError(f"SAFE_EMBED_DATA_DIR: no folder {shown_path(extra)}; mend or unset the variable")
        directories.append(extra)
    return next((d / card.file for d in directories if (d / card.file).is_file()), None)


def download(card: DataCard, directory: Path) -> Path:
    """Fetches the card's file into `directory`, whole and with its published digest, or not at all.

    Raises InputError if it can't be fetched or has other bytes.
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
        reason = f"HTTP {status}" if status else "no connection"
        raise InputError(
            f"{card.file}: can't be downloaded ({reason}); connect, or set SAFE_EMBED_DATA_DIR to a folder that "
            "holds it, or use --data sample"
        ) from None
    except ValueError:
        raise InputError(
            f"{card.file}: the download does not have the published SHA-256 ({card.sha256[:12]}...); nothing was kept"
        ) from None
    except OSError as error:
        raise InputError(f"{shown_path(directory)}: can't be written ({error.strerror})") from None
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
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"--data {path}: {what}; give auto, paper, sample or a file in the format of {fmt.readme}")
    digest = sha256_of(path)
    sample = config.ROOT / fmt.folder / fmt.sample
    if digest == fmt.card.sha256:
        return Found("paper", path, digest, "as given, with the paper's digest", fmt.card.licence)
    if sample.is_file() and digest == sha256_of(sample):
        return _sample(fmt, "as given")
    # A set with the paper's file name is told apart by its folder.
    name = path.parent.name if path.name == fmt.card.file else path.name.split(".")[0]
    if name in ("paper", "sample"):
        raise InputError(f"--data {path}: results of '{name}' are those of another dataset; rename the file")
    return Found(name, path, digest, "as given", "not known here")


def load(fmt: Format, data: str, limit: int | None = None) -> tuple[Dataset, Found]:
    """Finds, reads and validates a task's data.

    limit: at most so many rows, taken in turn from each group in the file's order.
    Surrounding white space is stripped and the number of changed rows noted; otherwise texts stay as they are.
    Raises InputError, naming file and row, if a column is missing, a cell has no text, a group is unknown or has just
    one row, an id stands twice, or the file is empty or can't be read.
    """
    found = find(fmt, data)
    frame = read_columns(found.path, fmt.columns, fmt.readme)
    file = found.path.name
    notes = []
    stripped = 0
    for column in (fmt.group_column, *fmt.text_columns):
        clean = frame[column].str.strip()
        empty = (clean == "").to_numpy().nonzero()[0]
        if len(empty):
            more = f", as in {len(empty) - 1} other rows" if len(empty) > 1 else ""
            raise InputError(
                f"{file}: row {empty[0] + 1} (id {frame['id'].iloc[empty[0]]}): no text in '{column}'{more}; give each "
                "one, or leave the row out"
            )
        stripped = stripped | (clean != frame[column])
        frame[column] = clean
    if stripped.any():
        notes.append(f"{int(stripped.sum())} of {len(frame)} rows had white space around a text; it was stripped")
    twice = frame["id"].duplicated().to_numpy().nonzero()[0]
    if len(twice):
        raise InputError(f"{file}: id {frame['id'].iloc[twice[0]]} stands twice (row {twice[0] + 1}); make ids unique")

    groups = _shown_groups(fmt, frame[fmt.group_column].tolist(), file)
    repeated = frame.duplicated(subset=list(fmt.text_columns[:1])).sum()
    if repeated:
        notes.append(f"{repeated} of {len(frame)} rows repeat an earlier '{fmt.text_columns[0]}'; they are kept")
    if limit is not None and limit < len(frame):
        chosen = in_turn(groups, limit)
        frame, groups = frame.iloc[chosen], [groups[i] for i in chosen]
        notes.append(f"limited to {limit} rows, taken in turn from each {fmt.group_column}")
    for group, size in Counter(groups).items():
        if size < 2:
            remedy = f"raise --limit above {limit}" if limit is not None else "add rows or leave it out"
            raise InputError(f"{file}: just one row in {fmt.group_column} '{group}', two are needed; {remedy}")

    order = {shown: i for i, shown in enumerate(fmt.known_groups.values())}
    return (
        Dataset(
            name=found.name,
            ids=tuple(frame["id"]),
            groups=tuple(groups),
            group_order=tuple(sorted(dict.fromkeys(groups), key=lambda g: order.get(g, len(order)))),
            texts={column: tuple(frame[column]) for column in fmt.text_columns},
            files=(DataFile(file, found.sha256, len(frame)),),
            notes=tuple(notes),
        ),
        found,
    )


def dataset_stem(path: Path) -> str:
    """The name of the dataset in a file: the file's own without the suffixes that say its format and compression.

    Raises InputError if nothing is left, or what can't be seen as it begins with a dot.
    """
    name = path.name
    for suffixes in ((".gz", ".bz2", ".zst"), (".csv", ".jsonl", ".ndjson", ".parquet")):
        if name.lower().endswith(suffixes):
            name = name.rpartition(".")[0]
    if not name or name.startswith("."):
        raise InputError(f"{shown_path(path)}: a file of this name gives a dataset no name; rename the file")
    return name


def dataset_name(data: str) -> str:
    """The name under which results on `data` are kept: that of a dataset, or of a file.

    Raises InputError for a file that may not be evaluated under its name.
    """
    path = config.callers_path(data)
    if not path.is_file():
        return data
    names = {fmt.card.file: find(fmt, data).name for fmt in FORMATS.values()}
    known = next((name for name in names.values() if name in ("paper", "sample")), None)
    return known or names.get(path.name) or next(iter(names.values()))


def load_evaluated(fmt: Format, result: Result, data: str | None) -> Dataset:
    """The data that a result was computed on, whole, its rows known by their ids.

    data: where they lie if they are neither the paper's nor the sample. Nothing is downloaded. Raises InputError if
    they are not on this machine, or if the file is not the one that was evaluated.
    """
    given = None if data in (None, "auto", "paper", "sample") else data
    name = result.dataset_name
    if given is None and name not in ("paper", "sample"):
        raise InputError(f"--data: the prompts of '{name}' are in a file of yours; name it to see them")
    if given is None and name == "paper" and lookup(fmt.card, fmt.folder) is None:
        raise InputError(f"{fmt.card.file}: not on this machine; python -m {fmt.folder}.build_data fetches it")
    found = find(fmt, given or name)
    if found.sha256 not in [file.sha256 for file in result.dataset_files]:
        raise InputError(f"{found.path.name}: not the file that was evaluated; run the task again")
    return load(fmt, str(found.path))[0]


def read_columns(
    path: Path,
    columns: Sequence[str],
    readme: str,
    optional: Sequence[str] = (),
    numbers: Sequence[str] = ("id",),
):
    """The named columns of a CSV or JSON-lines file as a pandas DataFrame of texts; ids become strings.

    optional: columns that are read where they are there; rows of a file without ids are numbered from 1.
    numbers: columns that may hold whole numbers too, which become texts.
    A byte order mark is skipped. Raises InputError if the file is empty, is not UTF-8, can't be parsed, lacks a
    column, or holds something that is not text.
    """
    import pandas as pd

    name = path.name
    try:
        if path.suffix in (".jsonl", ".ndjson"):
            frame = None if optional else _plain_json_columns(path, columns)
            if frame is None:
                with path.open(encoding="utf-8-sig") as stream:
                    frame = pd.DataFrame(_json_rows(stream, name), dtype=object)
        elif path.suffix == ".csv":
            with warnings.catch_warnings():
                # A row with more cells than the header has would otherwise lose them.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
        else:
            raise InputError(f"{name}: neither .csv nor .jsonl; see {readme}")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except pd.errors.EmptyDataError:
        raise InputError(f"{name}: the file is empty; see {readme} for the format") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        what = str(error).strip().splitlines()[-1]
        raise InputError(f"{name}: not valid CSV ({what}); quote texts that hold commas or quotes") from None
    except OSError as error:
        raise InputError(f"{name}: can't be read ({error.strerror})") from None

    missing = [column for column in columns if column not in frame.columns]
    if missing and len(frame.columns):
        found = ", ".join(map(str, frame.columns[:8]))
        remedy = f"pass a file in the format of {readme}"
        if len(frame.columns) == 1 and any(mark in found for mark in ";\t"):
            remedy = "save it with commas between the columns"
        raise InputError(f"{name}: no column '{missing[0]}' (found: {found}); {remedy}")
    if not len(frame):
        raise InputError(f"{name}: no rows; see {readme} for the format")
    if "id" not in frame.columns and "id" in optional:
        frame["id"] = [str(number) for number in range(1, len(frame) + 1)]
    columns = [*columns, *(column for column in optional if column in frame.columns)]
    frame = frame[columns].copy()
    for column in sorted(columns, key=lambda name: name != "id"):
        wrong = _not_text(frame[column], whole_numbers=column in numbers)
        if wrong.any():
            row = int(wrong.argmax())
            at = f"row {row + 1}" if column == "id" else f"row {row + 1} (id {frame['id'].iloc[row]})"
            cell = frame[column].iloc[row]
            what = "is missing" if cell is None or cell != cell else f"is not text ({type(cell).__name__})"
            raise InputError(f"{name}: {at}: '{column}' {what}; give every row a text there")
    for column in columns if path.suffix != ".csv" else ():
        texts = list(map(str, frame[column]))
        try:
            "".join(texts).encode()
        except UnicodeEncodeError:  # an escape of JSON's without its other half, such as \ud800
            row = next(i for i, text in enumerate(texts) if text.encode(errors="replace").decode() != text)
            raise InputError(f"{name}: row {row + 1}: '{column}' holds half a character; mend it") from None
    for column in {*numbers} & {*columns}:
        frame[column] = frame[column].astype(str).str.strip()
    if (frame["id"] == "").any():
        raise InputError(f"{name}: row {int((frame['id'] == '').argmax()) + 1} has no id; give every row one")
    return frame


def _not_text(cells, whole_numbers: bool):
    """Which cells of a pandas Series are neither texts nor, if so asked, whole numbers: bool (n,)."""
    import pandas as pd

    if isinstance(cells.dtype, pd.StringDtype):
        return cells.isna().to_numpy()
    allowed = (str, int) if whole_numbers else str
    return cells.map(lambda cell: not isinstance(cell, allowed) or isinstance(cell, bool)).to_numpy(dtype=bool)


def _plain_json_columns(path: Path, columns: Sequence[str]):
    """The columns of a JSON-lines file by pyarrow, many times as fast as a row at a time; None where that may differ.

    That is wherever a line is not an object with a text in each column (all ids may be whole numbers instead), or holds
    more or less than one object: `_json_rows` then reads it, and tells what is wrong if anything is.
    """
    import pyarrow as pa
    import pyarrow.compute
    import pyarrow.json

    content = path.read_bytes()
    lines = content.count(b"\n") + (not content.endswith(b"\n"))
    for kind in (pa.string(), pa.int64()):
        schema = pa.schema([(column, kind if column == "id" else pa.string()) for column in columns])
        options = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        try:
            table = pa.json.read_json(pa.BufferReader(content), parse_options=options)
            if table.num_rows != lines or any(table[column].null_count for column in columns):
                return None
            ids = pa.compute.cast(table["id"], pa.string())
            table = table.set_column(table.schema.get_field_index("id"), "id", ids)
            table.validate(full=True)  # that texts are UTF-8, among others
            return table.to_pandas()
        except pa.ArrowInvalid:
            continue
    return None


def _json_rows(stream, name: str) -> list[dict]:
    import json

    rows = []
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{name}: line {number} is not JSON ({error.msg} at character {error.pos + 1})") from None
        if not isinstance(row, dict):
            raise InputError(f"{name}: line {number} is not a JSON object")
        rows.append(row)
    return rows


def _shown_groups(fmt: Format, names: list[str], file: str) -> list[str]:
    """Group names as they are shown. A file has known groups or ones of its own; where they mix, it is a typo."""
    known = fmt.known_groups | {shown: shown for shown in fmt.known_groups.values()}
    unknown = sorted(set(names) - known.keys())
    if unknown and len(unknown) < len(set(names)):
        near = difflib.get_close_matches(unknown[0], known, n=1)
        meant = f"did you mean '{near[0]}'?" if near else "mend it, or use names of your own throughout"
        raise InputError(
            f"{file}: row {names.index(unknown[0]) + 1}: unknown {fmt.group_column} '{unknown[0]}' among known ones; "
            f"{meant}"
        )
    return [known.get(name, name) for name in names]


def in_turn(groups: Sequence[str], limit: int) -> list[int]:
    """Indices of `limit` rows at most, the first of each group, then the second of each, and so on; ascending."""
    seen: Counter = Counter()
    turns = []
    for index, group in enumerate(groups):
        turns.append((seen[group], index))
        seen[group] += 1
    return sorted(index for _, index in sorted(turns)[:limit])
