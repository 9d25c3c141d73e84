"""Makes the shards of a corpus on a Ray cluster of one machine or many."""

import contextlib
import importlib.util
import json
import logging
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils import config
from utils.embed.shards import Job, ShardWriter, missing_shards
from utils.files import shown_path
from utils.parts import MANIFEST, Unfinished, room
from utils.schema import EncoderInfo, EncoderSpec, InputError

# A run ends after so many workers have died over the same shard.
ATTEMPTS = 4
# Longer than the slowest encoder takes for a shard on a CPU. A run is idle for that long only if machines
# were lost and not replaced.
_IDLE_SECONDS = 12 * 3600.0
# A running cluster reports its status within a few seconds.
_ANSWER_SECONDS = 60
# Only a line for each shard passes through Ray, so its object store has the smallest size that Ray accepts.
_OBJECT_STORE_BYTES = 80 * 2**20


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster. address: of a running one; None starts one on this machine that ends with the run.

    workers: the number of models held at a time; None for one on each GPU, else on each machine.
    """

    address: str | None = None
    workers: int | None = None


class Worker(ShardWriter):
    """A shard writer in a Ray process, called by Ray Data."""

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        """The exit status and error of each shard. Shard numbers are in column item.

        Ray restarts a shard whenever its worker dies, so each attempt is recorded in the folder, and after ATTEMPTS of
        them the shard fails. A user's mistake is returned as a value, so that it is reported in one line.
        """
        done: dict[str, list] = {"shard": [], "status": [], "message": [], "made": []}
        for shard in batch["item"].tolist():
            status, message, info = 0, "", None
            begun = self.job.output / f".part-{shard:05}.begun"
            try:
                self._begin(shard, begun)
                info = self.write(shard)
                begun.unlink(missing_ok=True)
            except InputError as error:
                status, message = 2, str(error)
            except Unfinished as error:
                status, message = 3, str(error)
            row = (shard, status, message, "" if info is None else json.dumps([vars(info), self.notes()]))
            for column, cell in zip(done.values(), row, strict=True):
                column.append(cell)
        return done

    def _begin(self, shard: int, begun: Path) -> None:
        _check_shared(self.job)
        with room(begun), begun.open("ab") as stream:
            stream.write(b".")
            attempts = stream.tell()
        if attempts > ATTEMPTS:
            start, stop = self.job.bounds(shard)
            raise Unfinished(
                f"--executor ray: {ATTEMPTS} workers died over rows {start + 1} to {stop}, often for lack of memory; "
                "finished shards are kept, so run the same command again, perhaps with fewer --workers"
            )


def check(spec: EncoderSpec, cluster: Cluster) -> None:
    """Raises InputError if the encoder can't run on a Ray cluster, or if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise InputError(
            "--executor ray: needs Ray, which is an extra: pip install -r requirements-ray.txt; or use --executor local"
        )
    if spec.options.device not in ("auto", "cuda", "mps", "cpu"):
        raise InputError(
            f"--device {spec.options.device}: Ray gives each worker its device; give auto, cuda or cpu, and --workers"
        )
    if cluster.address is not None and cluster.address.startswith("ray://"):
        raise InputError(
            f"--address {cluster.address}: Ray's client can't do it; run this on one of the cluster's machines with "
            "--address auto"
        )


def on_ray(job: Job, missing: Sequence[int], cluster: Cluster) -> Generator[tuple[int, EncoderInfo, Sequence[str]]]:
    """Makes shards with Ray Data, and yields of each what an Executor does.

    The shards' numbers go to a pool of workers that hold the model and write the files. Ray's own output is hidden.
    """
    with _silence():
        yield from _made(job, missing, cluster)


