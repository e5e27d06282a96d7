"""PaddlePaddle in its eager mode.

Backward passes go through `paddle.grad` on a graph that is kept: nothing but the backward pass is
timed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import paddle
import paddle.nn.functional as F

from .cases import EPSILON, LOGITS, NORMALISATIONS, OPTIMISERS, PRODUCTS, TRAINING, Absent, Case
from .framework import Framework
from .inputs import BETA, BETA1, BETA2, RATE, TINY, Inputs, Layer
from .protocol import Prepared

# Each value takes 0.07 ns for every column: 300 ms on 4096x1000, 77 s on 64x128256.
LONGEST_LOG_SOFTMAX = 10_000


class Paddle(Framework):
    """PaddlePaddle on the CPU."""

    version = paddle.__version__
    variants = {"paddle": {}}

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
        if case.op == TRAINING:
            return training_step(inputs)
        return unary(case, inputs)


def open_framework(threads: int) -> Framework:
    """Its threads are those of its BLAS and of OpenMP."""
    paddle.set_device("cpu")
    paddle.base.core.set_num_threads(threads)
    return Paddle()


def array_of(values: paddle.Tensor) -> Any:
    """The values, in f32."""
    return values.detach().astype("float32").numpy()


def plain(function: Callable[..., Any], arguments: list[Any], *names: str) -> Prepared:
    """A function of tensors, and what its results are called."""

    def outputs(result: Any) -> dict[str, Any]:
        results = result if isinstance(result, (tuple, list)) else (result,)
        return {name: array_of(value) for name, value in zip(names, results, strict=True)}

    return Prepared(lambda: function(*arguments), outputs)


def backward(function: Callable[..., Any], arguments: list[Any], dy: Any, *names: str) -> Prepared:
    """The backward pass of a function, again and again from one forward pass."""
    for argument in arguments:
        argument.stop_gradient = False
    y = function(*arguments)
    return plain(lambda: paddle.grad(y, arguments, [dy], retain_graph=True), [], *names)


def product(case: Case, inputs: Inputs) -> Prepared:
    """Of f32: on the CPU there is no other."""
    if case.dtype != "f32":
        raise Absent(f"{case.op} in {case.dtype}")
    a, b = (paddle.to_tensor(inputs[name]) for name in ("a", "b"))
    a_transposed, b_transposed = case.transposed
    return plain(lambda: paddle.matmul(a, b, a_transposed, b_transposed), [], "c")


def normalisation(case: Case, inputs: Inputs) -> Prepared:
    """Batch normalisation, and ReLU as a second call."""
    names = ("x", "gamma", "beta", "mean", "var")
    x, gamma, beta, mean, var = (paddle.to_tensor(inputs[name]) for name in names)
    layout = {"rows": "NC", "nchw": "NCHW", "nhwc": "NHWC"}[case.layout]
    training = case.op != "batch_norm_inference"

    def forward(x: Any, gamma: Any, beta: Any) -> Any:
        y = F.batch_norm(x, mean, var, gamma, beta, training, 0.9, EPSILON, layout)
        return F.relu(y) if case.relu else y

    if case.op != "batch_norm_backward":
        return plain(forward, [x, gamma, beta], "y")
    dy = paddle.to_tensor(inputs["dy"])
    return backward(forward, [x, gamma, beta], dy, "dx", "dgamma", "dbeta")


def logits(case: Case, inputs: Inputs) -> Prepared:
    """Softmax and the losses on logits."""
    x = paddle.to_tensor(inputs["x"])
    forward: dict[str, Callable[[Any], Any]] = {
        "softmax": F.softmax,
        "log_softmax": F.log_softmax,
        "log_sum_exp": lambda x: paddle.logsumexp(x, 1),
    }
    if "log_softmax" in case.op and case.dims[1] > LONGEST_LOG_SOFTMAX:
        raise Absent(f"its log-softmax takes too long on rows of {case.dims[1]}")
    if case.op in forward:
        return plain(forward[case.op], [x], "y")
    if case.op.endswith("_backward"):
        function = forward[case.op.removesuffix("_backward")]
        return backward(function, [x], paddle.to_tensor(inputs["dy"]), "dx")
    loss_of, target = F.cross_entropy, paddle.to_tensor(inputs.labels)
    if case.op == "sigmoid_cross_entropy":
        loss_of, target = F.binary_cross_entropy_with_logits, paddle.to_tensor(inputs["targets"])
    if case.op == "cross_entropy_loss":
        return plain(loss_of, [x, target], "loss")
    x.stop_gradient = False

    def loss_and_gradient() -> Any:
        loss = loss_of(x, target)
        return loss, *paddle.grad(loss, [x])

    return plain(loss_and_gradient, [], "loss", "dx")


def make_optimiser(op: str, params: list[Any], rate: float) -> Any:
    """As its users make it; many tensors at once where Paddle has that."""
    if op == "adam":
        # Its fused kernel for many tensors wants a GPU.
        return paddle.optimizer.Adam(rate, BETA1, BETA2, TINY, parameters=params)
    if op == "rmsprop":
        return paddle.optimizer.RMSProp(rate, BETA, TINY, parameters=params)
    if op == "momentum":
        return paddle.optimizer.Momentum(rate, BETA, parameters=params)
    return paddle.optimizer.SGD(rate, parameters=params)


def parameter(values: Any) -> Any:
    """A tensor that is trained."""
    return paddle.create_parameter(
        list(values.shape), "float32", default_initializer=paddle.nn.initializer.Assign(values)
    )


def moments_of(made: Any, params: list[Any], kind: str) -> list[Any]:
    """An optimiser's state, from the dictionary that it would be saved as."""
    state = made.state_dict()
    return [
        array_of(state[next(key for key in state if key.startswith(f"{p.name}_{kind}"))])
        for p in params
    ]


