"""Case ids, `<op>/<dtype>/<shape>`: all that a worker learns of a problem."""

from __future__ import annotations

import re
from dataclasses import dataclass

FORWARD_BACKWARD = ("relu", "sigmoid", "tanh")
UNARY = ("exp", "ln", *FORWARD_BACKWARD)
PRODUCTS = ("gemm", "gemm_batched")
NORMALISATIONS = ("batch_norm", "batch_norm_backward", "batch_norm_inference")
LOGITS = (
    "softmax",
    "log_softmax",
    "softmax_backward",
    "log_softmax_backward",
    "log_sum_exp",
    "cross_entropy",
    "cross_entropy_loss",
    "sigmoid_cross_entropy",
)
OPTIMISERS = ("sgd", "momentum", "rmsprop", "adam")
TRAINING = "training_step"
CONVOLUTION = "conv_step"
STEPS = (TRAINING, CONVOLUTION)
"""Of linear layers; of images, whose shape stands between the batch and the filters of each layer."""

PRECISIONS = ("bf16", "bf16x6")
"""Of the products of an `f32` network: `training_step/f32-as-bf16/...`. Where ours splits values into
halves, `bf16x6`, a framework computes in `f32`, which is as accurate."""

KERNEL = 3
"""Side of a convolution's filters; a border of zeros keeps the size of images, pooling halves it."""


EPSILON = 1e-5
"""Of batch normalisation."""


class Absent(Exception):
    """This framework does not do such a case; says why."""


class Wrong(Exception):
    """A result is wrong; says where."""


@dataclass(frozen=True)
class Case:
    """A problem: its operation, element type, sizes and what the shape ends in."""

    op: str
    dtype: str
    dims: tuple[int, ...]
    suffixes: tuple[str, ...] = ()
    halves: bool = False
    """Whether products may round what they multiply to bf16."""

    @classmethod
    def parse(cls, case_id: str) -> Case:
        """Reads an id."""
        wrong = ValueError(f"case: expected <op>/<dtype>/<shape>, got {case_id!r}")
        parts = case_id.split("/")
        if len(parts) != 3 or not all(parts):
            raise wrong
        op, dtype, shape = parts
        # The widths of a network stand behind its batch, and everything else is sizes and suffixes.
        steps = {TRAINING: r"\d+x\d+(-\d+)+", CONVOLUTION: r"\d+(x\d+){3}(-\d+){2,}"}
        pattern = steps.get(op, r"\d+(x\d+)*(-[a-z]+)*")
        if not re.fullmatch(pattern, shape):
            raise wrong
        numbers = tuple(int(number) for number in re.findall(r"\d+", shape))
        if 0 in numbers:
            raise ValueError(f"case: expected sizes above 0, got {case_id!r}")
        dtype, _, precision = dtype.partition("-as-") if op in STEPS else (dtype, "", "")
        if precision and precision not in PRECISIONS:
            raise wrong
        suffixes = tuple(re.findall(r"[a-z]+", shape.replace("x", " ")))
        case = cls(op, dtype, numbers, suffixes, halves=precision == "bf16")
        case._check_shape(case_id)
        return case

    def _check_shape(self, case_id: str) -> None:
        """Refuses shapes that the operation cannot have; unknown operations are left to others."""
        suffixes: tuple[tuple[str, ...], ...] = ((),)
        ranks: tuple[int, ...] = (2,)
        if self.op in NORMALISATIONS:
            layouts: tuple[tuple[str, ...], ...] = ((), ("nhwc",), ("nchw",))
            endings: tuple[tuple[str, ...], ...] = ((), ("relu",), ("add", "relu"))
            suffixes = tuple(layout + ending for layout in layouts for ending in endings)
            ranks = (2,) if self.layout == "rows" else (4,)
        elif self.op in PRODUCTS:
            suffixes = ((), ("tn",), ("nt",), ("tt",))
            ranks = (1, 3) if self.op == "gemm" else (4,)
        elif self.op in OPTIMISERS:
            ranks = (1, 2)
        elif self.op in STEPS:
            ranks = (len(self.dims),)
        elif self.op not in LOGITS:
            return
        if len(self.dims) not in ranks or self.suffixes not in suffixes:
            raise ValueError(f"case: {self.op} has no such shape: {case_id!r}")

    @property
    def relu(self) -> bool:
        """Whether a ReLU follows."""
        return "relu" in self.suffixes

    @property
    def layout(self) -> str:
        """`rows`, `nhwc` or `nchw`."""
        return next((name for name in ("nhwc", "nchw") if name in self.suffixes), "rows")

    @property
    def transposed(self) -> tuple[bool, bool]:
        """Whether A is stored as (k, m), and B as (n, k)."""
        letters = next((s for s in self.suffixes if s in ("tn", "nt", "tt")), "nn")
        return letters[0] == "t", letters[1] == "t"

    @property
    def product(self) -> tuple[int, int, int, int]:
        """Batch, m, n and k of a matrix product."""
        sizes = self.dims * 3 if len(self.dims) == 1 else self.dims
        m, n, k = sizes[-3:]
        return sizes[0] if len(sizes) == 4 else 1, m, n, k

    @property
    def checked_calls(self) -> int:
        """How many calls make the result: two steps of an optimiser, to see what it remembers."""
        return 2 if self.op in OPTIMISERS else 1
