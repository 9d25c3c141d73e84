"""Texts a second of a served detector beside those of `score`, and what an overload loses.

    pip install -r requirements-serve.txt
    python benchmarks/serve.py [--detector FOLDER] [--texts 1000] [--clients 1,16] [--sizes 1,16]

The same made-up texts, 3 to 60 words long, for all. For each number of clients and each size of a request first the
loop of `score` in this process, without its start, then a server on loopback, asked by clients that each send a request
when the last is answered. Prints texts per second of both, their ratio, that of the processor's time (which depends
less on what else the machine does), the median and the 95th percentile of the seconds of a request, and how far the
scores are apart. Then a server with room for 64 texts is asked by 64 clients at once. Fails if a request is neither
answered nor told to come again, or if a score is more than 1e-4 away. Without --detector one is fitted on the sample.
"""

import contextlib
import http.client
import importlib.util
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import ROOT, finished
from benchmarks.corpus import made_up
from utils import cli, config
from utils.schema import InputError

ROOM, CROWD, PART, ROUNDS = 64, 64, 8, 4
FURTHEST = 1e-4
# Of a request, and of the start and the end of a server.
SECONDS = 120


def main() -> int:
    flags = cli.Parser(description=__doc__.splitlines()[0])
    flags.add_argument("--detector", metavar="FOLDER", help="what fit wrote")
    flags.add_argument("--texts", metavar="N", default="1000")
    flags.add_argument("--clients", metavar="LIST", default="1,16")
    flags.add_argument("--sizes", metavar="LIST", default="1,16", help="texts of a request")
    settings = flags.parse_args()
    count = cli.whole_number(settings.texts, "--texts", least=CROWD)
    clients = [cli.whole_number(one.strip(), "--clients", least=1) for one in settings.clients.split(",")]
    sizes = [cli.whole_number(one.strip(), "--sizes", least=1) for one in settings.sizes.split(",")]
    if importlib.util.find_spec("fastapi") is None:
        raise InputError("FastAPI, which the server needs, is missing: pip install -r requirements-serve.txt")
    from Safety_Detection.guardrail.saved import load_detector
    from Safety_Detection.guardrail.scoring import Scorer

    texts = made_up(count)
    with tempfile.TemporaryDirectory() as scratch:
        folder = detector_of(settings.detector, scratch)
        guard = load_detector(folder)
        by_score(Scorer(guard), texts[:CROWD])  # threads started
        print("clients  texts each  score texts/s  texts/s  ratio  CPU ratio  median s   95 % s    apart", flush=True)
        furthest, lost = 0.0, 0
        with served(folder, "--max-inputs", str(max(sizes))) as (port, process):
            for number in clients:
                for size in sizes:
                    expected, alone, spent = by_score(Scorer(guard), texts)  # a scorer embeds a text once
                    before = sum(process.cpu_times()[:2])
                    parts = [range(start, min(start + size, count)) for start in range(0, count, size)]
                    answers, seconds = asked(port, texts, parts, number)
                    of_server = sum(process.cpu_times()[:2]) - before
                    apart = distance(answers, expected)
                    taken = [answer[2] for answer in answers]
                    print(
                        f"{number:7} {size:11} {alone:14.0f} {count / seconds:8.0f} "
                        f"{count / seconds / alone:6.2f} {spent / of_server:10.2f} "
                        f"{np.median(taken):9.3f} {np.quantile(taken, 0.95):8.3f} {apart:8.1e}",
                        flush=True,
                    )
                    furthest = max(furthest, apart)
                    lost += sum(answer[1] != 200 for answer in answers)
        with served(folder, "--queue", str(ROOM), "--max-inputs", str(PART)) as (port, _):
            parts = [np.random.default_rng(i).choice(count, PART, replace=False) for i in range(CROWD * ROUNDS)]
            answers, seconds = asked(port, texts, parts, CROWD)
            statuses = Counter(answer[1] for answer in answers)
            furthest = max(furthest, distance(answers, expected))
            lost += len(parts) - statuses[200] - statuses[503]
            print(
                f"\noverload: {len(parts)} requests of {PART} texts by {CROWD} clients at once, room for {ROOM} texts: "
                f"{statuses[200]} answered, {statuses[503]} told to come again, {lost} lost, in {seconds:.1f} s"
            )
    return 0 if not lost and furthest <= FURTHEST else 1


def detector_of(given: str | None, scratch: str) -> Path:
    """The detector that a flag names, or one that is fitted on the sample, in the folder `scratch`, without a flag."""
    if given is not None:
        return config.callers_path(given)
    finished("-m", "Safety_Detection.fit", "--data", "sample", "--out", scratch, "--quiet")
    return Path(scratch)


def by_score(scorer, texts: list[str]) -> tuple[np.ndarray, float, float]:
    """The scores of texts, texts per second, and seconds of the processor."""
    from utils.data.reading import Row

    lines = [Row(i, i, {"id": "", "prompt": text}) for i, text in enumerate(texts, 1)]
    start, before = time.perf_counter(), time.process_time()
    rows = [row for batch in scorer.score(lines) for row in batch]
    seconds, spent = time.perf_counter() - start, time.process_time() - before
    return np.array([row[3] for row in rows]), len(texts) / seconds, spent


@contextlib.contextmanager
def served(folder, *flags: str) -> Iterator[tuple[int, psutil.Process]]:
    """The port on loopback and the process of a server.

    Raises InputError if it does not start, or does not end with status 0.
    """
    command = [sys.executable, "-m", "Safety_Detection.serve", "--detector", str(folder), "--port", "0", "--quiet"]
    with subprocess.Popen([*command, *flags], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            guard = threading.Timer(SECONDS, process.kill)
            guard.start()
            line = "it said nothing"
            for line in process.stderr:
                if line.startswith("serving at "):
                    break
            else:
                raise InputError(f"the server did not start: {line.strip()}")
            guard.cancel()
            yield int(line.strip().removesuffix("/v1").rpartition(":")[2]), psutil.Process(process.pid)
        finally:
            process.terminate()
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
    if process.returncode:
        raise InputError(f"the server ended with status {process.returncode}")


def asked(port: int, texts: list[str], parts: list, clients: int) -> tuple[list[tuple], float]:
    """Of each part of the texts, it, the status, the seconds until it was answered, and the answer; and all seconds.

    A request that is not answered has status 0.
    """
    todo: queue.SimpleQueue = queue.SimpleQueue()
    for part in parts:
        todo.put(part)
    answers = []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        while True:
            try:
                part = todo.get_nowait()
            except queue.Empty:
                return connection.close()
            start = time.perf_counter()
            try:
                connection.request("POST", "/v1/moderations", json.dumps({"input": [texts[i] for i in part]}))
                answer = connection.getresponse()
                status, document = answer.status, json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError):
                status, document = 0, {}
                connection.close()
            answers.append((part, status, time.perf_counter() - start, document))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers, time.perf_counter() - start


def distance(answers: list[tuple], expected: np.ndarray) -> float:
    """The largest difference of a score in the answers to what was expected."""
    pairs = [
        (one["score"], expected[i])
        for part, status, _, document in answers
        if status == 200
        for i, one in zip(part, document["results"], strict=True)
    ]
    return float(np.abs(np.subtract(*zip(*pairs, strict=True))).max()) if pairs else 0.0


if __name__ == "__main__":
    sys.exit(cli.run(main))