def optimiser(case: Case, inputs: Inputs) -> Prepared:
    """An optimiser's step on gradients that are there."""
    params = [parameter(p) for p in inputs.params]
    for param, grad in zip(params, inputs.grads, strict=True):
        param.grad = paddle.to_tensor(grad)
    made = make_optimiser(case.op, params, RATE)
    kinds = {"momentum": {"first": "velocity"}, "rmsprop": {"second": "mean_square"}}
    kinds["adam"] = {"first": "moment1", "second": "moment2"}

    def outputs(_result: Any) -> dict[str, Any]:
        found = {
            name: moments_of(made, params, kind) for name, kind in kinds.get(case.op, {}).items()
        }
        return found | {"params": [array_of(p) for p in params]}

    return Prepared(made.step, outputs)


def network(layers: list[Layer]) -> paddle.nn.Sequential:
    """Linear layers, batch normalisation and ReLU behind all but the last."""
    stack: list[Any] = []
    for layer in layers:
        outputs, inputs = layer.weight.shape
        stack.append(
            paddle.nn.Linear(inputs, outputs, bias_attr=None if layer.bias is not None else False)
        )
        stack[-1].weight.set_value(np.ascontiguousarray(layer.weight.T))
        if layer.bias is not None:
            stack[-1].bias.set_value(layer.bias)
        if layer.gamma is not None:
            stack += [paddle.nn.BatchNorm1D(outputs, epsilon=EPSILON), paddle.nn.ReLU()]
            stack[-2].weight.set_value(layer.gamma)
            stack[-2].bias.set_value(layer.beta)
    return paddle.nn.Sequential(*stack)


def training_step(inputs: Inputs) -> Prepared:
    """Forward, backward and Adam."""
    model = network(inputs.layers)
    x, labels = paddle.to_tensor(inputs["x"]), paddle.to_tensor(inputs.labels)
    # The running statistics are parameters too, that nobody trains.
    params = [param for param in model.parameters() if not param.stop_gradient]
    made = make_optimiser("adam", params, 0.0)

    def step() -> Any:
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        made.step()
        made.clear_grad(set_to_zero=False)
        return loss

    def outputs(loss: Any) -> dict[str, Any]:
        # Weights are stored as (inputs, outputs) here; a vector is its own transpose.
        return {
            "loss": array_of(loss),
            "first": [moment.T for moment in moments_of(made, params, "moment1")],
        }

    return Prepared(step, outputs)


def unary(case: Case, inputs: Inputs) -> Prepared:
    """Elementwise functions, and the backward operators of those that have one."""
    functions = {"exp": paddle.exp, "ln": paddle.log, "tanh": paddle.tanh}
    functions |= {"sigmoid": F.sigmoid, "relu": F.relu}
    if case.op.endswith("_backward"):
        operators = {
            "relu_backward": paddle._C_ops.relu_grad,
            "sigmoid_backward": paddle._C_ops.sigmoid_grad,
            "tanh_backward": paddle._C_ops.tanh_grad,
        }
        arguments = [paddle.to_tensor(inputs[name]) for name in ("y", "dy")]
        return plain(operators[case.op], arguments, "dx")
    return plain(functions[case.op], [paddle.to_tensor(inputs["x"])], "y")
