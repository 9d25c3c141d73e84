"""The command line that the three evaluations share."""

import argparse
import functools
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from utils import config
from utils.encoders import BACKENDS, DTYPES
from utils.schema import Baseline, Dataset, EncoderOptions, InputError, Metric, Result
from utils.sources import Format, Found


@dataclass(frozen=True)
class Settings:
    """What a person chose, checked. own: what a task's own flags say, as it stands in the result file."""

    models: tuple[str, ...]
    data: str
    top_k: int
    threshold: float
    baseline: str | float
    out: Path
    limit: int | None
    bootstrap: int
    seed: int
    quiet: bool
    use_store: bool
    encoder: EncoderOptions
    own: dict = field(default_factory=dict)

    def intervals(self, bounds: tuple[float, float] | None) -> dict:
        """How `summarise` is to draw its intervals for values within `bounds`."""
        return {"resamples": self.bootstrap, "seed": self.seed, "bounds": bounds}


@dataclass(frozen=True)
class Scores:
    """What a task makes of one encoder's vectors. items: column name to n values, `id` and the group first."""

    items: dict[str, list]
    metrics: list[Metric]


@dataclass(frozen=True)
class Task:
    """A task as the command line needs it.

    uses_top_k, uses_baseline: which settings enter its numbers (the threshold goes with the baseline).
    check: raises InputError if the settings do not fit the data, before anything is embedded.
    score: (dataset, {text column: (n, d)}, baseline or None, settings) to Scores.
    table: results of several encoders to the text that is printed.
    format: None for a task that has its own way to its data: `folder`, its package, and `load`, as sources.load is.
    fits_words: whether the task fits TF-IDF itself, on a part of the texts; it gets no vectors for it then.
    add_flags, choose: what the task's own flags are, and the settings with what they say.
    published: what the data of the name `paper` are called; resampled: within what the bootstrap draws.
    """

    name: str
    title: str
    question: str
    format: Format | None
    uses_top_k: bool
    uses_baseline: bool
    check: Callable[[Dataset, Settings], None]
    score: Callable[..., Scores]
    table: Callable[[Sequence[Result]], str]
    folder: str = ""
    load: Callable[[str, int | None], tuple[Dataset, Found]] | None = None
    fits_words: bool = False
    add_flags: Callable[[argparse.ArgumentParser], None] = lambda flags: None
    choose: Callable[[argparse.Namespace, Settings], Settings] = lambda arguments, settings: settings
    published: str = "the paper's"
    resampled: str = "within type or category"

    @property
    def package(self) -> str:
        """The folder of the task's own code."""
        return self.folder if self.format is None else self.format.folder

    def settings(self, argv: Sequence[str] | None, step: str) -> Settings:
        """What a person chose for a step of the task, `build_data` or `evaluate`: both take the same flags."""
        flags = parser(f"{self.package}.{step}", f"{self.title}: {self.question}")
        self.add_flags(flags)
        arguments = flags.parse_args(argv)
        return self.choose(arguments, settings_from(arguments))


class Parser(argparse.ArgumentParser):
    """Flags whose misuse becomes one line."""

    def error(self, message: str):
        raise InputError(f"{message} (see --help)")


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """The flags of an evaluation. Their defaults are the documented variables."""
    flags = Parser(prog=f"python -m {program}", description=description, allow_abbrev=False)
    flags.add_argument("encoder", nargs="?", metavar="ENCODER", help="the same as --model")

    def add(flag: str, variable: str, text: str, metavar: str) -> None:
        flags.add_argument(flag, help=_with_variable(text, variable), metavar=metavar)

    add("--model", "MODEL", "encoder, or several with commas between", metavar="NAMES")
    add("--data", "DATA", "auto, paper, sample or a file", metavar="DATA")
    add("--top-k", "TOP_K", "neighbours counted by Categorical Purity and by knn_vote", metavar="K")
    add("--threshold", "THRESHOLD", "limit of pairwise accuracy", metavar="T")
    add("--baseline", "BASELINE", "average similarity: auto, paper, beavertails, own or a number", metavar="B")
    add("--out", "OUT", "folder of the result files", metavar="FOLDER")
    add_encoder_options(flags)
    flags.add_argument("--limit", metavar="N", help="evaluate N rows only, taken in turn from each group")
    flags.add_argument(
        "--bootstrap", metavar="N", default="10000", help="resamples for intervals, 0 for none (default 10000)"
    )
    flags.add_argument("--seed", metavar="N", default="42", help="seed of what is drawn at random (default 42)")
    flags.add_argument("--no-cache", action="store_true", help="neither read nor write the embedding store")
    flags.add_argument("--quiet", action="store_true", help="print the tables and nothing else")
    return flags


