"""The training step's reference in f64: the network, its gradients, and how they are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .cases import EPSILON, KERNEL, Wrong
from .inputs import BETA1, Inputs, Layer

F64: TypeAlias = NDArray[np.float64]

TOLERANCE = 30 * float(np.finfo(np.float32).eps) ** 0.5
"""Of the loss as a value, of a tensor's gradient as a vector: where the input of a ReLU is within
rounding of zero, it may be on in one network and off in the other, which moves a few elements by
much."""


HALVES = 4 * 2.0**-8
"""What a layer may be off by, relative to its output, where products are of bf16 and tensors are
stored so: both factors, the product and what follows it are rounded."""


def tolerances(layers: int, halves: bool) -> tuple[float, float]:
    """Of the loss and of gradients, of a network of so many layers.

    In bf16 the input of the ReLU of layer l is off by up to l * HALVES of its standard deviation. A
    normal density is at most 0.4, so that up to 0.8 of that change sides of zero, of the half that
    pass their gradient on: in squares, that share of the gradient is another one. The rest is
    rounding, forward and backward through every layer.
    """
    if not halves:
        return TOLERANCE, TOLERANCE
    hidden = layers - 1
    flipped = 1.6 * HALVES * (hidden * (hidden + 1) / 2)
    rounded = HALVES * 2 * layers
    return rounded, flipped**0.5 + rounded


def patches(h: F64) -> F64:
    """Of images (n, channels, height, width): a row for each place, as filters lie over it."""
    edge = KERNEL // 2
    padded = np.pad(h, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (KERNEL, KERNEL), (2, 3))
    return np.ascontiguousarray(windows.transpose(0, 2, 3, 1, 4, 5)).reshape(
        -1, h.shape[1] * KERNEL**2
    )


def scatter(rows: F64, shape: tuple[int, ...]) -> F64:
    """Sums patches into images of `shape`: the transpose of `patches`."""
    n, channels, height, width = shape
    edge = KERNEL // 2
    padded = np.zeros((n, channels, height + 2 * edge, width + 2 * edge))
    parts = rows.reshape(n, height, width, channels, KERNEL, KERNEL).transpose(4, 5, 0, 3, 1, 2)
    for i in range(KERNEL):
        for j in range(KERNEL):
            padded[:, :, i : i + height, j : j + width] += parts[i, j]
    return padded[:, :, edge : edge + height, edge : edge + width]


def squares(images: F64) -> F64:
    """Images cut into squares of side 2, whose four values stand last."""
    n, channels, height, width = images.shape
    cut = images[:, :, : height // 2 * 2, : width // 2 * 2]
    cut = cut.reshape(n, channels, height // 2, 2, width // 2, 2).transpose(0, 1, 2, 4, 3, 5)
    return cut.reshape(n, channels, height // 2, width // 2, 4)


def unpool(dy: F64, images: F64) -> F64:
    """The gradient by images whose squares gave their largest value."""
    n, channels, height, width = dy.shape
    is_largest = squares(images).argmax(4)[..., None] == np.arange(4)
    parts = (is_largest * dy[..., None]).reshape(n, channels, height, width, 2, 2)
    dx = np.zeros_like(images)
    dx[:, :, : height * 2, : width * 2] = parts.transpose(0, 1, 2, 4, 3, 5).reshape(
        n, channels, height * 2, width * 2
    )
    return dx


@dataclass
class Step:
    """What a layer's backward pass needs."""

    layer: Layer
    shape: tuple[int, ...]
    """Of its input."""
    rows: F64
    """Its input, as the weight is multiplied with it."""
    normal: F64
    inv_std: F64
    y: F64

    def images(self, rows: F64) -> F64:
        """Rows of channels as images."""
        n, _, height, width = self.shape
        return rows.reshape(n, height, width, -1).transpose(0, 3, 1, 2)


def gradients(inputs: Inputs) -> tuple[float, list[F64]]:
    """The mean loss, and its gradients by each layer's arrays, in their order."""
    count = len(inputs.labels)
    h = inputs["x"].astype(np.float64)
    tape: list[Step] = []
    for layer in inputs.layers:
        is_image = layer.weight.ndim == 4
        rows = patches(h) if is_image else h.reshape(count, -1)
        z = rows @ flat(layer).T
        step = Step(layer, h.shape, rows, z, z, z)
        tape.append(step)
        if layer.gamma is None:
            z = z if layer.bias is None else z + layer.bias
            break
        step.inv_std = 1.0 / np.sqrt(z.var(0) + EPSILON)
        step.normal = (z - z.mean(0)) * step.inv_std
        step.y = step.normal * layer.gamma + layer.beta
        h = np.maximum(step.y, 0.0)
        h = squares(step.images(h)).max(4) if is_image else h
    shift = z.max(1, keepdims=True)
    lse = shift + np.log(np.exp(z - shift).sum(1, keepdims=True))
    at = (np.arange(count), inputs.labels)
    loss = float((lse[:, 0] - z[at]).mean())
    dz = np.exp(z - lse)
    dz[at] -= 1.0
    dz /= count
    found: list[F64] = []
    for step in reversed(tape):
        vectors, dz = behind(step, dz)
        weight = (dz.T @ step.rows).reshape(step.layer.weight.shape)
        found = [weight, *vectors, *found]
        dz = dz @ flat(step.layer)
        is_image = step.layer.weight.ndim == 4
        dz = scatter(dz, step.shape) if is_image else dz.reshape(step.shape)
    return loss, found


def flat(layer: Layer) -> F64:
    """The weight with all that a result is summed from in a row."""
    return layer.weight.reshape(len(layer.weight), -1).astype(np.float64)


def behind(step: Step, dy: F64) -> tuple[list[F64], F64]:
    """Back over what follows a layer's product: the gradients by its vectors, and by the product."""
    layer = step.layer
    if layer.gamma is None:
        return [dy.sum(0)], dy
    if layer.weight.ndim == 4:
        dy = unpool(dy, step.images(np.maximum(step.y, 0.0)))
        dy = dy.transpose(0, 2, 3, 1).reshape(step.y.shape)
    dy = dy * (step.y > 0.0)
    vectors = [(dy * step.normal).sum(0), dy.sum(0)]
    means = (vectors[1] + step.normal * vectors[0]) / len(dy)
    return vectors, layer.gamma * step.inv_std * (dy - means)


def check(inputs: Inputs, outputs: Mapping[str, Any], halves: bool) -> None:
    """Compares a step's loss, and Adam's first moments after it: they are the gradients, scaled.

    Every framework shows its optimiser's state, and not every one shows its gradients.
    """
    loss, wanted = gradients(inputs)
    got_loss = float(outputs["loss"])
    loss_tolerance, tolerance = tolerances(len(inputs.layers), halves)
    # Written so that a NaN is too far away.
    if not abs(got_loss - loss) <= loss_tolerance * abs(loss):
        raise Wrong(f"loss: expected {loss:.7g}, got {got_loss:.7g}")
    moments = list(outputs["first"])
    if len(moments) != len(wanted):
        raise Wrong(f"expected {len(wanted)} gradients, got {len(moments)}")
    for i, (want, moment) in enumerate(zip(wanted, moments, strict=True)):
        got = np.asarray(moment).astype(np.float64) / (1.0 - BETA1)
        if got.shape != want.shape:
            raise Wrong(f"gradient {i}: expected shape {want.shape}, got {got.shape}")
        apart, size = np.linalg.norm(got - want), np.linalg.norm(want)
        if not apart <= tolerance * size:
            raise Wrong(f"gradient {i}: {apart:.3g} from one of length {size:.3g}")
