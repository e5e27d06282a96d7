"""PyTorch: eager, compiled, and eager with the heap kept.

Eager is what its users write, with the fused optimisers. `torch-compiled` puts the same functions
through `torch.compile`, which happens before the clock runs. `torch-heap` is eager in a process
whose allocator gives no memory back: an output buffer is then an old one, as if the caller had
brought it, while eager by default may pay for fresh pages in every call.

Backward passes call the operators that autograd would call, with what the forward pass has saved:
nothing but the backward pass is timed, and autograd's own overhead is left out.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

# Before torch: compile in this process. A pool of helpers would stay and disturb others.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import torch
import torch.nn.functional as F

from .cases import EPSILON, LOGITS, NORMALISATIONS, OPTIMISERS, PRODUCTS, STEPS, Absent, Case
from .framework import Framework
from .inputs import BETA, BETA1, BETA2, RATE, TINY, Inputs, Layer
from .protocol import Prepared

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]

aten = torch.ops.aten

# glibc then takes all memory from the heap, in steps of 64 MB, and keeps it.
HEAP = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


class Torch(Framework):
    """PyTorch on the CPU."""

    version = str(torch.__version__)
    variants = {"torch": {}, "torch-compiled": {}, "torch-heap": HEAP}
    halves = True

    def build(self, case: Case, inputs: Inputs, variant: str) -> Prepared:
        """A case on its inputs."""
        wrap: Wrap = lambda function: function
        if variant == "torch-compiled":
            if not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")):
                raise Absent("torch.compile needs a C++ compiler, and there is no g++")
            # It compiles a function for a few shapes only, and then silently runs it eagerly.
            torch._dynamo.reset()
            wrap = lambda function: torch.compile(function, dynamic=False)
        if case.op in PRODUCTS:
            return product(case, inputs, wrap)
        if case.op in NORMALISATIONS:
            return normalisation(case, inputs, wrap)
        if case.op in LOGITS:
            return logits(case, inputs, wrap)
        if case.op in OPTIMISERS:
            return optimiser(case, inputs, wrap)
        if case.op in STEPS:
            return training_step(case, inputs, wrap)
        return unary(case, inputs, wrap)


def open_framework(threads: int) -> Framework:
    """Tells PyTorch how many threads it has."""
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    return Torch()


def tensor(values: Any) -> torch.Tensor:
    """A copy in PyTorch's own memory, which is aligned for its vectors."""
    return torch.from_numpy(values).clone()


def numpy_of(values: torch.Tensor) -> Any:
    """The values, in the layout that the tensor has for us."""
    return values.detach().float().numpy()


def plain(function: Callable[..., Any], arguments: list[torch.Tensor], *names: str) -> Prepared:
    """A function of tensors, and what its results are called."""

    def outputs(result: Any) -> dict[str, Any]:
        results = result if isinstance(result, tuple) else (result,)
        return {name: numpy_of(value) for name, value in zip(names, results, strict=True)}

    return Prepared(lambda: function(*arguments), outputs)


def product(case: Case, inputs: Inputs, wrap: Wrap) -> Prepared:
    """A product of bf16 matrices is one of bf16 too: half the writing of an f32 result."""
    dtype = torch.bfloat16 if case.dtype == "bf16" else torch.float32
    a, b = (tensor(inputs[name]).to(dtype) for name in ("a", "b"))
    a_transposed, b_transposed = case.transposed
    a = a.transpose(-1, -2) if a_transposed else a
    b = b.transpose(-1, -2) if b_transposed else b
    return plain(wrap(torch.bmm if case.op == "gemm_batched" else torch.mm), [a, b], "c")


def images(case: Case, values: Any) -> torch.Tensor:
    """As PyTorch wants images: (n, c, h, w) in shape, and in memory as the case says."""
    return tensor(values).permute(0, 3, 1, 2) if case.layout == "nhwc" else tensor(values)


