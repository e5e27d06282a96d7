"""Inputs from a seed, in the ranges that our own cases use."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .cases import (
    CONVOLUTION,
    FORWARD_BACKWARD,
    KERNEL,
    LOGITS,
    NORMALISATIONS,
    OPTIMISERS,
    PRODUCTS,
    STEPS,
    UNARY,
    Absent,
    Case,
)

F32: TypeAlias = NDArray[np.float32]
I64: TypeAlias = NDArray[np.int64]

BETA1, BETA2, BETA, RATE, TINY = 0.9, 0.999, 0.9, 1e-3, 1e-8
"""Of Adam; of momentum and RMSprop; the learning rate; the epsilon of Adam and RMSprop."""


@dataclass
class Layer:
    """A layer with weights: a bias where it is the last one, batch normalisation elsewhere."""

    weight: F32
    """(outputs, inputs), and of a convolution (filters, channels, height, width)"""
    gamma: F32 | None = None
    beta: F32 | None = None
    bias: F32 | None = None

    @property
    def arrays(self) -> dict[str, F32]:
        """Those it has, by name, in the order of their gradients."""
        named = {"weight": self.weight, "gamma": self.gamma, "beta": self.beta, "bias": self.bias}
        return {name: values for name, values in named.items() if values is not None}


@dataclass
class Inputs:
    """Arrays by name, each in the layout of the case, and what is not an array."""

    arrays: dict[str, F32] = field(default_factory=dict)
    labels: I64 = field(default_factory=lambda: np.empty(0, np.int64))
    params: list[F32] = field(default_factory=list)
    grads: list[F32] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)

    def __getitem__(self, name: str) -> F32:
        return self.arrays[name]


def nhwc(x: Any) -> Any:
    """Images with their channels last, and rows as they are."""
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def hwio(weight: Any) -> Any:
    """A weight as those want it whose channels stand last: (inputs, outputs)."""
    return weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T


def oihw(weight: Any) -> Any:
    """Such a weight as a layer has it; a vector as it is."""
    return weight.transpose(3, 2, 0, 1) if weight.ndim == 4 else weight.T


class Random:
    """Uniform numbers."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def uniform(self, shape: tuple[int, ...] | int, low: float, high: float) -> F32:
        """Values between `low` and `high`."""
        values = self._generator.random(shape, dtype=np.float32)
        values *= np.float32(high - low)
        values += np.float32(low)
        return values

    def labels(self, rows: int, classes: int) -> I64:
        """A class for each row."""
        return self._generator.integers(0, classes, rows)


def draw(case: Case) -> Inputs:
    """The inputs of a case."""
    if case.dtype not in ("f32", "bf16") or (case.dtype == "bf16" and case.op not in PRODUCTS):
        raise Absent(f"{case.op} in {case.dtype}")
    if "add" in case.suffixes:
        raise Absent(f"{case.op} with a residual in one pass")
    random = Random(1)
    if case.op in PRODUCTS:
        return _product(case, random)
    if case.op in NORMALISATIONS:
        return _normalisation(case, random)
    if case.op in LOGITS:
        return _logits(case, random)
    if case.op in OPTIMISERS:
        return _optimiser(case, random)
    if case.op in STEPS:
        return _network(case, random)
    if case.op in UNARY or case.op.removesuffix("_backward") in FORWARD_BACKWARD:
        return _unary(case, random)
    raise Absent(f"no case {case.op}")


def to_bf16_grid(values: F32) -> F32:
    """The values that bf16 has, next below in size: exact in both types."""
    return (values.view(np.uint32) & np.uint32(0xFFFF_0000)).view(np.float32)


