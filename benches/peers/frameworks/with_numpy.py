"""numpy: what its users compose of whole-array operations, without a framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .cases import EPSILON, NORMALISATIONS, PRODUCTS, Absent, Case
from .framework import Framework
from .inputs import F32, Inputs
from .protocol import Prepared


class Numpy(Framework):
    """Only what is a few lines of numpy: no gradients, no optimisers."""

    version = np.__version__
    variants: dict[str, dict[str, str]] = {"numpy": {}}

    def build(self, case: Case, inputs: Inputs, variant: str) -> Prepared:
        """A case on its inputs."""
        name = "c" if case.op in PRODUCTS else "y"
        return Prepared(call_of(case, inputs), lambda result: {name: result})


def open_framework(threads: int) -> Numpy:
    """Its only threads are those of its BLAS, which counts the CPUs that it may use."""
    return Numpy()


def call_of(case: Case, inputs: Inputs) -> Callable[[], Any]:
    """The call of a case."""
    if case.dtype != "f32":
        raise Absent(f"{case.op} in {case.dtype}")
    if case.op in PRODUCTS:
        a_transposed, b_transposed = case.transposed
        a = inputs["a"].swapaxes(-1, -2) if a_transposed else inputs["a"]
        b = inputs["b"].swapaxes(-1, -2) if b_transposed else inputs["b"]
        return lambda: a @ b
    if case.op in NORMALISATIONS and case.layout == "rows" and not case.op.endswith("_backward"):
        return lambda: batch_norm(case, inputs)
    functions: dict[str, Callable[[F32], F32]] = {
        "exp": np.exp,
        "ln": np.log,
        "tanh": np.tanh,
        "sigmoid": lambda x: np.float32(1.0) / (np.float32(1.0) + np.exp(-x)),
        "relu": lambda x: np.maximum(x, 0.0),
        "softmax": softmax,
        "log_softmax": log_softmax,
    }
    if case.op not in functions:
        raise Absent(f"numpy has no {case.op}")
    function, x = functions[case.op], inputs["x"]
    return lambda: function(x)


def batch_norm(case: Case, inputs: Inputs) -> F32:
    """Over rows."""
    x, gamma, beta = inputs["x"], inputs["gamma"], inputs["beta"]
    inference = case.op == "batch_norm_inference"
    mean, var = (inputs["mean"], inputs["var"]) if inference else (x.mean(0), x.var(0))
    y = (x - mean) * (gamma / np.sqrt(var + np.float32(EPSILON))) + beta
    return np.maximum(y, 0.0) if case.relu else y


def softmax(x: F32) -> F32:
    """Of each row."""
    y = np.exp(x - x.max(1, keepdims=True))
    y /= y.sum(1, keepdims=True)
    return y


def log_softmax(x: F32) -> F32:
    """Of each row."""
    y = x - x.max(1, keepdims=True)
    y -= np.log(np.exp(y).sum(1, keepdims=True))
    return y
