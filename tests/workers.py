"""Workers that go wrong, where a worker process can import them."""

import errno
import os
import signal
import time
from pathlib import Path

import numpy as np
from doubles import StandIn

from utils.embed.cluster import Worker
from utils.encoders import loading


class Lengths(StandIn):
    """A text's vector is its length, the sum of its characters, and 1."""

    dimension, token_budget = 3, 5

    def encode(self, texts):
        return np.array([[len(text), sum(map(ord, text)), 1] for text in texts], dtype=np.float32)


class KilledOnce(Worker):
    """Writes a line of its process and shard to `<output>.log` for each shard that it begins, with a stand-in encoder.

    Its process is killed over shard 3, half-written, unless one was before.
    """

    def __init__(self, job):
        super().__init__(job)
        loading.load = lambda spec: Lengths()

    def write(self, shard):
        with Path(f"{self.job.output}.log").open("a") as log:
            log.write(f"{os.getpid()} {shard}\n")
        half = self.job.output / ".part-00003.parquet.half"
        if shard == 3 and not half.exists():
            half.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.2)  # long enough for every worker to get its part
        return super().write(shard)


def no_space(descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
