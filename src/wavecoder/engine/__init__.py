"""Engines: what executes optimiser steps, a chunk of them per call.

The PyTorch engine does it for every network, loss, optimiser and device. The compiled engine does the common case on CPUs several
times faster, and gives the reason wherever it does not apply.
"""

from typing import NamedTuple

import torch

from wavecoder.engine.base import Chunk, Engine, Problem
from wavecoder.engine.bindings import library
from wavecoder.engine.compiled import CompiledEngine, unsupported_reason
from wavecoder.engine.pytorch import PyTorchEngine
from wavecoder.ensemble import flatten_parameters

__all__ = ["Choice", "Chunk", "Engine", "Problem", "choose", "measuring_engine"]


class Choice(NamedTuple):
    """The engine chosen for a problem.

    Attributes:
        engine: The class.
        name: What it is called in logs and results; engines of different names may round differently.
        reason: Why it was chosen.
    """

    engine: type[Engine]
    name: str
    reason: str


def choose(problem: Problem, wanted: str = "auto") -> Choice:
    """Choose the engine for a problem.

    Args:
        problem: What is to be trained.
        wanted: compiled, pytorch, or auto for the compiled engine wherever it applies.

    Raises:
        ValueError: The compiled engine is wanted and does not apply, or there is no engine of that name.

    Example:
        >>> import torch
        >>> from wavecoder.ensemble import Ensemble
        >>> from wavecoder.networks import DeepAutoencoder
        >>> ensemble = Ensemble(lambda: DeepAutoencoder(100, 5, torch.nn.SiLU), seeds=range(2))
        >>> choose(Problem(ensemble, torch.nn.MSELoss(), torch.device("cpu"))).reason
        'the compiled engine does not know SiLU()'
    """
    if wanted not in (names := ("auto", "compiled", "pytorch")):
        raise ValueError(f"{wanted}: no such engine; there are {', '.join(names)}")
    if wanted == "pytorch":
        return Choice(PyTorchEngine, "PyTorch", "engine=pytorch")
    reason = unsupported_reason(problem)
    if reason is None:
        found = library()
        assert found is not None
        return Choice(CompiledEngine, f"compiled {found.instruction_set}", "the fastest for this network")
    if wanted == "compiled":
        raise ValueError(reason)
    return Choice(PyTorchEngine, "PyTorch", reason)


def measuring_engine(problem: Problem, wanted: str = "auto") -> Engine:
    """An engine that reconstructs with networks as they are; it is not for training.

    The arguments and what is raised are those of `choose`.
    """
    flat = flatten_parameters(problem.ensemble)
    return choose(problem, wanted).engine(problem, flat, torch.optim.SGD([flat], lr=0.0))
