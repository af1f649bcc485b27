"""Members whose training goes wrong: noticed after every chunk of optimiser steps, and frozen, or the run is stopped."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from wavecoder.engine import Engine
from wavecoder.training.diverged import Diverged, name_seeds

log = logging.getLogger(__name__)


class Divergence:
    """Notices members that diverge, and keeps them from spoiling anything.

    A member has diverged when its loss or one of its weights is not finite. Either the run ends, or that member is frozen: it
    goes back to its weights at the beginning of the chunk and keeps them, and the others are trained as if nothing had happened.
    If all have diverged, the run ends in any case.

    Args:
        seeds: The seed of each member.
        policy: `freeze`, `stop`, or `auto`: freeze with several members, stop with one.

    Attributes:
        steps: The optimiser steps that each diverged member had done when it diverged, by member.
    """

    def __init__(self, seeds: Sequence[int], policy: str = "auto") -> None:
        self.steps: dict[int, int] = {}
        self._seeds = seeds
        self._stops = policy == "stop" or len(seeds) == 1
        self._before: Float[Tensor, "member parameter"] | None = None

    @property
    def by_seed(self) -> dict[int, int]:
        """`steps` by seed."""
        return {self._seeds[member]: self.steps[member] for member in sorted(self.steps)}

    @property
    def others(self) -> list[int]:
        """The members that have not diverged."""
        return [member for member in range(len(self._seeds)) if member not in self.steps]

    def mean(self, values: Float[Tensor, "... member"]) -> Tensor:
        """The mean over the members that have not diverged."""
        return (values[..., self.others] if self.steps else values).mean(-1)

    def masked(self, values: Float[Tensor, "member ..."]) -> Float[Tensor, "member ..."]:
        """Values of all members, NaN where one has diverged."""
        if not self.steps:
            return values
        masked = values.clone()
        masked[list(self.steps)] = torch.nan
        return masked

    def remember(self, engine: Engine) -> None:
        """Keep the weights as they are before a chunk."""
        weights = engine.flat.detach()
        if self._before is None:
            self._before = weights.clone()
        else:
            self._before.copy_(weights)

    def check(self, engine: Engine, losses: Float[Tensor, "step member"], first_step: int) -> None:
        """Find members that have diverged in a chunk, and put them back to what they were before it, now and from then on.

        Args:
            engine: What has executed the chunk.
            losses: The losses before each of its steps; the same in all processes.
            first_step: The steps that had been done before the chunk.

        Raises:
            Diverged: A member has diverged and the run shall stop, or none is left.
        """
        weights = engine.flat.detach()
        # sums, because to look at each weight takes thirty times as long; and one number, for which the host waits
        if not self.steps and math.isfinite((losses.sum() + weights.sum()).item()):
            return
        is_sound = (losses.isfinite().all(0) & weights.sum(1).isfinite()).tolist()
        if new := [member for member in self.others if not is_sound[member]]:
            self._lose(*_steps_and_reasons(new, losses, first_step), then="; frozen, and the others go on")
        frozen = sorted(self.steps)
        assert self._before is not None
        weights[frozen] = self._before[frozen]
        for state in engine.optimizer.state.values():
            for values in state.values():
                if isinstance(values, Tensor) and values.shape == weights.shape:
                    values[frozen] = 0  # or checkpoints would hold what is not finite

    def judge(self, errors: Float[Tensor, " member"], step: int) -> None:
        """Find members that have diverged by their errors at the end of a run, which are not finite.

        Args:
            errors: Of each member.
            step: The steps of the run.

        Raises:
            Diverged: As in `check`.
        """
        found = {member: step for member in self.others if not errors[member].isfinite()}
        if found:
            self._lose(found, {member: f"its final error was {errors[member].item():g}" for member in found})

    def _lose(self, found: Mapping[int, int], reasons: Mapping[int, str], then: str = "") -> None:
        """Note members that have diverged, and the steps.

        Raises:
            Diverged: The run shall stop, or no member is left.
        """
        self.steps |= found
        first = min(found, key=found.__getitem__)
        line = f"seed {self._seeds[first]} diverged at step {found[first]:,}: {reasons[first]}"
        if self._stops:
            raise Diverged(line, self.by_seed)
        if not self.others:
            raise Diverged(f"all {len(self._seeds)} seeds diverged: {name_seeds(self.by_seed)}", self.by_seed)
        if len(found) > 1:
            line = f"{len(found)} seeds diverged: {name_seeds({self._seeds[member]: found[member] for member in found})}"
        rank_zero_only(log.warning)(line + then)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; the weights of frozen members are among the network's."""
        return {"steps": dict(self.steps)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what a checkpoint has kept."""
        self.steps = dict(state["steps"])


def _steps_and_reasons(
    members: Sequence[int], losses: Float[Tensor, "step member"], first_step: int
) -> tuple[dict[int, int], dict[int, str]]:
    """How many steps members had done when they diverged, and what was seen of it."""
    steps, reasons = {}, {}
    for member in members:
        good = int(losses[:, member].isfinite().long().cumprod(0).sum())
        steps[member] = first_step + good
        reasons[member] = (
            f"its loss was {losses[good, member].item():g}" if good < len(losses) else "its weights were no longer finite"
        )
    return steps, reasons
