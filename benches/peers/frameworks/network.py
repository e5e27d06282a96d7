"""The training step's reference in f64: the network, its gradients, and how they are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .cases import EPSILON, Wrong
from .inputs import BETA1, Inputs, Layer

F64: TypeAlias = NDArray[np.float64]

TOLERANCE = 30 * float(np.finfo(np.float32).eps) ** 0.5
"""Of the loss as a value, of a tensor's gradient as a vector: where the input of a ReLU is within
rounding of zero, it may be on in one network and off in the other, which moves a few elements by
much."""


def gradients(inputs: Inputs) -> tuple[float, list[F64]]:
    """The mean loss, and its gradients by each layer's arrays, in their order."""
    rows = len(inputs.labels)
    h = inputs["x"].astype(np.float64)
    tape: list[tuple[Layer, F64, F64, F64, F64]] = []
    for layer in inputs.layers:
        z = h @ layer.weight.T.astype(np.float64)
        if layer.gamma is None:
            tape.append((layer, h, z, z, z))
            z = z if layer.bias is None else z + layer.bias
            break
        inv_std = 1.0 / np.sqrt(z.var(0) + EPSILON)
        normal = (z - z.mean(0)) * inv_std
        y = normal * layer.gamma + layer.beta
        tape.append((layer, h, normal, inv_std, y))
        h = np.maximum(y, 0.0)
    shift = z.max(1, keepdims=True)
    lse = shift + np.log(np.exp(z - shift).sum(1, keepdims=True))
    at = (np.arange(rows), inputs.labels)
    loss = float((lse[:, 0] - z[at]).mean())
    dz = np.exp(z - lse)
    dz[at] -= 1.0
    dz /= rows
    found: list[F64] = []
    for layer, h, normal, inv_std, y in reversed(tape):
        if layer.gamma is None:
            vectors = [dz.sum(0)]
        else:
            dy = dz * (y > 0.0)
            vectors = [(dy * normal).sum(0), dy.sum(0)]
            dz = layer.gamma * inv_std * (dy - (vectors[1] + normal * vectors[0]) / rows)
        found = [dz.T @ h, *vectors, *found]
        dz = dz @ layer.weight.astype(np.float64)
    return loss, found


def check(inputs: Inputs, outputs: Mapping[str, Any]) -> None:
    """Compares a step's loss, and Adam's first moments after it: they are the gradients, scaled.

    Every framework shows its optimiser's state, and not every one shows its gradients.
    """
    loss, wanted = gradients(inputs)
    got_loss = float(outputs["loss"])
    # Written so that a NaN is too far away.
    if not abs(got_loss - loss) <= TOLERANCE * abs(loss):
        raise Wrong(f"loss: expected {loss:.7g}, got {got_loss:.7g}")
    moments = list(outputs["first"])
    if len(moments) != len(wanted):
        raise Wrong(f"expected {len(wanted)} gradients, got {len(moments)}")
    for i, (want, moment) in enumerate(zip(wanted, moments, strict=True)):
        got = np.asarray(moment).astype(np.float64) / (1.0 - BETA1)
        if got.shape != want.shape:
            raise Wrong(f"gradient {i}: expected shape {want.shape}, got {got.shape}")
        apart, size = np.linalg.norm(got - want), np.linalg.norm(want)
        if not apart <= TOLERANCE * size:
            raise Wrong(f"gradient {i}: {apart:.3g} from one of length {size:.3g}")