def normalisation(case: Case, inputs: Inputs, wrap: Wrap) -> Prepared:
    """Batch normalisation, and ReLU as a second call, which compiling may fuse."""
    x, dy = images(case, inputs["x"]), images(case, inputs["dy"])
    gamma, beta, mean, var = (tensor(inputs[n]) for n in ("gamma", "beta", "mean", "var"))
    last = (lambda y: F.relu(y)) if case.relu else (lambda y: y)
    as_case = (lambda y: y.permute(0, 2, 3, 1)) if case.layout == "nhwc" else (lambda y: y)
    if case.op != "batch_norm_backward":
        training = case.op == "batch_norm"
        running = [None, None] if training else [mean, var]

        def forward(x: Any, gamma: Any, beta: Any) -> Any:
            return last(F.batch_norm(x, *running, gamma, beta, training, 0.1, EPSILON))

        function = wrap(forward)
        return Prepared(lambda: function(x, gamma, beta), lambda y: {"y": numpy_of(as_case(y))})
    y, saved_mean, saved_inv_std = torch.native_batch_norm(
        x, gamma, beta, None, None, True, 0.1, EPSILON
    )

    def backward(dy: Any, x: Any, y: Any) -> Any:
        if case.relu:
            dy = aten.threshold_backward(dy, y, 0)
        return aten.native_batch_norm_backward(
            dy, x, gamma, None, None, saved_mean, saved_inv_std, True, EPSILON, [True, True, True]
        )

    function = wrap(backward)

    def outputs(result: Any) -> dict[str, Any]:
        dx, dgamma, dbeta = result
        return {"dx": numpy_of(as_case(dx)), "dgamma": numpy_of(dgamma), "dbeta": numpy_of(dbeta)}

    return Prepared(lambda: function(dy, x, y), outputs)


def logits(case: Case, inputs: Inputs, wrap: Wrap) -> Prepared:
    """Softmax and the losses on logits."""
    x = tensor(inputs["x"])
    labels = tensor(inputs.labels)
    forward: dict[str, Callable[[Any], Any]] = {
        "softmax": lambda x: F.softmax(x, 1),
        "log_softmax": lambda x: F.log_softmax(x, 1),
        "log_sum_exp": lambda x: torch.logsumexp(x, 1),
    }
    if case.op in forward:
        return plain(wrap(forward[case.op]), [x], "y")
    if case.op.endswith("_backward"):
        log = case.op.startswith("log")
        y = (F.log_softmax if log else F.softmax)(x, 1)
        operator = aten._log_softmax_backward_data if log else aten._softmax_backward_data
        function = wrap(lambda dy, y: operator(dy, y, 1, torch.float32))
        return plain(function, [tensor(inputs["dy"]), y], "dx")
    loss_of, target = wrap(F.cross_entropy), labels
    if case.op == "sigmoid_cross_entropy":
        loss_of, target = wrap(F.binary_cross_entropy_with_logits), tensor(inputs["targets"])
    if case.op == "cross_entropy_loss":
        return plain(loss_of, [x, target], "loss")
    x.requires_grad_()

    def loss_and_gradient() -> Any:
        loss = loss_of(x, target)
        return loss, *torch.autograd.grad(loss, x)

    return plain(loss_and_gradient, [], "loss", "dx")


def make_optimiser(op: str, params: list[torch.nn.Parameter], rate: float, fused: bool) -> Any:
    """As its users make it; fused where PyTorch has that."""
    if op == "adam":
        return torch.optim.Adam(params, rate, (BETA1, BETA2), TINY, fused=fused)
    if op == "rmsprop":
        # There is no fused one. Many tensors at once pay for foreach, one does not.
        return torch.optim.RMSprop(params, rate, BETA, TINY, foreach=len(params) > 1)
    return torch.optim.SGD(params, rate, BETA if op == "momentum" else 0.0, fused=fused)