def _product(case: Case, random: Random) -> Inputs:
    batch, m, n, k = case.product
    a_transposed, b_transposed = case.transposed
    lead = (batch,) if case.op == "gemm_batched" else ()
    a = random.uniform((*lead, k, m) if a_transposed else (*lead, m, k), -1.0, 1.0)
    b = random.uniform((*lead, n, k) if b_transposed else (*lead, k, n), -1.0, 1.0)
    if case.dtype == "bf16":
        a, b = to_bf16_grid(a), to_bf16_grid(b)
    return Inputs({"a": a, "b": b})


def _normalisation(case: Case, random: Random) -> Inputs:
    channels = case.dims[1] if case.layout in ("rows", "nchw") else case.dims[3]
    return Inputs(
        {
            "x": random.uniform(case.dims, -1.0, 3.0),
            "dy": random.uniform(case.dims, -1.0, 1.0),
            "gamma": random.uniform(channels, 0.5, 1.5),
            "beta": random.uniform(channels, -0.5, 0.5),
            # For inference: near what x has.
            "mean": random.uniform(channels, 0.9, 1.1),
            "var": random.uniform(channels, 1.2, 1.5),
        }
    )


def _logits(case: Case, random: Random) -> Inputs:
    arrays = {"x": random.uniform(case.dims, -5.0, 5.0)}
    if case.op.endswith("_backward"):
        arrays["dy"] = random.uniform(case.dims, -1.0, 1.0)
    if case.op == "sigmoid_cross_entropy":
        arrays["targets"] = random.uniform(case.dims, 0.0, 1.0)
    return Inputs(arrays, labels=random.labels(*case.dims))


def _optimiser(case: Case, random: Random) -> Inputs:
    tensors, length = case.dims if len(case.dims) == 2 else (1, case.dims[0])
    params, grads = [], []
    for _ in range(tensors):
        # As small as an update, so that the parameter's own rounding cannot hide a wrong one.
        params.append(random.uniform(length, -RATE, RATE))
        grad = random.uniform(length, -1.0, 1.0)
        # Away from zero, where it matters whether epsilon is added before or after the correction
        # of the bias, and inside or outside of the root: frameworks differ.
        grads.append(grad + np.copysign(np.float32(0.1), grad))
    return Inputs(params=params, grads=grads)


def _network(case: Case, random: Random) -> Inputs:
    rows, *widths = case.dims
    layers = []
    image: tuple[int, ...] = ()
    if case.op == CONVOLUTION:
        channels, height, width, *filters, classes = widths
        image = (channels, height, width)
        for inputs, outputs in pairwise([channels, *filters]):
            reach = float(np.sqrt(6.0 / (inputs * KERNEL**2)))
            layers.append(Layer(random.uniform((outputs, inputs, KERNEL, KERNEL), -reach, reach)))
            height, width = height // 2, width // 2
        widths = [filters[-1] * height * width, classes]
    for inputs, outputs in pairwise(widths):
        reach = float(np.sqrt(6.0 / (inputs + outputs)))
        layers.append(Layer(random.uniform((outputs, inputs), -reach, reach)))
    for layer in layers[:-1]:
        layer.gamma = random.uniform(len(layer.weight), 0.5, 1.5)
        layer.beta = random.uniform(len(layer.weight), -0.5, 0.5)
    layers[-1].bias = random.uniform(widths[-1], -0.1, 0.1)
    x = random.uniform((rows, *(image or widths[:1])), -1.0, 1.0)
    return Inputs({"x": x}, labels=random.labels(rows, widths[-1]), layers=layers)


def _unary(case: Case, random: Random) -> Inputs:
    low, high = {"exp": (-20.0, 20.0), "ln": (1e-3, 1e3)}.get(case.op, (-6.0, 6.0))
    if case.op.endswith("_backward"):
        # The output of the forward pass, and the gradient from above.
        y = random.uniform(case.dims, 0.0 if case.op.startswith("sigmoid") else -1.0, 1.0)
        return Inputs({"y": y, "dy": random.uniform(case.dims, -1.0, 1.0)})
    return Inputs({"x": random.uniform(case.dims, low, high)})
