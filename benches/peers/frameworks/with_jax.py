"""JAX: functions compiled by XLA through `jax.jit`, optimisers by optax.

Arrays are arguments, never constants, which XLA would compute with while it compiles. What a step
replaces is donated, so that it is updated in place. Backward passes are the ones that `jax.vjp`
makes, called on what it has saved: nothing but the backward pass is timed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

# Before JAX: no search for other devices.
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .cases import EPSILON, LOGITS, NORMALISATIONS, OPTIMISERS, PRODUCTS, STEPS, Case
from .framework import Framework
from .inputs import BETA, BETA1, BETA2, RATE, TINY, Inputs, hwio, nhwc, oihw
from .protocol import Prepared


class Jax(Framework):
    """JAX on the CPU."""

    version = jax.__version__
    variants = {"jax": {}}
    halves = True

    def build(self, case: Case, inputs: Inputs, variant: str) -> Prepared:
        """A case on its inputs."""
        if case.op in PRODUCTS:
            return product(case, inputs)
        if case.op in NORMALISATIONS:
            return normalisation(case, inputs)
        if case.op in LOGITS:
            return logits(case, inputs)
        if case.op in OPTIMISERS:
            return optimiser(case, inputs)
        if case.op in STEPS:
            return training_step(case, inputs)
        return unary(case, inputs)


def open_framework(threads: int) -> Framework:
    """XLA's pool has as many threads as this process may use CPUs."""
    return Jax()


def array_of(values: jax.Array) -> Any:
    """The values, in f32."""
    return np.asarray(values.astype(jnp.float32))


def plain(function: Callable[..., Any], arguments: list[Any], *names: str) -> Prepared:
    """A function of arrays, compiled, and what its results are called."""
    compiled = jax.jit(function)

    def outputs(result: Any) -> dict[str, Any]:
        results = result if isinstance(result, tuple) else (result,)
        return {name: array_of(value) for name, value in zip(names, results, strict=True)}

    return Prepared(lambda: jax.block_until_ready(compiled(*arguments)), outputs)


def backward(forward: Callable[..., Any], arguments: list[Any], dy: Any, *names: str) -> Prepared:
    """The backward pass of a function, from what its forward pass has saved."""
    _, pull_back = jax.jit(lambda *inputs: jax.vjp(forward, *inputs))(*arguments)
    return plain(lambda pull_back, dy: pull_back(dy), [pull_back, dy], *names)


def product(case: Case, inputs: Inputs) -> Prepared:
    """Sums and gives f32, whatever comes in."""
    dtype = jnp.bfloat16 if case.dtype == "bf16" else jnp.float32
    a, b = (jnp.asarray(inputs[name], dtype) for name in ("a", "b"))
    a_transposed, b_transposed = case.transposed

    def multiply(a: Any, b: Any) -> Any:
        a = a.swapaxes(-1, -2) if a_transposed else a
        b = b.swapaxes(-1, -2) if b_transposed else b
        return jnp.matmul(a, b, preferred_element_type=jnp.float32)

    return plain(multiply, [a, b], "c")


def normalise(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, shape: tuple[int, ...]) -> Any:
    """Batch normalisation by given statistics, which have `shape` beside x."""
    scale = gamma * jax.lax.rsqrt(var + EPSILON)
    return (x - mean.reshape(shape)) * scale.reshape(shape) + beta.reshape(shape)


