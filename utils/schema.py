"""The plain values that packages exchange."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

# Increased when a change of utils/encoders/loaders.py changes the vectors of an encoder that is otherwise the same.
LOADER_VERSION = 1

# The backends of the controls, and of no other encoder: word overlap, and random vectors.
WORD_OVERLAP = "scikit-learn"
RANDOM_VECTORS = "numpy"
# The controls' names, in the order in which tables show them after the encoders.
CONTROLS = ("tfidf", "random")

# In characters. A message may quote an id or a name from a file, which may be of any length.
LONGEST_MESSAGE = 500

# The key of the influence on the average similarity of the evaluated set itself.
OWN = "average_similarity"

# The groups of a metric that are means over several: over the means of the groups, and over all items.
SUMMARIES = ("average", "overall")


class InputError(Exception):
    """A mistake in the user's input: one line that names it and its remedy. The program ends with exit status 2."""


def escaped(text: str) -> str:
    """The text on one line, with control and invisible characters escaped as Python escapes them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(text: object, limit: int = 80) -> str:
    """The text as a message shows it: escaped, and cut to `limit` characters with "…" at the end."""
    whole = escaped(str(text)[: limit + 1])
    return whole if len(whole) <= limit else f"{whole[: limit - 1]}…"


def printable(text: str) -> str:
    """The text with control and invisible characters escaped, except line breaks, so that no terminal acts on it."""
    return "\n".join(map(escaped, text.split("\n")))


def one_line(message: object) -> str:
    """A message on one line, escaped; of one beyond LONGEST_MESSAGE characters, long names and then the middle are cut.

    So both what is wrong and the remedy, which is at the end, can be read.
    """
    line = escaped(" ".join(str(message).split()))
    if len(line) > LONGEST_MESSAGE:
        line = re.sub(r"[^\s:;,'\"()]{81,}", lambda name: shown(name[0]), line)
    if len(line) > LONGEST_MESSAGE:
        line = f"{line[: LONGEST_MESSAGE // 2]} ... {line[-LONGEST_MESSAGE // 2 :]}"
    return line


@dataclass(frozen=True)
class DataFile:
    """A file that was evaluated: its name, the SHA-256 of its bytes, and its number of rows."""

    name: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class Dataset:
    """Evaluated rows, column by column.

    name: `paper`, `sample` or the file's stem.
    ids: n strings, all different.
    groups: n type or category names, as they are shown.
    group_order: the distinct groups in the order they are shown.
    texts: column name to n prompts. The names are those of the task: `unsafe_prompt` and `safe_prompt`;
        `original_prompt` and `prompt_#1` to `prompt_#5`; `question`.
    files: what was read.
    notes: sentences that a user should know about the data.
    """

    name: str
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    group_order: tuple[str, ...]
    texts: dict[str, tuple[str, ...]]
    files: tuple[DataFile, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class EncoderInfo:
    """The identity of an encoder's vectors.

    fingerprint: a digest of everything that changes one. tuned_on: the labelled sets that it has seen while it was
    tuned here, and those that share their sources; none for any other encoder.
    """

    name: str
    label: str
    source: str
    revision: str
    dimension: int | None
    dtype: str
    max_tokens: int | None
    prompt: str
    backend: str
    fingerprint: str
    tuned_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tuned_on", tuple(self.tuned_on))  # a list in JSON


@dataclass(frozen=True)
class EncoderOptions:
    """The options that a user may set for any encoder. prompt: None for the registry's."""

    device: str = "auto"
    dtype: str = "auto"
    prompt: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """A model repository at one commit. location: a local folder, None for one of the hub."""

    source: str
    revision: str
    location: Path | None = None


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder that has been resolved to exact weights but not loaded.

    source, revision: where the weights come from; several checkpoints are joined by ` + ` in the order of loading.
    dimension, max_tokens: None if only the loaded model knows.
    recipe: what the loader does that the checkpoint's own files do not say, such as pooling and wrapping.
    layout: files that a hub checkpoint must have to be loaded correctly.
    checkpoints: what is loaded, in order; empty for a loader that needs none.
    package, files: the installed package that holds the weights, and the SHA-256 of each file.
    usd_per_million_tokens: an API's price, None if it is unknown or free. tuned_on: as in EncoderInfo.
    base, layer: of a linear layer on the vectors of another encoder, that encoder and the file of the layer.
    """

    name: str
    label: str
    loader: str
    source: str
    revision: str
    dtype: str
    prompt: str
    dimension: int | None = None
    max_tokens: int | None = None
    backend: str = "torch"
    recipe: dict[str, str | int] = field(default_factory=dict)
    layout: tuple[str, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    package: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    usd_per_million_tokens: float | None = None
    options: EncoderOptions = field(default_factory=EncoderOptions)
    tuned_on: tuple[str, ...] = ()
    base: "EncoderSpec | None" = None
    layer: Path | None = None

    @property
    def fingerprint(self) -> str:
        """A digest of everything that changes a vector. Two specs with the same digest give the same vectors.

        Pooling, maximum length and truncation are in a checkpoint's own files, so its revision stands for them, or in
        the recipe. A folder's name is left out, as its revision is the digest of its files. The device is left out: it
        moves float32 vectors by rounding noise only.
        """
        of_folder = any(part.location is not None for part in self.checkpoints)
        parts = {
            "loader": self.loader,
            "loader_version": LOADER_VERSION,
            "source": "folder" if of_folder else self.source,
            "revision": self.revision,
            "recipe": self.recipe,
            "dtype": self.dtype,
            "prompt": self.prompt,
            "backend": self.backend,
        }
        # Included only if it is set, so that vectors stored before this option existed are still found.
        if self.options.trust_remote_code and self.loader == "sentence-transformers":
            parts["trust_remote_code"] = True
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    def info(self, dimension: int | None = None, max_tokens: int | None = None) -> EncoderInfo:
        """The encoder as a result file describes it."""
        return EncoderInfo(
            name=self.name,
            label=self.label,
            source=self.source,
            revision=self.revision,
            dimension=dimension if dimension is not None else self.dimension,
            dtype=self.dtype,
            max_tokens=max_tokens if max_tokens is not None else self.max_tokens,
            prompt=self.prompt,
            backend=self.backend,
            fingerprint=self.fingerprint,
            tuned_on=self.tuned_on,
        )


def is_word_overlap(encoder: EncoderSpec | EncoderInfo) -> bool:
    """Whether an encoder is TF-IDF, which is fitted on the evaluated prompts."""
    return encoder.backend == WORD_OVERLAP


def is_control(encoder: EncoderSpec | EncoderInfo) -> bool:
    """Whether an encoder is a control, TF-IDF or random vectors; its average similarity is always its own."""
    return encoder.backend in (WORD_OVERLAP, RANDOM_VECTORS)


def control_order(name: str) -> int:
    """A control's place among the controls, from 1; 0 for every other encoder, so that sorting puts controls last."""
    return CONTROLS.index(name) + 1 if name in CONTROLS else 0