def _made(job: Job, missing: Sequence[int], cluster: Cluster) -> Generator[tuple[int, EncoderInfo, Sequence[str]]]:
    config.set_library_defaults(RAY_USAGE_STATS_ENABLED="0")
    if cluster.address is None:
        # Despite its name, this is a cluster of this machine only, which listens on the loopback interface only.
        config.set_library_defaults(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0")
    import ray
    import ray.data
    from ray.data.exceptions import ExecutionTimeoutError
    from ray.exceptions import RayError, UserCodeException

    warnings.simplefilter("ignore")  # after the import, which sets warning filters of its own
    logging.getLogger("ray.data").setLevel(logging.CRITICAL + 1)
    _join(cluster)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.execution_no_progress_timeout_s = _IDLE_SECONDS
        context.max_consecutive_actor_init_deaths = ATTEMPTS - 1
        made = (
            # A task for each shard: a lost worker loses one shard, which is restarted elsewhere.
            ray.data.from_items(list(missing), override_num_blocks=len(missing))
            .map_batches(Worker, fn_constructor_args=(job,), batch_size=None, **_pool(job, cluster))
            .iter_batches(batch_size=None, prefetch_batches=0)
        )
        for batch in made:
            for shard, status, message, written in zip(*(column.tolist() for column in batch.values()), strict=True):
                if status:
                    raise (InputError if status == 2 else Unfinished)(message)
                info, notes = json.loads(written)
                yield shard, EncoderInfo(**info), notes
    except UserCodeException:
        raise
    except (RayError, ExecutionTimeoutError) as error:
        finished = job.shards - len(missing_shards(job))
        raise Unfinished(
            f"--executor ray: {_why(error)}; {finished} of {job.shards} shards are finished and stay; see Ray's logs, "
            "then run the same command"
        ) from None
    finally:
        ray.shutdown()


def _why(error: Exception) -> str:
    from ray.exceptions import RayActorError

    if not isinstance(error, RayActorError):
        return f"the cluster failed ({type(error).__name__})"
    if error.actor_init_failed:
        return f"workers could not start ({str(error).strip().splitlines()[-1][:200]})"
    return f"its workers died ({type(error).__name__})"


def _join(cluster: Cluster) -> None:
    """Starts a cluster on this machine, or joins a running one."""
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if cluster.address is None:
        processors = os.cpu_count() or 1
        options |= {"address": "local", "num_cpus": max(processors, cluster.workers or 1), "include_dashboard": False}
        options |= {"object_store_memory": _OBJECT_STORE_BYTES}
    else:
        _check_answers(cluster.address)
        # Other machines need the packages and the two folders, but no copy of this program.
        options |= {"address": cluster.address, "runtime_env": {"py_modules": [str(config.ROOT / "utils")]}}
    try:
        ray.init(**options)
    except (ConnectionError, OSError, RuntimeError, TimeoutError, ValueError) as error:
        where = "--executor ray" if cluster.address is None else f"--address {cluster.address}"
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{where}: no cluster to be had ({reason}); ray status shows one that runs") from None


def _check_answers(address: str) -> None:
    """Raises InputError if a cluster does not answer, such as one that has ended but is still recorded here.

    `ray.init` would wait for it silently for more than ten minutes.
    """
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    try:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        raise InputError(
            f"--address {address}: no cluster answers in {_ANSWER_SECONDS} s; start one (ray start --head); if the one "
            "on record here is gone, ray stop forgets it"
        ) from None


def _pool(job: Job, cluster: Cluster) -> dict:
    """The number of workers, and the share of each: one GPU, or an equal share of the CPUs."""
    import ray
    from ray.data import ActorPoolStrategy

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(machine.get("GPU", 0) for machine in machines))
    cpus = [int(machine.get("CPU", 0)) for machine in machines if machine.get("CPU", 0) >= 1]
    device = job.encoder.options.device
    on_gpus = device == "cuda" or (device == "auto" and gpus > 0)
    workers = cluster.workers or (gpus if on_gpus else len(cpus)) or 1
    share = max((n for n in range(1, max(cpus, default=0) + 1) if sum(cpu // n for cpu in cpus) >= workers), default=0)
    if not share or (on_gpus and workers > gpus):
        there = f"{gpus} GPUs" if on_gpus else f"{sum(cpus)} CPUs"
        raise InputError(f"--workers {workers}: the cluster has {there}, and each worker needs one; give fewer")
    pool = ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers, max_tasks_in_flight_per_actor=1)
    return {"compute": pool, "num_cpus": share, "num_gpus": 1 if on_gpus else None}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hides Ray's output.

    Ray bypasses its own logging: its native part writes to the file descriptor, and notes on lost workers go to
    standard output. All of it is also in Ray's log files.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nothing, contextlib.redirect_stdout(nothing), warnings.catch_warnings():
            os.dup2(nothing.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _check_shared(job: Job) -> None:
    """Raises InputError if a worker's machine does not share the input and output folders."""
    for flag, path in (("--input", job.path), ("--output", job.output / MANIFEST)):
        if not path.is_file():
            raise InputError(
                f"{flag} {shown_path(path)}: not on machine {platform.node()}; every machine needs it at the same place"
            )