def normalisation(case: Case, inputs: Inputs) -> Prepared:
    """Composed: JAX has no such operator, and XLA fuses it, and the ReLU."""
    names = ("x", "gamma", "beta", "mean", "var")
    x, gamma, beta, mean, var = (jnp.asarray(inputs[name]) for name in names)
    nchw = case.layout == "nchw"
    over = (0, 2, 3) if nchw else tuple(range(x.ndim - 1))
    shape = (-1, 1, 1) if nchw else (-1,)
    last = jax.nn.relu if case.relu else lambda y: y

    def train(x: Any, gamma: Any, beta: Any) -> Any:
        return last(normalise(x, gamma, beta, x.mean(over), x.var(over), shape))

    if case.op == "batch_norm":
        return plain(train, [x, gamma, beta], "y")
    if case.op == "batch_norm_inference":

        def infer(x: Any, gamma: Any, beta: Any, mean: Any, var: Any) -> Any:
            return last(normalise(x, gamma, beta, mean, var, shape))

        return plain(infer, [x, gamma, beta, mean, var], "y")
    return backward(train, [x, gamma, beta], jnp.asarray(inputs["dy"]), "dx", "dgamma", "dbeta")


def logits(case: Case, inputs: Inputs) -> Prepared:
    """Softmax and the losses on logits, those of optax."""
    x = jnp.asarray(inputs["x"])
    labels = jnp.asarray(inputs.labels, jnp.int32)
    forward: dict[str, Callable[[Any], Any]] = {
        "softmax": jax.nn.softmax,
        "log_softmax": jax.nn.log_softmax,
        "log_sum_exp": lambda x: jax.nn.logsumexp(x, axis=1),
    }
    if case.op in forward:
        return plain(forward[case.op], [x], "y")
    if case.op.endswith("_backward"):
        function = forward[case.op.removesuffix("_backward")]
        return backward(function, [x], jnp.asarray(inputs["dy"]), "dx")
    if case.op == "sigmoid_cross_entropy":
        loss_of = lambda x, targets: optax.sigmoid_binary_cross_entropy(x, targets).mean()
        return plain(jax.value_and_grad(loss_of), [x, jnp.asarray(inputs["targets"])], "loss", "dx")
    loss_of = lambda x, labels: mean_cross_entropy(x, labels)
    if case.op == "cross_entropy_loss":
        return plain(loss_of, [x, labels], "loss")
    return plain(jax.value_and_grad(loss_of), [x, labels], "loss", "dx")


def mean_cross_entropy(x: Any, labels: Any) -> Any:
    """Of logits and classes."""
    return optax.softmax_cross_entropy_with_integer_labels(x, labels).mean()


def transformation(op: str) -> optax.GradientTransformation:
    """An optimiser without its learning rate, an argument: XLA must not know that it is 0."""
    if op == "adam":
        return optax.scale_by_adam(BETA1, BETA2, TINY)
    if op == "rmsprop":
        return optax.scale_by_rms(BETA, TINY, eps_in_sqrt=False)
    return optax.trace(BETA) if op == "momentum" else optax.identity()


def apply(
    rule: optax.GradientTransformation, params: Any, grads: Any, state: Any, rate: Any
) -> Any:
    """Parameters and state after a step."""
    updates, state = rule.update(grads, state, params)
    return optax.apply_updates(params, jax.tree.map(lambda update: -rate * update, updates)), state


def optimiser(case: Case, inputs: Inputs) -> Prepared:
    """An optimiser's step; parameters and state are donated."""
    rule = transformation(case.op)
    params, grads = ([jnp.array(p) for p in arrays] for arrays in (inputs.params, inputs.grads))
    rate = jnp.float32(RATE)
    step = jax.jit(
        lambda params, state, grads, rate: apply(rule, params, grads, state, rate),
        donate_argnums=(0, 1),
    )
    now = [params, rule.init(params)]

    def call() -> Any:
        now[:] = jax.block_until_ready(step(*now, grads, rate))

    def outputs(_result: Any) -> dict[str, Any]:
        state = now[1]
        moments = {"momentum": {"first": "trace"}, "rmsprop": {"second": "nu"}}
        moments["adam"] = {"first": "mu", "second": "nu"}
        found = {name: getattr(state, key) for name, key in moments.get(case.op, {}).items()}
        found["params"] = now[0]
        return {name: [array_of(part) for part in parts] for name, parts in found.items()}

    return Prepared(call, outputs)


