"""The conversation and the ids; nothing but Python is needed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any, NoReturn

from frameworks.cases import Absent, Case
from frameworks.protocol import WARM_UP, Prepared, Restart, Worker, serve

HEAP = {"KEEP": "1"}


class Fake:
    """Counts its calls."""

    version = "1.2"
    variants = {"plain": {}, "heap": HEAP}

    def __init__(self, work: float = 0.0, pause: float = 0.0) -> None:
        self.work = work
        self.pause = pause
        self.calls = 0
        self.waits = 0
        self.prepared: list[tuple[Case, str]] = []

    def prepare(self, case: Case, variant: str) -> Prepared:
        """Fails for some operations."""
        if case.op == "absent":
            raise Absent("does not do it")
        if case.op == "broken":
            raise RuntimeError("\n\n first line \n  second line")
        self.prepared.append((case, variant))
        return Prepared(self.call, lambda _: {}, self.wait)

    def call(self) -> None:
        """One call: seconds of work, then of sleep."""
        self.calls += 1
        end = time.process_time() + self.work
        while time.process_time() < end:
            pass
        time.sleep(self.pause)

    def wait(self, _result: object) -> None:
        """For one call."""
        self.waits += 1


def prepare(op: str, variant: str = "plain") -> dict[str, str]:
    """A question."""
    return {"ask": "prepare", "case": f"{op}/f32/8", "variant": variant}


class Conversation(unittest.TestCase):
    """A worker's answers."""

    def setUp(self) -> None:
        """A worker that works."""
        self.fake = Fake()
        self.worker = Worker("fake", lambda: self.fake, 1, {})

    def ask(self, question: Any) -> dict[str, Any]:
        """An answer."""
        return self.worker.answer(json.dumps(question))

    def test_hello_names_version_and_variants(self) -> None:
        """As the parent reads them."""
        hello = {"name": "fake", "version": "1.2", "variants": ["plain", "heap"]}
        self.assertEqual(self.ask({"ask": "hello"}), hello)

    def test_long_calls_have_one_untimed_call_before_them(self) -> None:
        """And are waited for before the clock starts and before it stops."""
        self.fake.work = WARM_UP
        self.assertEqual(self.ask(prepare("exp")), {"ok": True})
        answer = self.ask({"ask": "time", "calls": 5})
        self.assertEqual(list(answer), ["seconds"])
        self.assertGreater(answer["seconds"], 0.0)
        self.assertEqual((self.fake.calls, self.fake.waits), (6, 2))

    def test_short_calls_are_repeated_before_the_clock_starts(self) -> None:
        """Until the caches have what they need; that time is not in the answer."""
        self.ask(prepare("exp"))
        seconds = self.ask({"ask": "time", "calls": 1})["seconds"]
        self.assertGreater(self.fake.calls, 10)
        self.assertLess(seconds, WARM_UP / 2)

    def test_one_thread_is_timed_by_its_own_clock(self) -> None:
        """Which does not run while the process sleeps; that of several threads does."""
        for threads, low, high in ((1, 0.0, 0.2), (2, 0.2, 9.0)):
            fake = Fake(work=WARM_UP, pause=0.1)
            worker = Worker("fake", lambda fake=fake: fake, threads, {})
            worker.answer(json.dumps(prepare("exp")))
            seconds = worker.answer('{"ask":"time","calls":2}')["seconds"]
            self.assertTrue(low <= seconds <= high, f"{threads} threads: {seconds}")

    def test_what_cannot_be_done_is_an_answer(self) -> None:
        """In one line."""
        self.assertEqual(self.ask(prepare("absent")), {"absent": "does not do it"})
        self.assertEqual(self.ask(prepare("broken")), {"error": "RuntimeError: first line"})

    def test_what_is_not_understood_is_an_error_that_says_so(self) -> None:
        """And the conversation goes on."""
        questions = [
            ({"ask": "dance"}, "expected hello, prepare, time or drop"),
            ({"ask": "prepare"}, "expected hello, prepare, time or drop"),
            ({"ask": "time", "calls": 0}, "expected hello, prepare, time or drop"),
            ({"ask": "time", "calls": 1}, "expected a prepared case"),
            ([1], "expected an object"),
            (prepare("exp", "fast"), "expected one of plain, heap, got 'fast'"),
            ({"ask": "prepare", "case": "exp", "variant": "plain"}, "got 'exp'"),
        ]
        for question, why in questions:
            self.assertIn(why, self.ask(question)["error"])
        self.assertIn("error", self.worker.answer("{"))
        self.assertEqual(self.ask(prepare("exp")), {"ok": True})

    def test_drop_and_a_failed_prepare_leave_nothing_to_time(self) -> None:
        """So that nobody's old case is timed under a new name."""
        for question in ({"ask": "drop"}, prepare("absent")):
            self.ask(prepare("exp"))
            self.ask(question)
            self.assertIn("got none", self.ask({"ask": "time", "calls": 1})["error"])

    def test_a_framework_that_does_not_open_says_why_every_time(self) -> None:
        """Not only when asked who it is."""

        def missing() -> NoReturn:
            raise ModuleNotFoundError("No module named 'fake'")

        worker = Worker("fake", missing, 1, {})
        for question in ({"ask": "hello"}, prepare("exp")):
            answer = worker.answer(json.dumps(question))
            self.assertEqual(answer, {"error": "ModuleNotFoundError: No module named 'fake'"})

    def test_a_variant_of_another_environment_needs_a_restart(self) -> None:
        """In both directions, and none where the environment is right."""
        with self.assertRaises(Restart) as restart:
            self.ask(prepare("exp", "heap"))
        self.assertEqual(restart.exception.environment, HEAP)
        self.worker = Worker("fake", lambda: self.fake, 1, HEAP)
        self.assertEqual(self.ask(prepare("exp", "heap")), {"ok": True})
        with self.assertRaises(Restart) as restart:
            self.ask(prepare("exp", "plain"))
        self.assertEqual(restart.exception.environment, {"KEEP": None})

    def test_serve_answers_line_by_line_and_hands_restarts_on(self) -> None:
        """Blank lines are no questions."""

        class Again(Exception):
            """Stands for the new process."""

        def again(line: bytes, _restart: Restart) -> NoReturn:
            raise Again(line)

        lines = [b'{"ask":"hello"}\n', b"\n", b'{"ask":"drop"}\n']
        last = json.dumps(prepare("exp", "heap")).encode()
        answers = io.BytesIO()
        with self.assertRaises(Again) as restart:
            serve(self.worker, [*lines, last], answers, again)
        self.assertEqual(restart.exception.args, (last,))
        got = [json.loads(line) for line in answers.getvalue().splitlines()]
        self.assertEqual([next(iter(answer)) for answer in got], ["name", "ok"])