@dataclass(frozen=True)
class EmbeddingStats:
    """Counts of the prompts that were embedded, and of where their vectors came from.

    truncated: how many distinct prompts are longer than what the encoder reads; None if they were not counted.
    """

    prompts: int
    unique: int
    computed: int
    reused: int
    seconds: float
    truncated: int | None = None


@dataclass(frozen=True)
class Baseline:
    """The average similarity b that normalization subtracts. source: paper, beavertails, own or given.

    median, standard_deviation: of the same cosines, None if only b is known.
    """

    value: float
    source: str
    median: float | None = None
    standard_deviation: float | None = None


class Interval:
    """What has a 95 % interval: `low` and `high`, both None without any."""

    low: float | None
    high: float | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The ends of its 95 % interval; None without any."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class Metric(Interval):
    """One number: its metric, the group of items it summarises, and how many items those are.

    better: `lower` or `higher`. low, high: of its 95 % interval. chance: what guessing gives. ceiling: the most that
    can be reached.
    detector, train, test, type: of detection, the detector, the set that it was trained on, the set that it was tested
    on, the safe-only set beside it (against), and the type of its prompts; `group` is then their title in a table. k:
    of a metric at several numbers of neighbours. seen: True if the encoder was tuned on a set that it is of.
    """

    metric: str
    group: str
    value: float
    n: int
    better: str
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    ceiling: float | None = None
    detector: str | None = None
    train: str | None = None
    test: str | None = None
    type: str | None = None
    against: str | None = None
    k: int | None = None
    seen: bool | None = None

    @property
    def name(self) -> str:
        """What flags, tables of comparison and messages call the metric: of detection with its detector."""
        return f"{self.metric}/{self.detector}" if self.detector else self.metric

    @property
    def loss(self) -> float:
        """The value, or its negative where higher is better: the lower, the better."""
        return self.value if self.better == "lower" else -self.value


