"""TensorFlow: functions traced by `tf.function`, as they are and compiled by XLA.

Tensors are arguments, never constants, which a compiler would compute with. Optimisers are
TensorFlow's own operators, one fused pass each, where Keras composes many: natively twice as slow,
and no faster with XLA. Backward passes are the operators or formulas that TensorFlow's gradients
consist of, on what the forward pass has saved.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

# Before TensorFlow: no devices but the CPU, and errors only.
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

from .cases import EPSILON, LOGITS, NORMALISATIONS, OPTIMISERS, PRODUCTS, STEPS, Case
from .framework import Framework
from .inputs import BETA, BETA1, BETA2, RATE, TINY, Inputs, hwio, nhwc, oihw
from .protocol import Prepared

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]

ops = tf.raw_ops


class TensorFlow(Framework):
    """TensorFlow on the CPU."""

    version = tf.__version__
    variants = {"tensorflow": {}, "tensorflow-xla": {}}

    def build(self, case: Case, inputs: Inputs, variant: str) -> Prepared:
        """A case on its inputs."""

        def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
            return tf.function(function, jit_compile=variant == "tensorflow-xla", autograph=False)

        if case.op in PRODUCTS:
            return product(case, inputs, wrap)
        if case.op in NORMALISATIONS:
            return normalisation(case, inputs, wrap)
        if case.op in LOGITS:
            return logits(case, inputs, wrap)
        if case.op in OPTIMISERS:
            return optimiser(case, inputs, wrap)
        if case.op in STEPS:
            return training_step(inputs, wrap)
        return unary(case, inputs, wrap)


def open_framework(threads: int) -> Framework:
    """Tells TensorFlow how many threads it has."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return TensorFlow()


def array_of(values: Any) -> Any:
    """The values, in f32."""
    return tf.cast(values, tf.float32).numpy()


def plain(function: Callable[..., Any], arguments: list[Any], *names: str) -> Prepared:
    """A function of tensors, and what its results are called."""

    def outputs(result: Any) -> dict[str, Any]:
        results = result if isinstance(result, (tuple, list)) else (result,)
        return {name: array_of(value) for name, value in zip(names, results, strict=True)}

    return Prepared(lambda: function(*arguments), outputs)


def product(case: Case, inputs: Inputs, wrap: Wrap) -> Prepared:
    """A product of bf16 matrices is one of bf16 too: half the writing of an f32 result."""
    dtype = tf.bfloat16 if case.dtype == "bf16" else tf.float32
    a, b = (tf.cast(tf.constant(inputs[name]), dtype) for name in ("a", "b"))
    a_transposed, b_transposed = case.transposed
    function = wrap(
        lambda a, b: tf.matmul(a, b, transpose_a=a_transposed, transpose_b=b_transposed)
    )
    return plain(function, [a, b], "c")


def normalisation(case: Case, inputs: Inputs, wrap: Wrap) -> Prepared:
    """The fused operator, which knows images only: rows are images of one pixel."""
    layout = "NCHW" if case.layout == "nchw" else "NHWC"
    image = [-1, 1, 1, case.dims[1]] if case.layout == "rows" else list(case.dims)
    names = ("x", "dy", "gamma", "beta", "mean", "var")
    x, dy, gamma, beta, mean, var = (tf.constant(inputs[name]) for name in names)
    empty = tf.zeros([0])
    training = case.op != "batch_norm_inference"

    def forward(x: Any, gamma: Any, beta: Any, mean: Any, var: Any) -> Any:
        return ops.FusedBatchNormV3(
            x=tf.reshape(x, image),
            scale=gamma,
            offset=beta,
            mean=mean,
            variance=var,
            epsilon=EPSILON,
            data_format=layout,
            is_training=training,
        )

    def activated(*arguments: Any) -> Any:
        y = forward(*arguments).y
        return tf.nn.relu(y) if case.relu else y

    arguments = [x, gamma, beta, *([empty, empty] if training else [mean, var])]
    if case.op != "batch_norm_backward":
        return plain(wrap(activated), arguments, "y")
    saved = wrap(lambda *arguments: tuple(forward(*arguments)))(*arguments)

    def backward(dy: Any, x: Any, gamma: Any, y: Any, r1: Any, r2: Any, r3: Any) -> Any:
        dy = tf.reshape(dy, image)
        found = ops.FusedBatchNormGradV3(
            y_backprop=ops.ReluGrad(gradients=dy, features=y) if case.relu else dy,
            x=tf.reshape(x, image),
            scale=gamma,
            reserve_space_1=r1,
            reserve_space_2=r2,
            reserve_space_3=r3,
            epsilon=EPSILON,
            data_format=layout,
            is_training=True,
        )
        return found.x_backprop, found.scale_backprop, found.offset_backprop

    arguments = [dy, x, gamma, saved[0], *saved[3:]]
    return plain(wrap(backward), arguments, "dx", "dgamma", "dbeta")