class Process(unittest.TestCase):
    """`worker.py` as a program."""

    def run_worker(self, numpy: str, asks: str, **variables: str) -> subprocess.CompletedProcess:
        """Runs it to its end with a module of that source for numpy."""
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "numpy.py").write_text(numpy)
            program = [sys.executable, str(Path(__file__).with_name("worker.py")), "numpy"]
            environment = os.environ | {"PYTHONPATH": directory} | variables
            return subprocess.run(
                program, input=asks, capture_output=True, text=True, timeout=60, env=environment
            )

    def test_only_answers_reach_standard_output(self) -> None:
        """Not what a library prints, in Python or below it, and the library gets no question."""
        chatter = "import os, sys\nprint('chatter')\nos.system('echo chatter')\n"
        chatter += "raise ImportError(sys.stdin.read() or 'no numpy here')\n"
        done = self.run_worker(chatter, '{"ask":"hello"}\n{"ask":"drop"}\n')
        why = {"error": "ImportError: no numpy here"}
        self.assertEqual([json.loads(line) for line in done.stdout.splitlines()], [why, why])
        self.assertEqual(done.stderr.split(), ["chatter", "chatter"])
        self.assertEqual(done.returncode, 0)

    def test_the_process_has_as_many_cpus_as_threads(self) -> None:
        """Before the library is imported."""
        count = "import os\nraise ImportError(len(os.sched_getaffinity(0)))\n"
        done = self.run_worker(count, '{"ask":"hello"}\n', TILEWISE_WORKER_THREADS="1")
        self.assertEqual(json.loads(done.stdout), {"error": "ImportError: 1"})

    def test_a_question_from_before_a_restart_is_answered_first(self) -> None:
        """And those that wait in the pipe come after it."""
        asks = {"TILEWISE_WORKER_PENDING": "{}"}
        done = self.run_worker("version = '9'", '{"ask":"hello"}\n{"ask":"drop"}\n', **asks)
        self.assertEqual(len(done.stdout.splitlines()), 3)

    def test_it_ends_quietly_when_nobody_waits_for_its_answer(self) -> None:
        """As when the parent is interrupted."""
        read, write = os.pipe()
        os.close(read)
        program = [sys.executable, str(Path(__file__).with_name("worker.py")), "numpy"]
        asked = b'{"ask":"hello"}\n'
        done = subprocess.run(
            program, input=asked, stdout=write, stderr=subprocess.PIPE, timeout=60, check=False
        )
        os.close(write)
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_a_wrong_thread_count_is_refused(self) -> None:
        """With the name of the variable."""
        done = self.run_worker("", "", TILEWISE_WORKER_THREADS="many")
        self.assertEqual(done.returncode, 1)
        self.assertIn("TILEWISE_WORKER_THREADS: expected a number above 0", done.stderr)


