"""Inference methods, one file each, all called through `solve`.

To add a method: write one file with a subclass of Method, and put it into METHODS. The contract tests take it from
there.
"""

from taskpgm.inference.branch_and_bound import BranchAndBound
from taskpgm.inference.driver import solve
from taskpgm.inference.exhaustive import Exhaustive
from taskpgm.inference.method import Answer, Deadline, Method
from taskpgm.inference.simplex_qp import SimplexQP

METHODS: tuple[Method, ...] = (SimplexQP(), Exhaustive(), BranchAndBound())

__all__ = ["METHODS", "Answer", "BranchAndBound", "Deadline", "Exhaustive", "Method", "SimplexQP", "solve"]
