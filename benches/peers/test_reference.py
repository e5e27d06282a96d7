"""The references, against worked examples and differences; and what they let pass. Needs numpy."""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess
import sys
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

if importlib.util.find_spec("numpy") is None:
    raise unittest.SkipTest("numpy is not installed")

import numpy as np

from frameworks import network, reference
from frameworks.cases import LOGITS, OPTIMISERS, Absent, Case, Wrong
from frameworks.inputs import RATE, Inputs, draw, to_bf16_grid

CASES = [
    "gemm/f32/9x8x70",
    "gemm/f32/9x8x70-tn",
    "gemm/bf16/9x8x70-nt",
    "gemm_batched/f32/3x4x5x6",
    *(f"{op}/f32/13x7" for op in LOGITS),
    *(
        f"{op}/f32/{shape}{relu}"
        for op in ("batch_norm", "batch_norm_backward", "batch_norm_inference")
        for shape in ("13x7", "3x4x5x7-nhwc", "3x7x4x5-nchw")
        for relu in ("", "-relu")
    ),
    *(f"{op}/f32/{shape}" for op in OPTIMISERS for shape in ("50", "3x20")),
    *(f"{op}/f32/50" for op in ("exp", "ln", "relu", "sigmoid", "tanh")),
    *(f"{op}_backward/f32/50" for op in ("relu", "sigmoid", "tanh")),
]


def expected(case_id: str, inputs: Inputs) -> dict[str, Any]:
    """The reference's values, by name."""
    found = reference.expectations(Case.parse(case_id), inputs)
    return {name: values for name, (values, _) in found.items()}


def images(values: list[float]) -> Any:
    """One channel."""
    return np.array(values, np.float32).reshape(-1, 1)


def normalisation(x: list[float], dy: list[float], gamma: float, beta: float) -> Inputs:
    """Of one channel."""
    arrays = {"x": images(x), "dy": images(dy)}
    arrays |= {"gamma": np.array([gamma], np.float32), "beta": np.array([beta], np.float32)}
    return Inputs(arrays)


class WorkedExamples(unittest.TestCase):
    """Numbers that were computed elsewhere."""

    def near(self, got: Any, want: Any, bound: float = 1e-6) -> None:
        """Compares values."""
        np.testing.assert_allclose(np.ravel(got), want, rtol=0, atol=bound)

    def test_batch_norm(self) -> None:
        """Four examples of one feature, forward and backward."""
        inputs = normalisation([1, 2, 3, 4], [1, 0, 0, 0], 2.0, 0.5)
        y = expected("batch_norm/f32/4x1", inputs)["y"]
        self.near(y, [-2.183271, -0.394424, 1.394424, 3.183271])
        grads = expected("batch_norm_backward/f32/4x1", inputs)
        self.near(grads["dgamma"], [-1.3416354])
        self.near(grads["dbeta"], [1.0])
        self.near(grads["dx"], [0.5366606, -0.7155367, -0.1788869, 0.3577630])

    def test_softmax_and_cross_entropy(self) -> None:
        """Four classes, of which the second is right."""
        inputs = Inputs({"x": np.array([[5, 2, -1, 3]], np.float32)}, labels=np.array([1]))
        y = expected("softmax/f32/1x4", inputs)["y"]
        self.near(y, [0.84203357, 0.04192238, 0.00208719, 0.11395685])
        log_y = expected("log_softmax/f32/1x4", inputs)["y"]
        self.near(log_y, [-0.171935, -3.171935, -6.171935, -2.171935])
        self.near(expected("log_sum_exp/f32/1x4", inputs)["y"], [5.17193539])
        loss = expected("cross_entropy/f32/1x4", inputs)
        self.near(loss["loss"], [3.17193539])
        self.near(loss["dx"], [0.842034, -0.958078, 0.002087, 0.113957])

    def test_sigmoid_cross_entropy(self) -> None:
        """Far logits keep their loss."""
        arrays = {"x": np.array([[0, -1000, 1000]], np.float32)}
        arrays["targets"] = np.ones((1, 3), np.float32)
        found = expected("sigmoid_cross_entropy/f32/1x3", Inputs(arrays))
        self.near(found["loss"], [(0.693147 + 1000.0) / 3.0], 1e-5)
        self.near(found["dx"] * 3, [-0.5, -1.0, 0.0])

    def test_optimisers(self) -> None:
        """Two steps from 0 along a gradient of -10, in units of the learning rate."""
        travelled = {"sgd": 20.0, "momentum": 29.0, "adam": 2.0}
        # RMSprop divides by sqrt(0.1 g^2), then by sqrt(0.19 g^2).
        travelled["rmsprop"] = 0.1**-0.5 + 0.19**-0.5
        inputs = Inputs(params=[np.zeros(1, np.float32)], grads=[np.full(1, -10, np.float32)])
        for op, want in travelled.items():
            self.near(expected(f"{op}/f32/1", inputs)["params"] / RATE, [want], 1e-5)