def network_loss(
    params: list[dict[str, Any]], running: list[Any], x: Any, labels: Any, halves: bool
) -> Any:
    """The loss, and the new running statistics; perhaps with products of bf16."""
    updated: list[Any] = []
    for layer in params:
        weight = layer["weight"]
        if halves:
            x, weight = x.astype(jnp.bfloat16), weight.astype(jnp.bfloat16)
        is_image = weight.ndim == 4
        if is_image:
            layout = ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=layout)
        else:
            # Channels stand first in the rows of a flattened image.
            x = x.transpose(0, 3, 1, 2).reshape(len(x), -1) if x.ndim == 4 else x
            x = x @ weight
        x = x.astype(jnp.float32)
        if "gamma" not in layer:
            x = x + layer["bias"]
            break
        over = tuple(range(x.ndim - 1))
        mean, var = x.mean(over), x.var(over)
        old_mean, old_var = running[len(updated)]
        updated.append((0.9 * old_mean + 0.1 * mean, 0.9 * old_var + 0.1 * var))
        x = jax.nn.relu(normalise(x, layer["gamma"], layer["beta"], mean, var, (-1,)))
        if is_image:
            side = (1, 2, 2, 1)
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, side, side, "VALID")
    return mean_cross_entropy(x, labels), updated


def training_step(case: Case, inputs: Inputs) -> Prepared:
    """A step, whole in one compiled function. Steps follow each other as in a training loop."""
    params: list[dict[str, Any]] = []
    running: list[Any] = []
    for layer in inputs.layers:
        values = {
            "weight": hwio(layer.weight),
            "gamma": layer.gamma,
            "beta": layer.beta,
            "bias": layer.bias,
        }
        params.append({name: jnp.array(v) for name, v in values.items() if v is not None})
        if layer.gamma is not None:
            running.append(
                (jnp.zeros_like(params[-1]["gamma"]), jnp.ones_like(params[-1]["gamma"]))
            )
    rule = transformation("adam")
    x, labels = jnp.asarray(nhwc(inputs["x"])), jnp.asarray(inputs.labels, jnp.int32)
    rate = jnp.float32(0.0)

    def step(params: Any, state: Any, running: Any, x: Any, labels: Any, rate: Any) -> Any:
        valued = jax.value_and_grad(network_loss, has_aux=True)
        (loss, running), grads = valued(params, running, x, labels, case.halves)
        params, state = apply(rule, params, grads, state, rate)
        return params, state, running, loss

    compiled = jax.jit(step, donate_argnums=(0, 1, 2))
    now = [params, rule.init(params), running]

    def call() -> Any:
        *now[:], loss = compiled(*now, x, labels, rate)
        return loss

    def outputs(loss: Any) -> dict[str, Any]:
        names = ("weight", "gamma", "beta", "bias")
        moments = [
            oihw(array_of(layer[name]))
            for layer in now[1].mu
            for name in names
            if name in layer
        ]
        return {"loss": loss, "first": moments}

    return Prepared(call, outputs, jax.block_until_ready)


def unary(case: Case, inputs: Inputs) -> Prepared:
    """Elementwise functions, and their backward passes from the forward pass's output."""
    if case.op.endswith("_backward"):
        slopes: dict[str, Callable[[Any, Any], Any]] = {
            "relu_backward": lambda y, dy: jnp.where(y > 0, dy, 0),
            "sigmoid_backward": lambda y, dy: dy * y * (1 - y),
            "tanh_backward": lambda y, dy: dy * (1 - y * y),
        }
        return plain(slopes[case.op], [jnp.asarray(inputs[name]) for name in ("y", "dy")], "dx")
    functions = {"exp": jnp.exp, "ln": jnp.log, "tanh": jnp.tanh}
    functions |= {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}
    return plain(functions[case.op], [jnp.asarray(inputs["x"])], "y")
