"""Several workers of a study on one machine: one process a GPU, or several that share the CPU's cores.

In: the words of the command. Out: the processes have ended; what they did is in the study's claims.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import torch

from shardify.process import usable_cores


def work_at_once(num_workers: int, words: Sequence[str]) -> list[int]:
    """Start `video-eval study WORDS --worker` several times, and wait for all; a signal ends them too.

    With GPUs, worker i sees only GPU i (the GPUs are shared if there are fewer); without, each worker gets its share
    of the cores. Returns their exit codes.
    """
    workers = [_start(number, num_workers, words) for number in range(num_workers)]
    try:
        return [worker.wait() for worker in workers]
    except BaseException:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()
        raise


def _start(number: int, num_workers: int, words: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = dict(os.environ)
    if num_gpus := torch.cuda.device_count():
        visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
        names = visible if len(visible) == num_gpus and visible != [""] else list(map(str, range(num_gpus)))
        environment["CUDA_VISIBLE_DEVICES"] = names[number % num_gpus]
    else:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // num_workers)))
    command = [sys.executable, "-m", "eval", "study", *words, "--worker"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
