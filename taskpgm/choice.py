"""Choosing the trade-off between utility and diversity by a rule that has a name, instead of a number for beta.

    chosen = choose(network, effective_tasks=6)     # as much utility as six effective tasks leave room for
    chosen = choose(network, knee=True)             # where more utility begins to cost more diversity
    chosen = choose(network, utility_share=0.8)     # 80 % of the way from diversity's utility to the most there is
    chosen = choose(network, nearest_prior=0.8)     # the least departure from the prior with 80 % of the utility
    print(chosen)
    solve(chosen.network, SimplexQP())

The first three choose a beta: on the exact path where there is one (see `taskpgm.exact_path`), else on a sampled one.
The last is a convex program of its own: KL(p || prior) is least among the mixtures that are useful enough.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

from taskpgm.constraints import UtilityFloor
from taskpgm.exact_path import TradeOff, trade_off
from taskpgm.inference import SimplexQP, solve
from taskpgm.inference.critical_line import walk_refusal
from taskpgm.network import TaskNetwork
from taskpgm.sampled_path import SampledPath, most_utility, sampled_path
from taskpgm.types import InputError

Path: TypeAlias = TradeOff | SampledPath
ROUNDING = 1e-12


@dataclass(frozen=True)
class Rule:
    """How the trade-off is chosen: exactly one of these.

    effective_tasks: the largest beta whose mixture still has so many. knee: where utility gained per redundancy taken
    on bends most. utility_share: the least beta whose mixture has come so far from the utility of diversity alone to
    the most. nearest_prior: the mixture nearest to the prior that has come so far from the prior's utility to the most.

    Raises:
        InputError: none or several of them, or a number outside its range.
    """

    effective_tasks: float | None = None
    knee: bool = False
    utility_share: float | None = None
    nearest_prior: float | None = None

    def __post_init__(self) -> None:
        given = [name for name, value in asdict(self).items() if value is not None and value is not False]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise InputError(f"choose: give exactly one of {', '.join(asdict(self))} (found {found}).")
        if self.effective_tasks is not None and not 1.0 <= self.effective_tasks < np.inf:
            raise InputError(f"choose: effective_tasks {self.effective_tasks:g}; expected 1 or more.")
        if self.utility_share is not None and not 0.0 <= self.utility_share <= 1.0:
            raise InputError(f"choose: utility_share {self.utility_share:g}; expected a number from 0 to 1.")
        if self.nearest_prior is not None and not 0.0 <= self.nearest_prior < 1.0:
            raise InputError(f"choose: nearest_prior {self.nearest_prior:g}; expected a number from 0 to below 1.")

    @classmethod
    def parse(cls, text: str) -> Rule:
        """From a word such as "knee" or "effective_tasks=6".

        Raises:
            InputError: no rule of that name, or a value that is no number.
        """
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if name == "knee" and not equals:
            return cls(knee=True)
        if name not in ("effective_tasks", "utility_share", "nearest_prior") or not equals:
            known = "effective_tasks=NUMBER, knee, utility_share=SHARE or nearest_prior=SHARE"
            raise InputError(f"choose {text!r}: expected {known}.")
        try:
            number = float(value)
        except ValueError as error:
            raise InputError(f"choose {text!r}: {value!r} is not a number.") from error
        if name == "effective_tasks":
            return cls(effective_tasks=number)
        return cls(utility_share=number) if name == "utility_share" else cls(nearest_prior=number)


@dataclass(frozen=True, eq=False)
class Choice:
    """What a rule chose. network: its minimiser is the mixture. path: on which beta was chosen. text: in words."""

    rule: Rule
    network: TaskNetwork
    path: Path | None
    text: str

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        rule = {name: value for name, value in asdict(self.rule).items() if value is not None and value is not False}
        return {"rule": rule, "beta": self.network.beta, "text": self.text}

    def __str__(self) -> str:
        return self.text


def choose(
    network: TaskNetwork,
    *,
    effective_tasks: float | None = None,
    knee: bool = False,
    utility_share: float | None = None,
    nearest_prior: float | None = None,
) -> Choice:
    """Choose the trade-off of a network by a rule; see `Rule`. The network's own beta does not matter.

    Raises:
        InputError: none or several rules, one that no mixture of the network keeps, or an energy that is not convex.
    """
    return apply_rule(network, Rule(effective_tasks, knee, utility_share, nearest_prior))


def apply_rule(network: TaskNetwork, rule: Rule) -> Choice:
    """`choose`, with the rule made already."""
    if rule.nearest_prior is not None:
        return _nearest_prior(network, rule, rule.nearest_prior)
    path = path_of(network)
    beta, words = _on_path(path, rule)
    return Choice(rule, network.changed(beta=beta), path, f"{words}: beta {beta:.4g}")


def path_of(network: TaskNetwork) -> Path:
    """The exact path where there is one, else a sampled one.

    Raises:
        InputError: an energy that is not convex.
    """
    return trade_off(network) if walk_refusal(network) is None else sampled_path(network)


def _on_path(path: Path, rule: Rule) -> tuple[float, str]:
    """The rule's beta, and what it is in words."""
    if rule.effective_tasks is not None:
        least, most = path.effective_tasks.min(), path.effective_tasks.max()
        words = f"the most utility that {rule.effective_tasks:g} effective tasks leave room for ({least:.3g} to"
        return path.with_effective_tasks(rule.effective_tasks), f"{words} {most:.3g} are possible)"
    if rule.utility_share is not None:
        words = f"{rule.utility_share:.0%} of the way from the utility of diversity alone to the most there is"
        return path.with_utility_share(rule.utility_share), words
    return path.knee(), "the knee of the path, where utility gained per redundancy taken on bends most"


def _nearest_prior(network: TaskNetwork, rule: Rule, share: float) -> Choice:
    """min KL(p || prior) over the mixtures with u'p >= goal, as a network of its own."""
    u = network.utility
    if float(np.ptp(u)) <= ROUNDING * max(1.0, float(np.abs(u).max())):
        raise InputError("choose: nearest_prior needs utilities that differ; here they are all equal.")
    near = network.changed(beta=0.0, lam=0.0, tau=1.0)
    start = float(u @ network.prior) if network.violation(network.prior) <= ROUNDING else _mean_utility(near)
    most = most_utility(network)
    goal = start + share * (most - start)
    floor = UtilityFloor(dict(zip(network.names, u.tolist(), strict=True)), goal)
    words = f"the mixture nearest to the prior whose mean utility is {goal:.4g}: {share:.0%} of the way from"
    text = f"{words} {start:.4g}, the allowed mixture nearest to the prior, to {most:.4g}, the most there is"
    return Choice(rule, near.changed(constraints=(*network.constraints, floor)), None, text)


def _mean_utility(network: TaskNetwork) -> float:
    solution = solve(network, SimplexQP())
    if solution.point is None:
        raise InputError(f"choose: {solution.message}.")
    return float(network.utility @ solution.point)
