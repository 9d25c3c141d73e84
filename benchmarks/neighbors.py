"""Time and memory of the exact nearest neighbours beside those of faiss's exact flat search, in one run.

    pip install -r requirements-bench.txt
    python benchmarks/neighbors.py [--sizes 10000,30000,100000] [--dimension 384] [--k 50] [--approximate]

Each measurement is a process of its own on the same made-up embeddings (500 topics on a subspace of 64 dimensions, and
noise). Prints, for each size, seconds of search (without imports), their ratio, the share of neighbours in common, and
the highest resident memory; then the exponent that time grows by. With --approximate also what HNSW and IVF indices
of faiss find of the exact neighbours of the largest size, and in what time.
"""

import importlib.util
import json
import math
import os
import platform
import sys
import tempfile
import time
from argparse import SUPPRESS
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import finished
from utils import cli
from utils.schema import InputError


def main() -> None:
    flags = cli.Parser(description=__doc__.splitlines()[0])
    flags.add_argument("--sizes", metavar="LIST", default="10000,30000,100000")
    flags.add_argument("--dimension", metavar="N", default="384")
    flags.add_argument("--k", metavar="N", default="50")
    flags.add_argument("--approximate", action="store_true", help="measure approximate indices too")
    flags.add_argument("--measure", help=SUPPRESS)
    settings = flags.parse_args()
    if settings.measure:
        measure(**json.loads(settings.measure))
        return
    k = cli.whole_number(settings.k, "--k", least=1)
    dimension = cli.whole_number(settings.dimension, "--dimension", least=1)
    sizes = [cli.whole_number(size.strip(), "--sizes", least=k + 2) for size in settings.sizes.split(",")]
    if importlib.util.find_spec("faiss") is None:
        raise InputError("faiss, which ours is measured against, is missing: pip install -r requirements-bench.txt")
    print(machine())
    print(f"{dimension} dimensions, k = {k}\n")
    print("      n   ours s  faiss s  ratio   common  ours MiB  faiss MiB", flush=True)
    taken: dict[str, list[float]] = {"ours": [], "faiss": []}
    with tempfile.TemporaryDirectory() as scratch:
        common = {"dimension": dimension, "k": k, "scratch": scratch}
        for n in sizes:
            ours, faiss = (child({**common, "n": n, "method": method}) for method in ("ours", "faiss"))
            shared = agreement(*(np.load(Path(scratch) / f"{method}.npy") for method in ("ours", "faiss")))
            taken["ours"].append(ours["seconds"])
            taken["faiss"].append(faiss["seconds"])
            print(
                f"{n:7} {ours['seconds']:8.2f} {faiss['seconds']:8.2f} {ours['seconds'] / faiss['seconds']:6.2f} "
                f"{shared:8.5f} {ours['MiB']:9.0f} {faiss['MiB']:10.0f}",
                flush=True,
            )
        for i in range(1, len(sizes)):
            steps = (math.log(t[i] / t[i - 1]) / math.log(sizes[i] / sizes[i - 1]) for t in taken.values())
            ours, faiss = steps
            print(f"from {sizes[i - 1]} to {sizes[i]} rows time grows as n^{ours:.2f}, faiss's as n^{faiss:.2f}")
        if settings.approximate:
            exact = np.load(Path(scratch) / "ours.npy")
            print(f"\napproximate, {sizes[-1]} rows")
            print("index                                                build s  search s   recall      MiB")
            for method in ("hnsw", "ivf"):
                measured = child({**common, "n": sizes[-1], "method": method})
                for setting, seconds in measured["searches"].items():
                    recall = agreement(exact, np.load(Path(scratch) / f"{setting}.npy"))
                    print(
                        f"{measured['index'] + ', ' + setting:50} {measured['seconds']:8.1f} {seconds:9.2f} "
                        f"{recall:8.4f} {measured['MiB']:8.0f}",
                        flush=True,
                    )


def machine() -> str:
    """The machine, the versions, and which kernels numpy's BLAS has chosen for it."""
    import faiss
    from threadpoolctl import threadpool_info

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        cpu = next((line.split(":")[1].strip() for line in info.open() if line.startswith("model name")), cpu)
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    blas = "; ".join(
        f"{pool['internal_api']} {pool['version']} {pool.get('architecture')} ({pool['num_threads']} threads, "
        f"{'faiss' if 'faiss' in pool['filepath'] else 'numpy or scipy'})"
        for pool in pools
    )
    return f"{cpu}, {os.cpu_count()} cores; numpy {np.__version__}, faiss {faiss.__version__}; {blas}"