def optimiser(case: Case, inputs: Inputs, wrap: Wrap) -> Prepared:
    """An optimiser's step on gradients that are there."""
    params = [torch.nn.Parameter(tensor(p)) for p in inputs.params]
    for param, grad in zip(params, inputs.grads, strict=True):
        param.grad = tensor(grad)
    made = make_optimiser(case.op, params, RATE, fused=True)
    names = {"momentum": {"first": "momentum_buffer"}, "rmsprop": {"second": "square_avg"}}
    names["adam"] = {"first": "exp_avg", "second": "exp_avg_sq"}

    def outputs(_result: Any) -> dict[str, Any]:
        found = {"params": [numpy_of(p) for p in params]}
        for name, key in names.get(case.op, {}).items():
            found[name] = [numpy_of(made.state[p][key]) for p in params]
        return found

    return Prepared(wrap(made.step), outputs)


class Network(torch.nn.Module):
    """Layers, batch normalisation and ReLU behind all but the last, and pooling behind images."""

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        stack: list[torch.nn.Module] = []
        for layer in layers:
            outputs, inputs, *sides = layer.weight.shape
            if sides:
                edge = sides[0] // 2
                stack.append(torch.nn.Conv2d(inputs, outputs, sides[0], padding=edge, bias=False))
                stack += [torch.nn.BatchNorm2d(outputs, eps=EPSILON), torch.nn.ReLU()]
                stack.append(torch.nn.MaxPool2d(2))
                continue
            stack.append(torch.nn.Flatten())
            stack.append(torch.nn.Linear(inputs, outputs, bias=layer.bias is not None))
            if layer.gamma is not None:
                stack += [torch.nn.BatchNorm1d(outputs, eps=EPSILON), torch.nn.ReLU()]
        self.stack = torch.nn.Sequential(*stack)
        arrays = [array for layer in layers for array in layer.arrays.values()]
        with torch.no_grad():
            for param, array in zip(self.parameters(), arrays, strict=True):
                param.copy_(tensor(array))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.stack(x)


def training_step(case: Case, inputs: Inputs, wrap: Wrap) -> Prepared:
    """Forward, backward and Adam, which stays fused: compiled, large networks are slower.

    In bf16 as its users have it: the forward pass by autocast, parameters in f32.
    """
    model = Network(inputs.layers)
    x, labels = tensor(inputs["x"]), tensor(inputs.labels)
    made = make_optimiser("adam", list(model.parameters()), 0.0, fused=True)

    def forward(x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(x), labels)

    def forward_in_halves(x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return forward(x, labels)

    loss_of = wrap(forward_in_halves if case.halves else forward)

    def step() -> torch.Tensor:
        made.zero_grad(set_to_none=True)
        loss = loss_of(x, labels)
        loss.backward()
        made.step()
        return loss

    def outputs(loss: torch.Tensor) -> dict[str, Any]:
        return {
            "loss": loss.item(),
            "first": [numpy_of(made.state[p]["exp_avg"]) for p in model.parameters()],
        }

    return Prepared(step, outputs)


def unary(case: Case, inputs: Inputs, wrap: Wrap) -> Prepared:
    """Elementwise functions, and the backward operators of those that have one."""
    if case.op.endswith("_backward"):
        operators: dict[str, Callable[[Any, Any], Any]] = {
            "relu_backward": lambda dy, y: aten.threshold_backward(dy, y, 0),
            "sigmoid_backward": aten.sigmoid_backward,
            "tanh_backward": aten.tanh_backward,
        }
        arguments = [tensor(inputs[name]) for name in ("dy", "y")]
        return plain(wrap(operators[case.op]), arguments, "dx")
    functions = {"exp": torch.exp, "ln": torch.log, "tanh": torch.tanh}
    functions |= {"sigmoid": torch.sigmoid, "relu": torch.relu}
    return plain(wrap(functions[case.op]), [tensor(inputs["x"])], "y")
