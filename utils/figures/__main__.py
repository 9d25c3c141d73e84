"""The command line of the figures."""

import sys
from collections.abc import Sequence

from utils import cli, config
from utils.figures.draw import draw_all
from utils.figures.style import SCREEN, STYLES
from utils.files import shown_path


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    """Draws the results there are, as PNG, SVG and PDF."""
    flags = cli.Parser(prog="python -m utils.figures", description=main.__doc__)
    flags.add_argument("encoders", nargs="*", metavar="ENCODER", help="encoders to draw, in this order (default: all)")
    flags.add_argument("--data", metavar="NAME", help="dataset of the results, a name or a file (default the paper's)")
    flags.add_argument("--out", metavar="FOLDER", help="folder of the result files (variable OUT)")
    flags.add_argument(
        "--style",
        metavar="STYLE",
        choices=list(STYLES),
        default=SCREEN.name,
        help="screen (the default), or paper: as wide as a column or a page's text, 8 pt type, no titles",
    )
    flags.add_argument("--no-titles", action="store_true", help="draw no titles, for figures with captions")

    arguments = flags.parse_args(argv)
    out = config.results_directory(arguments.out)
    style = STYLES[arguments.style]
    for path in draw_all(out, arguments.data, arguments.encoders, cli.once(cli.note), not arguments.no_titles, style):
        cli.show(f"wrote {shown_path(path)}")


if __name__ == "__main__":
    sys.exit(main())