class Ids(unittest.TestCase):
    """How ids are read."""

    def test_ids_are_read(self) -> None:
        """Sizes, layouts and what else a shape ends in."""
        nhwc = Case.parse("batch_norm/f32/64x56x56x64-nhwc-relu")
        self.assertEqual((nhwc.dims, nhwc.layout, nhwc.relu), ((64, 56, 56, 64), "nhwc", True))
        rows = Case.parse("batch_norm_backward/f32/512x1024")
        self.assertEqual((rows.dims, rows.layout, rows.relu), ((512, 1024), "rows", False))
        product = Case.parse("gemm/bf16/784x512x128-tn")
        self.assertEqual((product.dtype, product.product), ("bf16", (1, 784, 512, 128)))
        self.assertEqual(product.transposed, (True, False))
        self.assertEqual(Case.parse("gemm/f32/64").product, (1, 64, 64, 64))
        self.assertEqual(Case.parse("gemm_batched/f32/9x8x7x6").product, (9, 8, 7, 6))
        step = Case.parse("training_step/f32/128x784-512-256-10")
        self.assertEqual(step.dims, (128, 784, 512, 256, 10))
        split = Case.parse("training_step/f32-as-bf16x6/128x784-512-256-10")
        self.assertEqual(split, step)
        halves = Case.parse("training_step/f32-as-bf16/128x784-512-256-10")
        self.assertEqual((halves.dtype, halves.dims, halves.halves), ("f32", step.dims, True))
        images = Case.parse("conv_step/f32/64x1x28x28-16-32-10")
        self.assertEqual(images.dims, (64, 1, 28, 28, 16, 32, 10))
        self.assertEqual(Case.parse("adam/f32/200x1000").dims, (200, 1000))

    def test_wrong_ids_are_refused(self) -> None:
        """With the id."""
        wrong = ["", "exp", "exp/f32", "exp/f32/", "exp/f32/8/torch", "exp/f32/8y", "exp/f32/x8"]
        wrong += ["exp/f32/0", "gemm/f32/8x8", "gemm/f32/8-nn", "gemm/f32/8-relu"]
        wrong += ["batch_norm/f32/8x8-nchw", "batch_norm/f32/8x8x8x8", "softmax/f32/8"]
        wrong += ["batch_norm/f32/8x8-relu-relu", "softmax/f32/8x8-relu"]
        wrong += ["training_step/f32/8x8", "conv_step/f32/8x8-8-8"]
        wrong += ["training_step/f32-as-f16/8x8-8"]
        for case_id in wrong:
            with self.assertRaises(ValueError) as error:
                Case.parse(case_id)
            self.assertIn(repr(case_id), str(error.exception))


if __name__ == "__main__":
    unittest.main()
