"""The time of a contrast-set run, beside the least that its server allows.

    python benchmarks/contrast_set.py [--prompts 939] [--seconds 0.2] [--concurrency 32]

A server on loopback takes `--seconds` for each answer. Prints the seconds of the run, the least possible (prompts x
seconds / concurrency), their ratio, and the most requests that were running at once.
"""

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from chat_server import ChatServer  # noqa: E402

from benchmarks import finished, positive  # noqa: E402
from utils import cli  # noqa: E402
from utils.data.catalogue import CATEGORIES  # noqa: E402


def main() -> None:
    flags = cli.Parser(description=__doc__.splitlines()[0])
    flags.add_argument("--prompts", metavar="N", default="939")
    flags.add_argument("--seconds", metavar="S", default="0.2", help="that an answer takes")
    flags.add_argument("--concurrency", metavar="N", default="32")
    settings = flags.parse_args()
    prompts = cli.whole_number(settings.prompts, "--prompts", least=1)
    concurrency = cli.whole_number(settings.concurrency, "--concurrency", least=1)
    each = positive(settings.seconds, "--seconds")
    server, names = ChatServer(seconds=each), list(CATEGORIES)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "originals.csv"
        rows = [f'{i},"{names[i % 12]}",may i do thing number {i}?' for i in range(prompts)]
        path.write_text("id,types_of_harm,question\n" + "\n".join(rows) + "\n")
        command = ["-m", "Safety_Contrast.build_data", "generate", "--data", path, "--quiet"]
        command += ["--out", Path(scratch) / "set", "--concurrency", concurrency]
        start = time.perf_counter()
        print(finished(*command, OPENAI_BASE_URL=server.url, OPENAI_API_KEY="none"), end="")
        seconds = time.perf_counter() - start
    least = prompts * each / concurrency
    print(f"{seconds:.1f} s with the start of Python; {least:.1f} s at least; ratio {seconds / least:.2f}")
    print(f"at most {server.most} requests under way, {concurrency} allowed")


if __name__ == "__main__":
    sys.exit(cli.run(main))