def add_encoder_options(flags: argparse.ArgumentParser) -> None:
    """Adds the flags that `encoder_options` reads."""
    several = "auto, cuda, mps or cpu, several with commas between"
    flags.add_argument("--device", metavar="DEVICE", help=_with_variable(several, "DEVICE"))
    flags.add_argument("--dtype", metavar="DTYPE", help=_with_variable("auto, float32, bfloat16 or float16", "DTYPE"))
    flags.add_argument("--backend", metavar="BACKEND", default="torch", help="torch, onnx or openvino (default torch)")
    flags.add_argument("--revision", metavar="COMMIT", help="revision of a Hugging Face model")
    flags.add_argument("--prompt", metavar="TEXT", help="instruction put before every text; '' for none")
    flags.add_argument("--trust-remote-code", action="store_true", help="allow a model to run code of its own")


def _with_variable(text: str, variable: str) -> str:
    return f"{text} (variable {variable}; default {config.VARIABLES[variable][0]})"


def chosen(arguments: argparse.Namespace, name: str) -> tuple[str, str]:
    """What a flag says, else its variable or that one's default; and which of the two it was, for an error."""
    flag = getattr(arguments, name)
    if flag is not None:
        return flag, f"--{name.replace('_', '-')}"
    return config.setting(name.upper()), name.upper()


def device_and_dtype(arguments: argparse.Namespace) -> tuple[str, str]:
    """What `--device` and `--dtype`, or their variables, name. Raises InputError for what is neither."""
    dtype, where = chosen(arguments, "dtype")
    if dtype not in DTYPES:
        raise InputError(f"{where} {dtype}: give one of {', '.join(DTYPES)}")
    device, where = chosen(arguments, "device")
    if device != "auto" and not all(re.fullmatch(r"(cuda|mps|cpu)(:\d+)?", one.strip()) for one in device.split(",")):
        raise InputError(f"{where} {device}: give auto, cuda, mps or cpu, or several such as cuda:0,cuda:1")
    return device, dtype


def encoder_options(arguments: argparse.Namespace) -> EncoderOptions:
    """Checks what is asked of an encoder. Raises InputError, naming the flag or variable, for what there is not."""
    device, dtype = device_and_dtype(arguments)
    if arguments.backend not in BACKENDS:
        raise InputError(f"--backend {arguments.backend}: give one of {', '.join(BACKENDS)}")
    return EncoderOptions(
        device=device,
        dtype=dtype,
        backend=arguments.backend,
        prompt=arguments.prompt,
        revision=arguments.revision,
        trust_remote_code=arguments.trust_remote_code,
    )


def settings_from(arguments: argparse.Namespace) -> Settings:
    """Checks flags and variables. Raises InputError, naming the flag or variable, for what is out of range."""

    if arguments.encoder is not None:
        if arguments.model is not None and arguments.model != arguments.encoder:
            raise InputError(f"--model {arguments.model}: {arguments.encoder} was named too; give one of them")
        arguments.model = arguments.encoder
    model, where = chosen(arguments, "model")
    models = tuple(dict.fromkeys(name.strip() for name in model.split(",") if name.strip()))
    if not models:
        raise InputError(f"{where}: names no encoder; python -m utils.encoders lists them")

    options = encoder_options(arguments)
    baseline = chosen(arguments, "baseline")[0]
    from utils.baseline import parse_baseline

    return Settings(
        models=models,
        data=chosen(arguments, "data")[0],
        top_k=whole_number(*chosen(arguments, "top_k"), least=1),
        threshold=fraction(*chosen(arguments, "threshold")),
        baseline=parse_baseline(baseline),
        out=config.results_directory(chosen(arguments, "out")[0]),
        limit=None if arguments.limit is None else whole_number(arguments.limit, "--limit", least=2),
        bootstrap=_resamples(arguments.bootstrap),
        seed=whole_number(arguments.seed, "--seed", least=0),
        quiet=arguments.quiet,
        use_store=not arguments.no_cache,
        encoder=options,
    )


def _resamples(text: str) -> int:
    resamples = whole_number(text, "--bootstrap", least=0)
    if 0 < resamples < 1000 or resamples > 1_000_000:
        raise InputError(f"--bootstrap {text}: give 0 for no intervals, or 1000 to 1000000 resamples")
    return resamples


