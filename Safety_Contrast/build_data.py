"""The commands that get, write, check and parse Safety-Contrast sets.

`python -m Safety_Contrast.build_data` shows what an evaluation would read. Its commands: `generate` has a chat model
write a set; `get` does so too, or with `--source` fetches the paper's set or points to the bundled sample; `check`
reports how small the edits of a set are; `parse` turns raw answers into a set.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from Safety_Contrast.task import FORMAT, TASK
from utils import cli, config
from utils.cli import Parser, real, whole
from utils.data.catalogue import CATEGORIES
from utils.data.loading import load
from utils.data.reading import dataset_stem, form_of, opened, problem, refuse_unreadable
from utils.data.reading import rows as rows_in
from utils.data.sources import find
from utils.evaluation.run import show_data
from utils.files import shown_path
from utils.schema import InputError, shown
from utils.tables import text_table

WAYS = "SOURCE=paper fetches the paper's set, SOURCE=sample uses the bundled sample, without SOURCE GPT writes one"


@cli.command
def get(argv: Sequence[str]) -> int:
    """Fetches the set that `--source` (or the variable SOURCE) names, or has one written."""
    if {"-h", "--help"} & set(argv):
        return generate(["--help"])
    flags = Parser(add_help=False)
    flags.add_argument("--source")
    known, rest = flags.parse_known_args(argv)
    source = known.source or config.setting("SOURCE")
    if not source:
        return generate(rest)
    if source not in ("paper", "sample"):
        raise InputError(f"SOURCE {shown(source)}: {WAYS}")
    if rest:
        raise InputError(f"{shown(rest[0])}: is for a set that GPT writes; leave out either this or SOURCE")
    found = find(FORMAT, source)
    cli.show(f"Safety-Contrast set ({found.name}): {shown_path(found.path)}\nlicence: {found.licence}")
    data = "" if source == "paper" else "DATA=sample "
    print(f"next: {data}source scripts/safety_contrast.sh")
    return 0


@cli.command
def generate(argv: Sequence[str]) -> int:
    """Has a chat model write five safe edits of each original."""
    flags = Parser(
        prog="python -m Safety_Contrast.build_data generate",
        description=f"{generate.__doc__} {WAYS}.",
    )
    flags.add_argument("--source", metavar="SOURCE", help="paper or sample: fetch that set instead (variable SOURCE)")
    flags.add_argument(
        "--gpt-model", metavar="NAME", default="gpt-4o-2024-05-13", help="default %(default)s, as in the paper's time"
    )
    flags.add_argument(
        "--data", metavar="DATA", help="originals: paper, sample or a file like Do-Not-Answer's (variable DATA)"
    )
    flags.add_argument("--categories", metavar="NAMES", default="", help="only these categories, separated by commas")
    flags.add_argument("--limit", metavar="N", type=whole(1), help="the first N originals only")
    flags.add_argument("--temperature", metavar="T", type=real(0, 2), default=0.0, help="default 0")
    flags.add_argument(
        "--seed", metavar="N", type=whole(0), help="sent with each request (default: none is, as in the paper's code)"
    )
    flags.add_argument(
        "--template",
        metavar="WORDS",
        help="paper, own or a YAML file: the words of the request (default the paper's, or own where they can't be "
        "had; variable TEMPLATE)",
    )
    flags.add_argument("--concurrency", metavar="N", type=whole(1), default=16, help="requests at a time (default 16)")
    flags.add_argument(
        "--attempts", metavar="N", type=whole(1), default=3, help="the most answers for each original (default 3)"
    )
    flags.add_argument(
        "--max-cost", metavar="USD", type=real(0), help="the most that this run may cost, whatever the answers"
    )
    flags.add_argument(
        "--price", metavar="IN,OUT", type=_price, help="dollars for a million tokens (default: as in prices.yaml)"
    )
    flags.add_argument("--batch", action="store_true", help="use the Batch API: half the price, within a day")
    flags.add_argument("--dry-run", action="store_true", help="show the first request and the cost; send nothing")
    flags.add_argument(
        "--out", metavar="FOLDER", help="default: a folder in Safety_Contrast/data named for the settings"
    )
    flags.add_argument("--quiet", action="store_true", help="print the summary and nothing else")

    arguments = flags.parse_args(argv)
    from Safety_Contrast.writing.generate import Run
    from Safety_Contrast.writing.order import Order, chosen, originals, preview
    from Safety_Contrast.writing.template import template_of
    from utils.openai_api import require_key

    order = Order(
        model=arguments.gpt_model,
        temperature=arguments.temperature,
        seed=arguments.seed,
        concurrency=arguments.concurrency,
        attempts=arguments.attempts,
        max_cost=arguments.max_cost,
        price=arguments.price,
        out=None if arguments.out is None else config.callers_path(arguments.out),
        batch=arguments.batch,
    )
    categories = [name.strip() for name in arguments.categories.split(",") if name.strip()]
    if not arguments.dry_run:
        require_key(
            f"--gpt-model {order.model}",
            "or use an existing set: SOURCE=paper here, or DATA=sample with scripts/safety_contrast.sh",
        )
    everything, found = originals(arguments.data or config.setting("DATA"))
    rows = chosen(everything, categories, arguments.limit)

    template = template_of(arguments.template or config.setting("TEMPLATE"), cli.note)
    show_progress = not arguments.quiet and sys.stderr.isatty()
    run_of_all = Run(order, template, rows, everything, found, cli.notes(arguments), show_progress)
    if arguments.dry_run:
        cli.show(preview(order, run_of_all.first_request(), template, rows))
        return 0
    return run_of_all.go()


@cli.command
def check(argv: Sequence[str]) -> None:
    """Reports how small and how varied the edits of a set are."""
    flags = Parser(prog="python -m Safety_Contrast.build_data check", description=check.__doc__)
    flags.add_argument(
        "file", metavar="FILE", nargs="?", default="auto", help="a set, or paper or sample (default auto)"
    )
    flags.add_argument(
        "--minimal",
        metavar="MIN_JACCARD",
        type=cli.share,
        help="also write the originals with this word overlap in all edits",
    )
    flags.add_argument("--out", metavar="FOLDER", help="for the subset (default results/contrast_check)")

    arguments = flags.parse_args(argv)
    from Safety_Contrast import quality

    dataset, found = load(FORMAT, arguments.file)
    rows = quality.quality(dataset)
    cli.show(f"Safety-Contrast set: {shown_path(found.path)} ({found.how}), {len(dataset)} originals\n")
    cli.show(text_table(quality.quality_table(rows)))
    print(f"\n{quality.shared_texts(dataset)} different edits are shared by two or more originals")
    if arguments.minimal is not None:
        out = config.ROOT / "results" / "contrast_check"
        out = out if arguments.out is None else config.callers_path(arguments.out)
        subset = out / f"{dataset.name}_minimal_{arguments.minimal:g}.jsonl"
        names = {label: name for name, label in CATEGORIES.items()}
        kept = quality.minimal(dataset, arguments.minimal, subset, names)
        cli.show(f"wrote {shown_path(subset)}: {kept} of {len(dataset)} originals")


@cli.command
def parse(argv: Sequence[str]) -> int:
    """Turns a file of raw answers (id, category, question, contrasts) into a set."""
    flags = Parser(prog="python -m Safety_Contrast.build_data parse", description=parse.__doc__)
    flags.add_argument("file", metavar="FILE", help="raw answers, such as contrast_origin.jsonl")
    flags.add_argument("--out", metavar="FILE", help="the set (default FILE's name with _parsed, beside FILE)")
    flags.add_argument("--overwrite", action="store_true", help="replace an existing set")

    arguments = flags.parse_args(argv)
    from Safety_Contrast.writing.answers import EDITS, edits_of, json_lines, parsed_row
    from utils.files import write_whole

    path = config.callers_path(arguments.file)
    rows, failed = [], []
    for number, raw in enumerate(_raw_rows(path), 1):
        try:
            edits = edits_of(raw["contrasts"])
            if len(edits) != EDITS or not all(isinstance(edit, str) and edit.strip() for edit in edits):
                raise ValueError(f"there are not {EDITS} texts in it")
            rows.append(parsed_row(raw["id"], raw["category"], raw["question"], edits))
        except ValueError as error:
            failed.append(f"row {number} (id {raw['id']}): {error}")
    out = path.with_name(f"{dataset_stem(path)}_parsed.jsonl")
    if arguments.out is not None:
        out = config.callers_path(arguments.out)
    if not rows:
        raise InputError(f"{path.name}: {failed[0] if failed else 'no rows'}; nothing was written")
    if out.exists() and out.samefile(path):
        raise InputError(f"--out {shown_path(out)}: is the file of raw answers itself; name a different file")
    content = json_lines(rows)
    if not arguments.overwrite and out.exists() and not (out.is_file() and out.read_bytes() == content.encode()):
        raise InputError(
            f"--out {shown_path(out)}: already exists with different content; name a different file, or add --overwrite"
        )
    write_whole(out, content)
    cli.show(f"wrote {shown_path(out)}: {len(rows)} originals with five edits each")
    for line in failed:
        cli.note(f"left out {line}")
    return 3 if failed else 0


def _raw_rows(path: Path) -> Iterator[dict]:
    """The rows of a file of raw answers. Raises InputError, which names the row and line, for any other row."""
    remedy = "give a file of raw answers (id, category, question, contrasts), such as contrast_origin.jsonl"
    refuse_unreadable(path, f"FILE {shown_path(path)}", remedy)
    if form_of(path) != "jsonl":
        raise InputError(f"FILE {path.name}: is not .jsonl; {remedy}")
    with opened(path) as stream:
        for row in rows_in(stream, "jsonl", path.name)[1]:
            for column in ("id", "category", "question", "contrasts"):
                fault = problem(row, column, whole_numbers=column == "id")
                if fault:
                    raise InputError(f"{path.name}: {row.place}: {fault}; {remedy}")
            yield row.cells


def _price(text: str) -> tuple[float, float]:
    parts = text.split(",")
    if len(parts) != 2:
        raise InputError("give dollars for a million tokens in and out, such as 2.50,10")
    return real(0)(parts[0]), real(0)(parts[1])


COMMANDS = {"get": get, "generate": generate, "check": check, "parse": parse}

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        sys.exit(COMMANDS[sys.argv[1]](sys.argv[2:]))
    sys.exit(show_data(TASK))
