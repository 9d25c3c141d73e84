"""The command line that embeds a corpus."""

import functools
import sys
from collections.abc import Sequence

from utils import cli, config
from utils.encoders import registry
from utils.parts import Unfinished
from utils.schema import InputError, one_line


@cli.command
def main(argv: Sequence[str] | None = None) -> int | None:
    """Embeds a corpus of any size into a folder of Parquet shards, here or on a Ray cluster."""
    from utils.embed import cluster, shards

    flags = cli.Parser(prog="python -m utils.embed", description=main.__doc__)
    flags.add_argument("--input", metavar="FILE", required=True, help="the corpus: .parquet, .csv or .jsonl")
    flags.add_argument("--output", metavar="FOLDER", required=True, help="where the shards are written")
    flags.add_argument("--column", metavar="NAME", default="prompt", help="column of the texts (default prompt)")
    flags.add_argument(
        "--id-column", metavar="NAME", help="column kept beside the vectors (default id, if there is one)"
    )
    flags.add_argument(
        "--shard-rows", metavar="N", type=cli.whole(1), default=10000, help="rows of a shard (default 10000)"
    )
    flags.add_argument(
        "--executor", metavar="NAME", choices=("local", "ray"), default="local", help="local or ray (default local)"
    )
    flags.add_argument(
        "--workers",
        metavar="N",
        type=cli.whole(1),
        help="with ray: models at work (default one a GPU, else one a machine)",
    )
    flags.add_argument("--address", metavar="ADDRESS", help="with ray: a running cluster, such as auto (default: own)")
    flags.add_argument("--model", metavar="NAME", help=cli.with_variable("encoder", "MODEL"))
    cli.add_encoder_options(flags)
    flags.add_argument("--quiet", action="store_true", help="print the last line and nothing else")

    arguments = flags.parse_args(argv)
    options = cli.encoder_options(arguments)
    name = cli.one_encoder(arguments, "a corpus")
    for flag in ("workers", "address"):
        if getattr(arguments, flag) is not None and arguments.executor != "ray":
            raise InputError(f"--{flag}: for --executor ray only; leave it out or add that")
    spec, executor = registry.resolve(name, options), shards.in_process
    if arguments.executor == "ray":
        where = cluster.Cluster(arguments.address, arguments.workers)
        cluster.check(spec, where)
        executor = functools.partial(cluster.on_ray, cluster=where)
    try:
        sentence = shards.embed_corpus(
            config.callers_path(arguments.input),
            config.callers_path(arguments.output),
            spec,
            arguments.column,
            arguments.id_column,
            arguments.shard_rows,
            executor,
            note=cli.notes(arguments),
            show_progress=not arguments.quiet and sys.stderr.isatty(),
        )
    except Unfinished as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 3
    cli.show(sentence)
    return 0


if __name__ == "__main__":
    sys.exit(main())