@dataclass(frozen=True)
class Difference(Interval):
    """A difference of two scores of the same items, its 95 % interval, and the p-value that it is 0.

    Interval and p-value are of one distribution, Student's: p is below 0.05 exactly where the interval leaves out 0.
    low, high, p: None for a group of one item. p is not corrected for several tests.
    """

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Result:
    """One encoder on one task: the content of a result file (docs/design.md, section 3).

    average_similarities: those known of the encoder, by source; empty for a task that uses none.
    made_by: a digest of the run, by which a repeated one knows it; '' if the result is of no run that can be repeated.
    items: column to n values: texts, whole numbers, or floats with NaN where a score is not defined.
    influence: metric to float32 (n, groups), how much each item moves the mean of each group, in the groups' order;
    only of metrics whose scores depend on other items too. `average_similarity`, (n,), is of `own`.
    """

    task: str
    created: str
    seconds: float
    encoder: EncoderInfo
    dataset_name: str
    dataset_files: tuple[DataFile, ...]
    dataset_items: int
    settings: dict
    embedding: EmbeddingStats
    metrics: tuple[Metric, ...]
    environment: dict
    average_similarities: dict[str, float] = field(default_factory=dict)
    made_by: str = ""
    items: dict[str, list] = field(default_factory=dict, repr=False)
    influence: dict = field(default_factory=dict, repr=False, compare=False)

    @property
    def groups(self) -> list[str]:
        """The n types, categories or sets of its items, which are the second of their columns."""
        return list(self.items.values())[1]

    def metric(
        self,
        metric: str,
        group: str | None = None,
        *,
        detector: str | None = None,
        train: str | None = None,
        test: str | None = None,
        against: str | None = None,
    ) -> Metric | None:
        """The number of `metric`, or None if it was not computed.

        Of a group; or of a detector on prompts of all types, by what it was trained on and tested on.
        """
        return self._by_place.get((metric, detector, group or (train, test, against)))

    @cached_property
    def _by_place(self) -> dict[tuple[str, str | None, str | tuple], Metric]:
        found: dict[tuple[str, str | None, str | tuple], Metric] = {}
        for m in reversed(self.metrics):
            found[m.metric, m.detector, m.group] = m
            if m.test and not m.type:
                found[m.metric, m.detector, (m.train, m.test, m.against)] = m
        return found

    def by_group(self, metric: str) -> list[Metric]:
        """All numbers of a metric; empty if it was not computed."""
        return [m for m in self.metrics if m.metric == metric]

    def mean(self, metric: str, group: str = "average") -> Metric:
        """The mean of a metric that every result of the task has, as it has that of the headline metric."""
        return self._by_place[metric, None, group]

    def value(self, metric: str, group: str | None = None, **fields: str | None) -> float | None:
        """The value of what `metric` finds, or None if it was not computed."""
        found = self.metric(metric, group, **fields)
        return None if found is None else found.value


DTYPES = ("auto", "float32", "bfloat16", "float16")