def logits(case: Case, inputs: Inputs, wrap: Wrap) -> Prepared:
    """Softmax and the losses on logits."""
    x = tf.constant(inputs["x"])
    forward: dict[str, Callable[[Any], Any]] = {
        "softmax": tf.nn.softmax,
        "log_softmax": tf.nn.log_softmax,
        "log_sum_exp": lambda x: tf.reduce_logsumexp(x, 1),
    }
    if case.op in forward:
        return plain(wrap(forward[case.op]), [x], "y")
    if case.op.endswith("_backward"):
        slopes: dict[str, Callable[[Any, Any], Any]] = {
            "softmax_backward": lambda y, dy: (dy - tf.reduce_sum(dy * y, 1, keepdims=True)) * y,
            "log_softmax_backward": lambda y, dy: (
                dy - tf.exp(y) * tf.reduce_sum(dy, 1, keepdims=True)
            ),
        }
        y = forward[case.op.removesuffix("_backward")](x)
        return plain(wrap(slopes[case.op]), [y, tf.constant(inputs["dy"])], "dx")
    loss_of: Callable[[Any, Any], Any] = mean_cross_entropy
    target = tf.constant(inputs.labels, tf.int32)
    if case.op == "sigmoid_cross_entropy":
        loss_of, target = mean_sigmoid_cross_entropy, tf.constant(inputs["targets"])
    if case.op == "cross_entropy_loss":
        return plain(wrap(loss_of), [x, target], "loss")

    def loss_and_gradient(x: Any, target: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = loss_of(x, target)
        return loss, tape.gradient(loss, x)

    return plain(wrap(loss_and_gradient), [x, target], "loss", "dx")


def row_sums(x: Any) -> Any:
    """As a column."""
    return tf.reduce_sum(x, 1, keepdims=True)


def mean_cross_entropy(x: Any, labels: Any) -> Any:
    """Of logits and classes."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, x))


def mean_sigmoid_cross_entropy(x: Any, targets: Any) -> Any:
    """Of logits and probabilities."""
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, x))


class Rule:
    """An optimiser: its state, and its operator for one tensor after the other."""

    def __init__(self, op: str, params: list[tf.Variable]) -> None:
        self.op = op
        self.params = params
        slots = {
            "momentum": ["first"],
            "rmsprop": ["second", "unused"],
            "adam": ["first", "second"],
        }
        self.state = {
            name: [tf.Variable(tf.zeros_like(p)) for p in params] for name in slots.get(op, [])
        }
        self.step = tf.Variable(0.0)

    def apply(self, grads: list[Any], rate: Any) -> None:
        """A step."""
        if self.op == "adam":
            self.step.assign_add(1.0)
            power1, power2 = tf.pow(BETA1, self.step), tf.pow(BETA2, self.step)
        for i, (param, grad) in enumerate(zip(self.params, grads, strict=True)):
            var = param.handle
            slots = [slot[i].handle for slot in self.state.values()]
            if self.op == "sgd":
                ops.ResourceApplyGradientDescent(var=var, alpha=rate, delta=grad)
            elif self.op == "momentum":
                ops.ResourceApplyMomentum(
                    var=var, accum=slots[0], lr=rate, grad=grad, momentum=BETA
                )
            elif self.op == "rmsprop":
                ops.ResourceApplyRMSProp(
                    var=var,
                    ms=slots[0],
                    mom=slots[1],
                    lr=rate,
                    rho=BETA,
                    momentum=0.0,
                    epsilon=TINY,
                    grad=grad,
                )
            else:
                ops.ResourceApplyAdam(
                    var=var,
                    m=slots[0],
                    v=slots[1],
                    beta1_power=power1,
                    beta2_power=power2,
                    lr=rate,
                    beta1=BETA1,
                    beta2=BETA2,
                    epsilon=TINY,
                    grad=grad,
                )

    def outputs(self) -> dict[str, Any]:
        """Parameters and state."""
        return {
            name: [array_of(part) for part in parts]
            for name, parts in (self.state | {"params": self.params}).items()
        }


def optimiser(case: Case, inputs: Inputs, wrap: Wrap) -> Prepared:
    """An optimiser's step on gradients that are there."""
    rule = Rule(case.op, [tf.Variable(p) for p in inputs.params])
    grads, rate = [tf.constant(g) for g in inputs.grads], tf.constant(RATE)
    step = wrap(rule.apply)
    return Prepared(lambda: step(grads, rate), lambda _: rule.outputs())


class Network:
    """Linear layers, batch normalisation and ReLU behind all but the last."""

    def __init__(self, inputs: Inputs) -> None:
        self.layers: list[dict[str, tf.Variable]] = []
        for layer in inputs.layers:
            values = {
                "weight": hwio(layer.weight),
                "gamma": layer.gamma,
                "beta": layer.beta,
                "bias": layer.bias,
            }
            self.layers.append(
                {name: tf.Variable(v) for name, v in values.items() if v is not None}
            )
        self.params = [variable for layer in self.layers for variable in layer.values()]
        hidden = [layer["gamma"] for layer in self.layers if "gamma" in layer]
        self.means = [tf.Variable(tf.zeros_like(gamma)) for gamma in hidden]
        self.vars = [tf.Variable(tf.ones_like(gamma)) for gamma in hidden]

    def loss(self, x: Any, labels: Any) -> Any:
        """The loss; moves the running statistics."""
        for i, layer in enumerate(self.layers):
            weight = layer["weight"]
            is_image = len(weight.shape) == 4
            if is_image:
                x = tf.nn.conv2d(x, weight, 1, "SAME")
            else:
                # Channels stand first in the rows of a flattened image.
                x = tf.transpose(x, [0, 3, 1, 2]) if len(x.shape) == 4 else x
                x = tf.matmul(tf.reshape(x, [labels.shape[0], -1]), weight)
            if "gamma" not in layer:
                return mean_cross_entropy(x + layer["bias"], labels)
            # Composed: the fused operator is not faster here.
            mean, var = tf.nn.moments(x, list(range(len(x.shape) - 1)))
            self.means[i].assign_add(0.1 * (mean - self.means[i]))
            self.vars[i].assign_add(0.1 * (var - self.vars[i]))
            gamma, beta = layer["gamma"], layer["beta"]
            x = tf.nn.relu(tf.nn.batch_normalization(x, mean, var, beta, gamma, EPSILON))
            x = tf.nn.max_pool2d(x, 2, 2, "VALID") if is_image else x
        raise ValueError("a network ends in a layer with a bias")


def training_step(inputs: Inputs, wrap: Wrap) -> Prepared:
    """A step, whole in one function."""
    network = Network(inputs)
    rule = Rule("adam", network.params)
    x, labels = tf.constant(nhwc(inputs["x"])), tf.constant(inputs.labels, tf.int32)
    arguments = [x, labels, tf.constant(0.0)]

    def step(x: Any, labels: Any, rate: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = network.loss(x, labels)
        rule.apply(tape.gradient(loss, network.params), rate)
        return loss

    compiled = wrap(step)

    def outputs(loss: Any) -> dict[str, Any]:
        # Weights are stored as (inputs, outputs) here; a vector is its own transpose.
        return {"loss": loss, "first": [oihw(moment) for moment in rule.outputs()["first"]]}

    return Prepared(lambda: compiled(*arguments), outputs)


def unary(case: Case, inputs: Inputs, wrap: Wrap) -> Prepared:
    """Elementwise functions, and the gradient operators of those that have one."""
    if case.op.endswith("_backward"):
        operators: dict[str, Callable[[Any, Any], Any]] = {
            "relu_backward": lambda y, dy: ops.ReluGrad(gradients=dy, features=y),
            "sigmoid_backward": lambda y, dy: ops.SigmoidGrad(y=y, dy=dy),
            "tanh_backward": lambda y, dy: ops.TanhGrad(y=y, dy=dy),
        }
        arguments = [tf.constant(inputs[name]) for name in ("y", "dy")]
        return plain(wrap(operators[case.op]), arguments, "dx")
    functions = {"exp": tf.exp, "ln": tf.math.log, "tanh": tf.tanh}
    functions |= {"sigmoid": tf.sigmoid, "relu": tf.nn.relu}
    return plain(wrap(functions[case.op]), [tf.constant(inputs["x"])], "y")