def child(task: dict) -> dict:
    """The measurements of one process."""
    return json.loads(finished("benchmarks/neighbors.py", "--measure", json.dumps(task)))


def measure(n: int, dimension: int, k: int, scratch: str, method: str) -> None:
    """Searches by one method; prints seconds and memory, and leaves the neighbours in `scratch`."""
    rows = embeddings(n, dimension)
    if method == "ours":
        from utils.metrics.neighbors import nearest_neighbors

        nearest_neighbors(rows[:5000], min(k, 4999))  # threads and libraries started
        start = time.perf_counter()
        found = nearest_neighbors(rows, k)
        measured = {"seconds": time.perf_counter() - start}
        np.save(Path(scratch) / "ours.npy", found)
    else:
        measured = by_faiss(rows, k, method, Path(scratch))
    print(json.dumps({**measured, "MiB": peak_mib()}))


def by_faiss(rows: np.ndarray, k: int, method: str, scratch: Path) -> dict:
    import faiss

    n, dimension = rows.shape
    if method == "faiss":
        warm = faiss.IndexFlatIP(dimension)
        warm.add(rows[:5000])
        warm.search(rows[:5000], k)
        start = time.perf_counter()
        index = faiss.IndexFlatIP(dimension)
        index.add(rows)
        found = index.search(rows, k + 1)[1]
        np.save(scratch / "faiss.npy", without_itself(found))
        return {"seconds": time.perf_counter() - start}
    start = time.perf_counter()
    if method == "hnsw":
        name, knob, choices = "HNSW, 32 links, efConstruction 100", "efSearch", (64, 128, 256)
        index = faiss.IndexHNSWFlat(dimension, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 100
    else:
        cells = max(1, int(4 * math.sqrt(n)))
        name, knob, choices = f"IVF, {cells} cells", "nprobe", (16, 64, 128)
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, cells, faiss.METRIC_INNER_PRODUCT)
        index.train(rows)
    index.add(rows)
    built = time.perf_counter() - start
    searches = {}
    for choice in choices:
        setattr(index.hnsw if method == "hnsw" else index, knob, choice)
        start = time.perf_counter()
        found = index.search(rows, k + 1)[1]
        searches[f"{knob} {choice}"] = time.perf_counter() - start
        np.save(scratch / f"{knob} {choice}.npy", without_itself(found))
    return {"seconds": built, "index": name, "searches": searches}


def embeddings(n: int, dimension: int) -> np.ndarray:
    """float32 (n, d), rows of length 1; the first rows are the same whatever n is."""
    fixed, drawn = np.random.default_rng(0), np.random.default_rng(1)
    subspace = fixed.normal(size=(64, dimension)).astype(np.float32)
    topics = fixed.normal(size=(500, 64)).astype(np.float32)
    rows = np.empty((n, dimension), dtype=np.float32)
    for start in range(0, n, 10_000):
        size = min(10_000, n - start)
        inner = topics[drawn.integers(0, 500, 10_000)] + drawn.normal(size=(10_000, 64)).astype(np.float32)
        noise = drawn.normal(size=(10_000, dimension)).astype(np.float32)
        rows[start : start + size] = (inner @ subspace + 2 * noise)[:size]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def without_itself(found: np.ndarray) -> np.ndarray:
    """faiss's (n, k + 1) without the row itself, or without the last one if the row is not among them."""
    mine = found == np.arange(len(found))[:, None]
    mine[~mine.any(axis=1), -1] = True
    return found[~mine].reshape(len(found), -1)


def agreement(left: np.ndarray, right: np.ndarray) -> float:
    """The share of neighbours that two searches have in common."""
    return float(np.mean([len(np.intersect1d(a, b)) / len(a) for a, b in zip(left, right, strict=True)]))


def peak_mib() -> float:
    """The peak resident memory of this process, in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():
        return next(int(line.split()[1]) for line in status.open() if line.startswith("VmHWM")) / 2**10
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


if __name__ == "__main__":
    sys.exit(cli.run(main))