class Differences(unittest.TestCase):
    """Gradients against differences of what they are gradients of."""

    def check(self, gradient: Any, values: Any, function: Callable[[], float]) -> None:
        """Moves each of `values`, which `function` reads."""
        step = 2.0**-10
        for at in np.ndindex(values.shape):
            old = values[at]
            ends = []
            for moved in (old + step, old - step):
                values[at] = moved
                ends.append(function())
            values[at] = old
            self.assertAlmostEqual(gradient[at], (ends[0] - ends[1]) / (2 * step), delta=2e-5)

    def wide(self, case_id: str) -> Inputs:
        """Inputs as f64, so that small steps are exact."""
        inputs = draw(Case.parse(case_id))
        inputs.arrays = {name: reference.wide(values) for name, values in inputs.arrays.items()}
        return inputs

    def test_batch_norm_backward(self) -> None:
        """In all layouts, by x, gamma and beta, with a gradient from above that is not uniform."""
        for shape in ("6x2", "2x2x2x3-nhwc-relu", "2x3x2x2-nchw"):
            inputs = self.wide(f"batch_norm_backward/f32/{shape}")
            case = Case.parse(f"batch_norm/f32/{shape}")
            weights = reference.channels(case, inputs["dy"])

            def loss(case: Case = case, inputs: Inputs = inputs, weights: Any = weights) -> float:
                y, _ = reference.expectations(case, inputs)["y"]
                return float((y * weights).sum())

            grads = expected(f"batch_norm_backward/f32/{shape}", inputs)
            for name, by in (("dx", "x"), ("dgamma", "gamma"), ("dbeta", "beta")):
                values = inputs[by]
                like = reference.channels(case, values) if by == "x" else values
                self.check(grads[name].reshape(like.shape), like, loss)

    def test_softmax_backward(self) -> None:
        """Both kinds."""
        for op in ("softmax", "log_softmax"):
            inputs = self.wide(f"{op}_backward/f32/3x4")
            grads = expected(f"{op}_backward/f32/3x4", inputs)

            def loss(op: str = op, inputs: Inputs = inputs) -> float:
                return float((expected(f"{op}/f32/3x4", inputs)["y"] * inputs["dy"]).sum())

            self.check(grads["dx"], inputs["x"], loss)

    def test_losses(self) -> None:
        """By the logits."""
        for op in ("cross_entropy", "sigmoid_cross_entropy"):
            inputs = self.wide(f"{op}/f32/3x4")
            grads = expected(f"{op}/f32/3x4", inputs)

            def loss(op: str = op, inputs: Inputs = inputs) -> float:
                return float(expected(f"{op}/f32/3x4", inputs)["loss"])

            self.check(grads["dx"], inputs["x"], loss)

    def test_training_step(self) -> None:
        """By every array of every layer."""
        for case_id, count in (("training_step/f32/7x3-4-3", 5), ("conv_step/f32/3x2x5x6-2-3-4", 8)):
            inputs = self.wide(case_id)
            for layer in inputs.layers:
                for name, values in layer.arrays.items():
                    setattr(layer, name, values.astype(np.float64))
            _, grads = network.gradients(inputs)
            arrays = [values for layer in inputs.layers for values in layer.arrays.values()]
            self.assertEqual(len(arrays), count)

            def loss(inputs: Inputs = inputs) -> float:
                return network.gradients(inputs)[0]

            for gradient, values in zip(grads, arrays, strict=True):
                self.check(gradient, values, loss)


