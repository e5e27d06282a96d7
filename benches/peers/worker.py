#!/usr/bin/env python3
"""A Python framework as a worker of the benchmarks: `worker.py torch`.

It is asked by lines of JSON on standard input and answers on standard output;
`frameworks/protocol.py` has the words. Everything else that a framework prints goes to standard
error.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from itertools import chain
from typing import NoReturn

from frameworks.protocol import Framework, Restart, Worker, serve

NAMES = ("torch", "jax", "tensorflow", "paddle", "numpy")
PENDING = "TILEWISE_WORKER_PENDING"


def thread_count() -> int:
    """What `TILEWISE_WORKER_THREADS` says; 1 if it is not set."""
    text = os.environ.get("TILEWISE_WORKER_THREADS", "1")
    if not text.isdigit() or int(text) == 0:
        raise SystemExit(f"TILEWISE_WORKER_THREADS: expected a number above 0, got {text!r}")
    return int(text)


def confine(threads: int) -> None:
    """Limits this process to as many CPUs as threads, before a library counts the CPUs.

    Not every pool can be told its size, but all of them ask how many CPUs there are. The last ones
    are taken: the first has most of the system's work.
    """
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[-threads:])
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC"):
        os.environ[variable] = str(threads)


def claim_stdout() -> tuple[int, int]:
    """The pipes of the conversation, moved to where no library writes to or reads from."""
    asks, answers = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return asks, answers


def main() -> None:
    """Runs the worker that the command line names."""
    if len(sys.argv) != 2 or sys.argv[1] not in NAMES:
        raise SystemExit(f"usage: worker.py {'|'.join(NAMES)}")
    name = sys.argv[1]
    threads = thread_count()
    pending = os.environ.pop(PENDING, None)
    started_with = dict(os.environ)
    confine(threads)
    asks, answers = claim_stdout()

    def open_framework() -> Framework:
        return importlib.import_module(f"frameworks.with_{name}").open_framework(threads)

    def again(line: bytes, restart: Restart) -> NoReturn:
        """Becomes a new process with the variables set, and the same conversation."""
        environment = {**started_with, PENDING: line.decode()}
        for key, value in restart.environment.items():
            environment.pop(key, None)
            if value is not None:
                environment[key] = value
        os.dup2(asks, 0)
        os.dup2(answers, 1)
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)

    worker = Worker(name, open_framework, threads, started_with)
    first = [] if pending is None else [pending.encode()]
    # Unbuffered, so that a question that is not read yet stays in the pipe for a new process.
    # Whoever asked may end before it has its answer.
    with (
        open(asks, "rb", buffering=0) as questions,
        open(answers, "wb", buffering=0) as replies,
        suppress(BrokenPipeError),
    ):
        serve(worker, chain(first, iter(questions.readline, b"")), replies, again)


if __name__ == "__main__":
    main()
