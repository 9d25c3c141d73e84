"""Where each dataset comes from, and under which licence; finds, verifies and loads it."""

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils import config, network
from utils.files import sha256_of, shown_path
from utils.metrics import OVERLAP_BINS
from utils.reading import dataset_stem, has_text, read_columns, refuse_unreadable
from utils.schema import SUMMARIES, DataFile, Dataset, InputError, Result, shown

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
    summaries: what results call their means over several groups; no group may have such a name.
    """

    card: DataCard
    folder: str
    sample: str
    group_column: str
    text_columns: tuple[str, ...]
    known_groups: dict[str, str]
    summaries: tuple[str, ...] = SUMMARIES

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
    summaries=(*SUMMARIES, *OVERLAP_BINS),
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
            return _sample(fmt, f"because the paper's file is not there: {error}")
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
            raise InputError(f"SAFE_EMBED_DATA_DIR: no folder {shown_path(extra)}; correct or unset the variable")
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
        reason = f"HTTP {status}" if status else network.proxy_fault() or "no connection"
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
    # A set with the paper's file name is told apart by its folder.
    name = path.parent.name if path.name == fmt.card.file else dataset_stem(path)
    if name in ("paper", "sample"):
        raise InputError(f"--data {path}: results of '{name}' are those of another dataset; rename the file")
    return Found(name, path, digest, "as given", "not known here")


def load(fmt: Format, data: str, limit: int | None = None) -> tuple[Dataset, Found]:
    """Finds, reads and validates a task's data.

    limit: at most so many rows, taken in turn from each group in the file's order.
    Surrounding white space is stripped and the number of changed rows noted; otherwise texts stay as they are.
    Raises InputError, naming file and row, if a column is missing, a cell has no text, a group is unknown or has just
    one row, an id occurs twice, or the file is empty or can't be read.
    """
    found = find(fmt, data)
    columns = read_columns(found.path, fmt.columns, fmt.readme)
    file, n = found.path.name, len(columns["id"])
    notes = []
    changed = set()
    for column in (fmt.group_column, *fmt.text_columns):
        clean = [text.strip() for text in columns[column]]
        empty = [i for i, text in enumerate(clean) if not has_text(text)]
        if empty:
            more = f", as in {len(empty) - 1} other rows" if len(empty) > 1 else ""
            raise InputError(
                f"{file}: row {empty[0] + 1} (id {shown(columns['id'][empty[0]])}): no text in '{column}'{more}; give "
                "each one, or leave the row out"
            )
        changed |= {i for i in range(n) if clean[i] != columns[column][i]}
        columns[column] = clean
    if changed:
        notes.append(f"{len(changed)} of {n} rows had white space around a text; it was stripped")
    twice = repeated_at(columns["id"])
    if twice:
        repeated = shown(columns["id"][twice[0]])
        raise InputError(f"{file}: id {repeated} occurs twice (row {twice[0] + 1}); make ids unique")

    groups = _shown_groups(fmt, columns[fmt.group_column], file)
    repeated = repeated_at(columns[fmt.text_columns[0]])
    if repeated:
        notes.append(f"{len(repeated)} of {n} rows repeat an earlier '{fmt.text_columns[0]}'; they are kept")
    if limit is not None and limit < n:
        chosen = in_turn(groups, limit)
        columns = {column: [texts[i] for i in chosen] for column, texts in columns.items()}
        groups = [groups[i] for i in chosen]
        notes.append(f"limited to {limit} rows, taken in turn from each {fmt.group_column}")
    for group, size in Counter(groups).items():
        if size < 2:
            remedy = f"raise --limit above {limit}" if limit is not None else "add rows or leave it out"
            raise InputError(f"{file}: just one row in {fmt.group_column} '{shown(group)}', two are needed; {remedy}")

    order = {name: i for i, name in enumerate(fmt.known_groups.values())}
    return (
        Dataset(
            name=found.name,
            ids=tuple(columns["id"]),
            groups=tuple(groups),
            group_order=tuple(sorted(dict.fromkeys(groups), key=lambda g: order.get(g, len(order)))),
            texts={column: tuple(columns[column]) for column in fmt.text_columns},
            files=(DataFile(file, found.sha256, len(groups)),),
            notes=tuple(notes),
        ),
        found,
    )


def repeated_at(values: Sequence[str]) -> list[int]:
    """Where a value is that occurs earlier too, ascending."""
    first_at: dict[str, int] = {}
    return [i for i, value in enumerate(values) if first_at.setdefault(value, i) != i]


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


def _shown_groups(fmt: Format, names: list[str], file: str) -> list[str]:
    """Group names as they are shown. A file has known groups or ones of its own; where they mix, it is a typo."""
    known = fmt.known_groups | {name: name for name in fmt.known_groups.values()}
    taken = [name for name in names if name in fmt.summaries]
    if taken:
        raise InputError(
            f"{file}: row {names.index(taken[0]) + 1}: a {fmt.group_column} can't be called '{taken[0]}', as a summary "
            "in the results is; rename it"
        )
    unknown = sorted(set(names) - known.keys())
    if unknown and len(unknown) < len(set(names)):
        near = difflib.get_close_matches(unknown[0], known, n=1)
        meant = f"did you mean '{near[0]}'?" if near else "fix it, or use names of your own throughout"
        raise InputError(
            f"{file}: row {names.index(unknown[0]) + 1}: unknown {fmt.group_column} '{shown(unknown[0])}' among known "
            f"ones; {meant}"
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