def whole_number(text: str, where: str, least: int) -> int:
    """The whole number that a flag or variable holds. Raises InputError, naming `where`, for anything else."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value < 2**32:
        raise InputError(f"{where} {text}: give a whole number of at least {least}")
    return value


def fraction(text: str, where: str) -> float:
    """The number from 0 to 1 that a flag or variable holds. Raises InputError, naming `where`, for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(f"{where} {text}: give a number from 0 to 1")
    return value


def run(work: Callable[[], int | None]) -> int:
    """Does `work`, and turns a person's mistake into one line on standard error and status 2, Ctrl-C into 130."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    try:
        config.load_environment()
        return work() or 0
    except InputError as error:
        line = " ".join(str(error).split())
        print(f"error: {line}", file=sys.stderr)
        config.leave_error(line)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what was embedded is kept, run the same command to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141


def evaluate(task: Task, argv: Sequence[str] | None = None) -> int:
    """Runs a task for each encoder asked for: embeds, scores, writes result files, prints the tables."""
    return run(lambda: _evaluate([task], task.settings(argv, "evaluate")))


def evaluate_all(tasks: Sequence[Task], program: str, argv: Sequence[str] | None = None) -> int:
    """Runs several tasks as `evaluate` does each, and loads every encoder once for all of them."""
    flags = parser(program, f"{', '.join(task.title for task in tasks)}: one after the other.")

    def work() -> int:
        settings = settings_from(flags.parse_args(argv))
        if not settings.quiet:
            for task in tasks:
                print(_data_sheet(task.format, *_loaded(task, settings)), file=sys.stderr)
        return _evaluate(tasks, settings)

    return run(work)


def _loaded(task: Task, settings: Settings) -> tuple[Dataset, Found]:
    from utils import sources

    load = task.load or functools.partial(sources.load, task.format)
    return load(settings.data, settings.limit)


def _evaluate(tasks: Sequence[Task], settings: Settings) -> int:
    from utils import embed, encoders, results, sources, store

    def note(sentence: str) -> None:
        if not settings.quiet:
            print(sentence, file=sys.stderr)

    specs = [encoders.resolve(name, settings.encoder) for name in settings.models]
    datasets = {}
    for task in tasks:
        dataset, found = _loaded(task, settings)
        if found.name == "sample":
            note(f"using the bundled sample, {found.how}")
        task.check(dataset, settings)
        results.check_writable(results.result_path(settings.out, dataset.name, task.name, "x").parent)
        datasets[task.name] = dataset
    kept = store.EmbeddingStore(store.default_path()) if settings.use_store else None

    done: dict[str, list[Result]] = {task.name: [] for task in tasks}
    for spec in specs:
        embedder = embed.Embedder(spec, kept, show_progress=not settings.quiet and sys.stderr.isatty(), note=note)
        for task in tasks:
            result = _result(task, settings, datasets[task.name], embedder, note)
            path = results.write_result(result, settings.out)
            note(f"wrote {sources.shown_path(path)}")
            done[task.name].append(result)
        embedder.close()
    if not any(spec.loader == "tfidf" for spec in specs):
        # Kept like any other, so that comparison, figures and report have the floor too. A number that was given for an
        # encoder's average similarity is not the floor's.
        own = replace(settings, baseline="own")
        floor = embed.Embedder(encoders.resolve("tfidf"), kept)
        for task in tasks:
            try:
                result = _result(task, own, datasets[task.name], floor, lambda sentence: None)
            except InputError as error:
                note(f"without the TF-IDF floor: {error}")
                continue
            done[task.name].append(result)
            if _is_of_more(results.result_path(settings.out, result.dataset_name, task.name, "tfidf"), result):
                note("the floor of more items that is there already stays")
            else:
                results.write_result(result, settings.out)

    parts = []
    for task in tasks:
        dataset = datasets[task.name]
        parts.append(f"{_heading(task, dataset, done[task.name])}\n{task.table(done[task.name])}")
        if dataset.name == "sample":
            parts[-1] += f"\n\nSAMPLE: scores on the small set bundled here, not on {task.published} data."
    print("\n\n\n".join(parts))
    return 0


def _is_of_more(path: Path, result: Result) -> bool:
    """Whether the result file at `path` is of the same data and of more items."""
    from utils.results import read_result

    try:
        there = read_result(path)
    except InputError:
        return False
    same = {file.sha256 for file in there.dataset_files} == {file.sha256 for file in result.dataset_files}
    return same and there.dataset_items > result.dataset_items


def _result(task: Task, settings: Settings, dataset: Dataset, embedder, note: Callable[[str], None]) -> Result:
    """The result of one encoder: as it was computed before, else from vectors, stored or computed."""
    from utils import baseline, embed, kept_results, results

    start = time.perf_counter()
    spec, kept = embedder.spec, embedder.store
    choices = {
        "top_k": settings.top_k if task.uses_top_k else None,
        "threshold": settings.threshold if task.uses_baseline else None,
        "bootstrap": settings.bootstrap,
        "seed": settings.seed,
        **settings.own,
    }

    def name(source: str | None) -> str:
        return kept_results.name_of(task.name, dataset, {**choices, "baseline": source})

    source = baseline.settled_source(settings.baseline, spec, kept) if kept and task.uses_baseline else None
    if kept and (source or not task.uses_baseline):
        known = kept_results.recall(kept, spec, name(source), task.package, dataset)
        if known is not None:
            note(f"{spec.name}: the scores are stored too; --no-cache computes them again")
            if known.embedding.truncated:
                note(embed.truncation(known.embedding, known.encoder))
            seconds = round(time.perf_counter() - start, 3)
            return replace(
                known,
                created=_now(),
                seconds=seconds,
                embedding=replace(known.embedding, seconds=seconds),
                environment=results.environment(None),
            )
    columns, n = list(dataset.texts), len(dataset)
    texts = [text for column in columns for text in dataset.texts[column]]
    ids = [f"id {i} ({column})" for column in columns for i in dataset.ids]
    if task.fits_words and spec.loader == "tfidf":
        embedded = embed.fitted_later(spec, texts)
    else:
        embedded = embedder.embed(texts, ids)
    vectors = {}
    if embedded.matrix is not None:
        vectors = {column: embedded.matrix[i * n : (i + 1) * n] for i, column in enumerate(columns)}
    average: Baseline | None = None
    if task.uses_baseline:
        average = baseline.choose_baseline(
            settings.baseline, embedder, embedded.matrix, dataset.groups * len(columns), note
        )
    scores = task.score(dataset, vectors, average, settings)
    cut = embedded.truncated.reshape(len(columns), n).sum(axis=0)
    result = Result(
        task=task.name,
        created=_now(),
        seconds=round(time.perf_counter() - start, 3),
        encoder=embedded.info,
        dataset_name=dataset.name,
        dataset_files=dataset.files,
        dataset_items=n,
        settings={**choices, "baseline": None if average is None else vars(average)},
        embedding=embedded.stats,
        metrics=tuple(scores.metrics),
        environment=results.environment(embedded.device),
        items={**scores.items, "truncated": cut.tolist()},
    )
    if kept:
        if average is not None:
            source = f"given {settings.baseline!r}" if average.source == "given" else average.source
        kept_results.remember(kept, spec, name(source), task.package, result)
    return result


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _heading(task: Task, dataset: Dataset, done: Sequence[Result]) -> str:
    name = {"paper": task.published, "sample": "bundled SAMPLE"}.get(dataset.name, dataset.name)
    lines = [task.title, task.question, f"data: {name}, {len(dataset)} items"]
    if task.uses_baseline:
        for result in done:
            b = result.settings["baseline"]
            lines.append(f"average similarity of {result.encoder.label}: {b['value']:.3f} ({b['source']})")
    if done[0].settings["bootstrap"]:
        lines.append(f"± half the width of the 95 % interval (bootstrap {task.resampled})")
    return "\n".join([*lines, ""])


def show_data(package: str, fmt: Format) -> int:
    """Loads a task's data as its evaluation would, and prints what it is, where, and under which licence.

    Takes the evaluation's flags, so that a script can hand the same ones to both steps.
    """
    flags = parser(f"{package}.build_data", f"{fmt.card.title}: finds it or fetches it, and checks it.")

    def work() -> None:
        from utils.sources import load

        settings = settings_from(flags.parse_args())
        dataset, found = load(fmt, settings.data, settings.limit)
        if not settings.quiet:
            print(_data_sheet(fmt, dataset, found))

    return run(work)


def _data_sheet(fmt: Format, dataset: Dataset, found) -> str:
    from utils.sources import shown_path

    what = "the bundled SAMPLE" if found.name == "sample" else fmt.card.title
    lines = [
        f"{what}: {len(dataset)} rows in {len(dataset.group_order)} groups ({fmt.group_column})",
        f"  file     {shown_path(found.path)} ({found.how})",
        f"  sha256   {found.sha256}",
        f"  licence  {found.licence}",
    ]
    if found.name == "paper":
        lines += [f"  source   {fmt.card.source}", f"  cite     {fmt.card.citation}"]
    return "\n".join([*lines, *(f"  note     {sentence}" for sentence in dataset.notes)])
