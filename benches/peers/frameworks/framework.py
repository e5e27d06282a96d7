"""What all frameworks do alike: draw inputs, build, run, check."""

from __future__ import annotations

from abc import ABC, abstractmethod

from .cases import Absent, Case
from .inputs import Inputs, draw
from .protocol import Prepared
from .reference import check


class Framework(ABC):
    """A Python framework."""

    version: str
    variants: dict[str, dict[str, str]]
    halves: bool = False
    """Whether its networks can multiply in bf16."""

    @abstractmethod
    def build(self, case: Case, inputs: Inputs, variant: str) -> Prepared:
        """A case on its inputs; `Absent` where this framework does not do it."""

    def prepare(self, case: Case, variant: str) -> Prepared:
        """Builds a case, runs it and checks the result."""
        if case.halves and not self.halves:
            raise Absent(f"{case.op} in bf16")
        inputs = draw(case)
        prepared = self.build(case, inputs, variant)
        result = None
        for _ in range(case.checked_calls):
            result = prepared.call()
            prepared.wait(result)
        check(case, inputs, prepared.outputs(result))
        return prepared