class Check(unittest.TestCase):
    """What passes and what does not."""

    def test_rounded_results_pass_and_wrong_ones_do_not(self) -> None:
        """Each result of each case, made wrong in one place by much less than it is."""
        for case_id in CASES:
            case = Case.parse(case_id)
            inputs = draw(case)
            right = {n: v.astype(np.float32) for n, v in expected(case_id, inputs).items()}
            with self.subTest(case_id):
                reference.check(case, inputs, right)
            for name, values in right.items():
                at = int(np.abs(values).argmax())
                for wrong in (values.ravel()[at] * np.float32(1.02), np.nan):
                    other = values.copy()
                    other.flat[at] = wrong
                    with self.subTest(f"{case_id}: {name}"), self.assertRaisesRegex(Wrong, name):
                        reference.check(case, inputs, right | {name: other})

    def test_missing_results_do_not_pass(self) -> None:
        """Neither a result nor a value of it."""
        case = Case.parse("cross_entropy/f32/3x4")
        inputs = draw(case)
        right = expected("cross_entropy/f32/3x4", inputs)
        with self.assertRaisesRegex(Wrong, "got no dx"):
            reference.check(case, inputs, {"loss": right["loss"]})
        with self.assertRaisesRegex(Wrong, "expected 12 values, got 9"):
            reference.check(case, inputs, right | {"dx": right["dx"][:, 1:]})

    def test_a_training_step_is_checked(self) -> None:
        """Loss, and the direction and length of each gradient."""
        case = Case.parse("training_step/f32/16x5-4-3")
        inputs = draw(case)
        loss, grads = network.gradients(inputs)
        right = [0.1 * gradient for gradient in grads]
        reference.check(case, inputs, {"loss": loss, "first": right})
        wrong: list[tuple[str, float, list[Any]]] = [
            ("loss", loss * 1.02, right),
            ("loss", np.nan, right),
            ("expected 5 gradients, got 4", loss, right[:-1]),
            ("gradient 0: expected shape", loss, [right[0].T, *right[1:]]),
            ("gradient 1: nan", loss, [right[0], right[1] * np.nan, *right[2:]]),
            ("gradient 4", loss, [*right[:-1], right[-1][::-1]]),
        ]
        for why, loss_found, moments in wrong:
            with self.assertRaisesRegex(Wrong, why):
                reference.check(case, inputs, {"loss": loss_found, "first": moments})

    def test_a_training_step_in_halves_may_round_and_no_more(self) -> None:
        """Factors on the grid of bf16 pass in bf16 only; no missing part of a gradient does."""
        ids = ("training_step/f32/256x64-96-48-10", "training_step/f32-as-bf16x6/256x64-96-48-10")
        exact = [Case.parse(case_id) for case_id in ids]
        case = Case.parse("training_step/f32-as-bf16/256x64-96-48-10")
        self.assertEqual([case.halves, *(case.halves for case in exact)], [True, False, False])
        inputs = draw(case)
        rounded = copy.deepcopy(inputs)
        rounded.arrays["x"] = to_bf16_grid(inputs["x"])
        for layer in rounded.layers:
            layer.weight = to_bf16_grid(layer.weight)
        loss, grads = network.gradients(rounded)
        found = {"loss": loss, "first": [0.1 * gradient for gradient in grads]}
        reference.check(case, inputs, found)
        for other in exact:
            with self.assertRaisesRegex(Wrong, "gradient"):
                reference.check(other, inputs, found)
        for i in range(len(grads)):
            moments = list(found["first"])
            moments[i] = 0.5 * moments[i]
            with self.assertRaisesRegex(Wrong, f"gradient {i}"):
                reference.check(case, inputs, found | {"first": moments})

    def test_what_is_not_known_is_absent(self) -> None:
        """Operations and types."""
        for case_id in (
            "argmax_rows/f32/8x8",
            "exp/f64/8",
            "softmax/bf16/8x8",
            "exp_backward/f32/8",
        ):
            with self.assertRaises(Absent):
                draw(Case.parse(case_id))


class NumpyWorker(unittest.TestCase):
    """The one framework that is always there, as a process."""

    def test_it_prepares_checks_and_times(self) -> None:
        """And says what it does not do."""
        cases = ["gemm/f32/16x8x9-tt", "softmax/f32/8x5", "batch_norm/f32/8x5-relu", "adam/f32/8"]
        asks: list[dict[str, Any]] = [{"ask": "hello"}]
        for case in cases:
            asks.append({"ask": "prepare", "case": case, "variant": "numpy"})
        asks += [
            {"ask": "prepare", "case": cases[0], "variant": "numpy"},
            {"ask": "time", "calls": 9},
        ]
        program = [sys.executable, str(Path(__file__).with_name("worker.py")), "numpy"]
        lines = "".join(json.dumps(ask) + "\n" for ask in asks)
        done = subprocess.run(
            program, input=lines, capture_output=True, text=True, timeout=60, check=True
        )
        hello, *prepared, adam, again, timed = map(json.loads, done.stdout.splitlines())
        self.assertEqual(hello["version"], np.__version__)
        self.assertEqual(prepared, [{"ok": True}] * 3)
        self.assertEqual((adam, again), ({"absent": "numpy has no adam"}, {"ok": True}))
        self.assertGreater(timed["seconds"], 0.0)


if __name__ == "__main__":
    unittest.main()
