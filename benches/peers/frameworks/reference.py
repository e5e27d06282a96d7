"""What every case must give: plain f64 formulas, each with a bound of what f32 may differ by.

The bounds come from error analysis, not from what passed. A sum of n terms errs by at most n
roundings of the sum of their sizes; as roundings are as often up as down, by about sqrt(n) of them
(Higham and Mary, 2019), and `sum_error` allows many times that where it is less. Elementary
functions may err by `FUNCTION`: the fast ones of some frameworks do by five roundings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import network
from .cases import EPSILON, LOGITS, NORMALISATIONS, OPTIMISERS, PRODUCTS, STEPS, Case, Wrong
from .inputs import BETA, BETA1, BETA2, RATE, TINY, Inputs

F64: TypeAlias = NDArray[np.float64]
Expected: TypeAlias = dict[str, tuple[F64, F64]]
"""By name: values, and how far a result may be from them."""

EPS = float(np.finfo(np.float32).eps)
FUNCTION = 8 * EPS


def sum_error(terms: int) -> float:
    """How far a sum of so many terms may be off, relative to the sum of their sizes."""
    return (min(float(terms), 16 * terms**0.5) + 16) * EPS


def wide(values: Any) -> F64:
    """As f64."""
    return np.asarray(values).astype(np.float64)


def check(case: Case, inputs: Inputs, outputs: Mapping[str, Any]) -> None:
    """Raises `Wrong` where a result is farther from the reference than f32 explains."""
    if case.op in STEPS:
        network.check(inputs, outputs, case.halves)
        return
    expected = expectations(case, inputs)
    if missing := expected.keys() - outputs.keys():
        raise Wrong(f"expected {', '.join(sorted(expected))}, got no {', '.join(sorted(missing))}")
    for name, (want, bound) in expected.items():
        compare(name, want, bound, outputs[name])


def compare(name: str, want: F64, bound: F64, got: Any) -> None:
    """Raises `Wrong` at the first value that is too far away, or not a number."""
    values = flat(got)
    if values.size != want.size:
        raise Wrong(f"{name}: expected {want.size} values, got {values.size}")
    want, bound = want.ravel(), np.broadcast_to(bound, want.shape).ravel()
    # Written so that a NaN is too far away.
    far = np.flatnonzero(~(np.abs(values - want) <= bound))
    if far.size:
        at = far[0]
        raise Wrong(
            f"{name}[{at}]: expected {want[at]:.9g} +- {bound[at]:.1g}, got {values[at]:.9g}"
            f" ({far.size} of {want.size} are wrong)"
        )


def flat(values: Any) -> F64:
    """One array, or several one after the other."""
    if isinstance(values, Sequence):
        return np.concatenate([wide(part).ravel() for part in values])
    return wide(values).ravel()


def expectations(case: Case, inputs: Inputs) -> Expected:
    """What a case must give."""
    if case.op in PRODUCTS:
        return _product(case, inputs)
    if case.op in NORMALISATIONS:
        return _normalisation(case, inputs)
    if case.op in LOGITS:
        return _logits(case, inputs)
    if case.op in OPTIMISERS:
        return _optimiser(case, inputs)
    return _unary(case, inputs)


def _product(case: Case, inputs: Inputs) -> Expected:
    a, b = wide(inputs["a"]), wide(inputs["b"])
    a_transposed, b_transposed = case.transposed
    a = a.swapaxes(-1, -2) if a_transposed else a
    b = b.swapaxes(-1, -2) if b_transposed else b
    c = a @ b
    # The sum of the sizes of the terms, by Cauchy and Schwarz.
    sizes = np.linalg.norm(a, axis=-1)[..., :, None] * np.linalg.norm(b, axis=-2)[..., None, :]
    # Some frameworks give bf16 products in bf16: half of its 2^-7, and a little.
    rounding = 2.0**-8 * 1.01 if case.dtype == "bf16" else 0.0
    return {"c": (c, sum_error(case.product[3]) * sizes + rounding * np.abs(c))}


def channels(case: Case, values: F64) -> F64:
    """As (outer, channels, inner)."""
    if case.layout == "nchw":
        return values.reshape(case.dims[0], case.dims[1], -1)
    return values.reshape(-1, case.dims[-1], 1)


def _normalisation(case: Case, inputs: Inputs) -> Expected:
    over = (0, 2)
    x = channels(case, wide(inputs["x"]))
    gamma, beta = (wide(inputs[name])[:, None] for name in ("gamma", "beta"))
    count = x.shape[0] * x.shape[2]
    mean, var = x.mean(over, keepdims=True), x.var(over, keepdims=True)
    error = sum_error(count)
    # Those who take the variance as the difference of two averages lose what cancels.
    spread = 1.0 + float((mean**2 / var).max())
    if case.op == "batch_norm_inference":
        mean, var = (wide(inputs[name])[None, :, None] for name in ("mean", "var"))
        error, spread = 16 * EPS, 1.0
    inv_std = 1.0 / np.sqrt(var + EPSILON)
    normal = (x - mean) * inv_std
    y = normal * gamma + beta
    sizes = gamma * (inv_std * (np.abs(x) + np.abs(mean)) + spread * np.abs(normal)) + np.abs(beta)
    bound = error * (sizes + np.abs(y))
    if case.op != "batch_norm_backward":
        return {"y": (np.maximum(y, 0.0) if case.relu else y, bound)}
    dy = channels(case, wide(inputs["dy"]))
    # Where y is within rounding of zero, the ReLU may be on or off.
    unsure = np.abs(dy) * (np.abs(y) <= bound) if case.relu else np.zeros_like(dy)
    dy = dy * (y > 0.0) if case.relu else dy
    dbeta, dgamma = dy.sum(over, keepdims=True), (dy * normal).sum(over, keepdims=True)
    # What the sums may be off by, then what that does to dx.
    reach = np.abs(normal) + inv_std * np.abs(mean) + spread
    dbeta_bound = error * np.abs(dy).sum(over, keepdims=True) + unsure.sum(over, keepdims=True)
    dgamma_bound = (np.abs(dy) * error * reach + unsure * np.abs(normal)).sum(over, keepdims=True)
    scale = gamma * inv_std
    dx = scale * (dy - (dbeta + normal * dgamma) / count)
    sizes = np.abs(dy) * spread + (np.abs(dbeta) + reach * np.abs(dgamma) * spread) / count
    dx_bound = error * sizes + unsure + (dbeta_bound + np.abs(normal) * dgamma_bound) / count
    return {
        "dx": (dx, scale * dx_bound),
        "dgamma": (dgamma, dgamma_bound),
        "dbeta": (dbeta, dbeta_bound),
    }


def _logits(case: Case, inputs: Inputs) -> Expected:
    if case.op == "sigmoid_cross_entropy":
        return _sigmoid_cross_entropy(inputs)
    x = wide(inputs["x"])
    rows, cols = x.shape
    shift = x.max(1, keepdims=True)
    lse = shift + np.log(np.exp(x - shift).sum(1, keepdims=True))
    log_y = x - lse
    y = np.exp(log_y)
    # A logit's own rounding moves its exponential by as much.
    error = sum_error(cols) + FUNCTION + EPS * float(np.abs(x).max())
    if case.op == "softmax":
        return {"y": (y, error * y)}
    if case.op == "log_softmax":
        return {"y": (log_y, error * (1.0 + np.abs(log_y)))}
    if case.op == "log_sum_exp":
        return {"y": (lse, error * (1.0 + np.abs(lse)))}
    if case.op.endswith("_backward"):
        dy = wide(inputs["dy"])
        if case.op == "softmax_backward":
            dx = y * (dy - (dy * y).sum(1, keepdims=True))
            sizes = y * (np.abs(dy) + 2.0 * (np.abs(dy) * y).sum(1, keepdims=True))
        else:
            dx = dy - y * dy.sum(1, keepdims=True)
            sizes = np.abs(dy) + 2.0 * y * np.abs(dy).sum(1, keepdims=True)
        return {"dx": (dx, error * sizes)}
    at = (np.arange(rows), inputs.labels)
    loss = np.array(-log_y[at].mean())
    expected = {"loss": (loss, (error + sum_error(rows)) * (1.0 + loss))}
    if case.op == "cross_entropy":
        bound = 2.0 * error * y / rows
        bound[at] += error / rows
        y[at] -= 1.0
        expected["dx"] = (y / rows, bound)
    return expected


def _sigmoid_cross_entropy(inputs: Inputs) -> Expected:
    x, targets = wide(inputs["x"]), wide(inputs["targets"])
    tail = np.exp(-np.abs(x))
    losses = np.maximum(x, 0.0) - x * targets + np.log1p(tail)
    probability = np.where(x < 0.0, tail, 1.0) / (1.0 + tail)
    loss = np.array(losses.mean())
    # A loss is a difference of terms as large as the logit.
    error = sum_error(x.size) * (1.0 + loss) + FUNCTION * (1.0 + float(np.abs(x).mean()))
    # Autodiff adds two or three terms of size 1 that may cancel.
    return {
        "loss": (loss, error),
        "dx": ((probability - targets) / x.size, np.array(4 * FUNCTION / x.size)),
    }


def _optimiser(case: Case, inputs: Inputs) -> Expected:
    params, grads = flat(inputs.params), flat(inputs.grads)
    first, second = np.zeros_like(params), np.zeros_like(params)
    travelled = np.zeros_like(params)
    for step in range(1, case.checked_calls + 1):
        if case.op == "sgd":
            update = grads
        elif case.op == "momentum":
            first = BETA * first + grads
            update = first
        elif case.op == "rmsprop":
            second = BETA * second + (1.0 - BETA) * grads**2
            update = grads / (np.sqrt(second) + TINY)
        else:
            first = BETA1 * first + (1.0 - BETA1) * grads
            second = BETA2 * second + (1.0 - BETA2) * grads**2
            root = np.sqrt(second / (1.0 - BETA2**step)) + TINY
            update = first / (1.0 - BETA1**step) / root
        params = params - RATE * update
        travelled += RATE * np.abs(update)
    # Frameworks differ in where epsilon is added; the gradients are at least 0.1. And in f32,
    # 1 - 0.999 and 1 - 0.999^step are off by half an eps in 0.001.
    error = 16 * EPS + 40 * TINY / 0.1 + (2 * EPS / (1.0 - BETA2) if case.op == "adam" else 0.0)
    expected = {"params": (params, error * travelled + 2 * EPS * np.abs(params))}
    if case.op in ("momentum", "adam"):
        expected["first"] = (first, error * np.abs(first))
    if case.op in ("rmsprop", "adam"):
        expected["second"] = (second, error * second)
    return expected


def _unary(case: Case, inputs: Inputs) -> Expected:
    if case.op.endswith("_backward"):
        y, dy = wide(inputs["y"]), wide(inputs["dy"])
        slope = {"relu": 1.0 * (y > 0.0), "sigmoid": y * (1.0 - y), "tanh": 1.0 - y * y}
        dx = dy * slope[case.op.removesuffix("_backward")]
        return {"dx": (dx, 4 * EPS * np.abs(dy))}
    x = wide(inputs["x"])
    functions: dict[str, Callable[[F64], F64]] = {
        "exp": np.exp,
        "ln": np.log,
        "relu": lambda x: np.maximum(x, 0.0),
        "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
        "tanh": np.tanh,
    }
    y = functions[case.op](x)
    # Relative, but absolute for what passes through zero; exp has its argument's rounding to bear.
    sizes = np.abs(y) if case.op == "exp" else np.maximum(np.abs(y), 1.0)
    return {"y": (y, FUNCTION * sizes)}
