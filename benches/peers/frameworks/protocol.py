"""The worker's side of the conversation: a line of JSON is asked, a line of JSON is the answer.

`benches/src/worker` describes it. Whatever goes wrong is an answer too, and the conversation goes
on.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn, Protocol

from .cases import Absent, Case

Answer = dict[str, Any]

WARM_UP = 0.01
"""Seconds of work, and at least one call, before the clock starts. While others had their turns,
the caches have lost the megabytes of code that a framework runs through for one call: after a
single call, a small training step still takes a third longer than after this."""


def _nothing(_result: object) -> None:
    """A framework whose calls return when they are done has nothing to wait for."""


@dataclass
class Prepared:
    """A case that is ready to run."""

    call: Callable[[], Any]
    """One call."""
    outputs: Callable[[Any], dict[str, Any]]
    """What a call's result, or the state it left, says: arrays by name."""
    wait: Callable[[Any], None] = _nothing
    """Returns when a call is done; so are all before it."""


class Framework(Protocol):
    """What a module `with_<framework>` brings."""

    version: str
    variants: dict[str, dict[str, str]]
    """Ways to run, each with the environment that its process must have been started with."""

    def prepare(self, case: Case, variant: str) -> Prepared:
        """Builds a case, runs it and checks the result."""


class Restart(Exception):
    """This process was started in the wrong environment for a variant."""

    def __init__(self, environment: dict[str, str | None]) -> None:
        super().__init__("this variant needs another environment")
        self.environment = environment


def one_line(error: BaseException) -> str:
    """An error as one short line: frameworks write pages."""
    lines = [line.strip() for line in str(error).splitlines()]
    first = next((line for line in lines if line), "no message")
    return f"{type(error).__name__}: {first}"[:300]


def seconds(prepared: Prepared, calls: int, clock: Callable[[], float]) -> float:
    """The time of so many calls together, once code and data are in the caches."""
    call = prepared.call
    began = time.process_time()
    prepared.wait(call())
    while time.process_time() - began < WARM_UP:
        prepared.wait(call())
    start = clock()
    # Each result is dropped before the next call, so that its memory can serve again.
    for _ in range(calls - 1):
        call()
    prepared.wait(call())
    return clock() - start


class Worker:
    """Answers for one framework."""

    def __init__(
        self,
        name: str,
        open_framework: Callable[[], Framework],
        threads: int,
        environment: Mapping[str, str],
    ) -> None:
        self._name = name
        self._environment = environment
        # One thread is timed by its own clock, which stands still while others have the CPU.
        self._clock = time.process_time if threads == 1 else time.perf_counter
        self._prepared: Prepared | None = None
        self._framework: Framework | None = None
        self._broken = ""
        try:
            self._framework = open_framework()
        except Exception as error:
            self._broken = one_line(error)
        # A collection in the middle of a sample would be charged to whoever runs.
        gc.disable()

    def answer(self, line: bytes | str) -> Answer:
        """The answer to one line. Only `Restart` gets out."""
        try:
            ask = json.loads(line)
            if not isinstance(ask, dict):
                raise ValueError(f'expected an object with "ask", got {ask!r}')
            return self._answer(ask)
        except Restart:
            raise
        except Absent as why:
            return {"absent": str(why)}
        except Exception as error:
            return {"error": one_line(error)}

    def _answer(self, ask: Answer) -> Answer:
        if self._framework is None:
            return {"error": self._broken}
        match ask:
            case {"ask": "hello"}:
                variants = list(self._framework.variants)
                return {
                    "name": self._name,
                    "version": self._framework.version,
                    "variants": variants,
                }
            case {"ask": "prepare", "case": str(case_id), "variant": str(variant)}:
                self._drop()
                self._prepare(self._framework, case_id, variant)
                return {"ok": True}
            case {"ask": "time", "calls": int(calls)} if calls > 0:
                if self._prepared is None:
                    raise ValueError("time: expected a prepared case, got none")
                return {"seconds": seconds(self._prepared, calls, self._clock)}
            case {"ask": "drop"}:
                self._drop()
                return {"ok": True}
        raise ValueError(f"expected hello, prepare, time or drop, got {json.dumps(ask)}")

    def _prepare(self, framework: Framework, case_id: str, variant: str) -> None:
        if variant not in framework.variants:
            expected = ", ".join(framework.variants)
            raise ValueError(f"variant: expected one of {expected}, got {variant!r}")
        wanted: dict[str, str | None] = {}
        for needs in framework.variants.values():
            wanted |= dict.fromkeys(needs)
        wanted |= framework.variants[variant]
        if any(self._environment.get(key) != value for key, value in wanted.items()):
            raise Restart(wanted)
        self._prepared = framework.prepare(Case.parse(case_id), variant)

    def _drop(self) -> None:
        self._prepared = None
        gc.collect()


def serve(
    worker: Worker,
    lines: Iterable[bytes],
    answers: BinaryIO,
    again: Callable[[bytes, Restart], NoReturn],
) -> None:
    """Answers line by line. `again` starts anew with a question that needs another environment."""
    for line in lines:
        if not line.strip():
            continue
        try:
            answer = worker.answer(line)
        except Restart as restart:
            again(line, restart)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()
