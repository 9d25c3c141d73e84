"""How near a run of the contrast set comes to what its server allows.

    python benchmarks/contrast_set.py [--prompts 939] [--seconds 0.2] [--concurrency 32]

A server on loopback takes so many seconds an answer. Prints the seconds of the run, the least that they can be (prompts
x seconds / concurrency), their ratio, and the most requests that were under way at once.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from chat_server import ChatServer  # noqa: E402

from utils.sources import CATEGORIES  # noqa: E402


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--prompts", type=int, default=939)
    flags.add_argument("--seconds", type=float, default=0.2)
    flags.add_argument("--concurrency", type=int, default=32)
    settings = flags.parse_args()
    server, names = ChatServer(seconds=settings.seconds), list(CATEGORIES)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "originals.csv"
        rows = [f'{i},"{names[i % 12]}",may i do thing number {i}?' for i in range(settings.prompts)]
        path.write_text("id,types_of_harm,question\n" + "\n".join(rows) + "\n")
        command = [sys.executable, "-m", "Safety_Contrast.build_data", "generate", "--data", str(path), "--quiet"]
        command += ["--out", str(Path(scratch) / "set"), "--concurrency", str(settings.concurrency)]
        start = time.perf_counter()
        environment = {**os.environ, "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "none"}
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        seconds = time.perf_counter() - start
    least = settings.prompts * settings.seconds / settings.concurrency
    print(f"{seconds:.1f} s with the start of Python; {least:.1f} s at least; ratio {seconds / least:.2f}")
    print(f"at most {server.most} requests under way, {settings.concurrency} allowed")


if __name__ == "__main__":
    main()
