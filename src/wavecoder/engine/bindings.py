"""compiled.c as Python sees it: its structures and functions, built for this CPU.

It is compiled when the package is installed (hatch_build.py), once for each instruction set; PyTorch finds which this CPU has.
"""

import ctypes
import hashlib
import logging
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

ACTIVATIONS = (nn.Identity, nn.ReLU, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.PReLU, nn.GELU)  # in the order of compiled.c
LOSSES = (nn.MSELoss, nn.L1Loss, nn.HuberLoss)  # likewise
MAX_LAYERS = 64

log = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_name("compiled.c")
_number, _decimal, _address = ctypes.c_long, ctypes.c_float, ctypes.c_void_p


class Layer(ctypes.Structure):
    """`struct layer`."""

    _fields_ = [
        *((name, _number) for name in ("inputs", "outputs", "activation", "weight", "bias", "slope")),
        ("fixed_slope", _decimal),
    ]


class Networks(ctypes.Structure):
    """`struct networks`."""

    _fields_ = [*((name, _number) for name in ("members", "size", "depth")), ("layers", ctypes.POINTER(Layer))]


class Signals(ctypes.Structure):
    """`struct signals`."""

    _fields_ = [(name, _address) for name in ("amplitude", "frequency", "phase", "times", "inputs", "targets")]


class Chunk(ctypes.Structure):
    """`struct chunk`."""

    _fields_ = [
        ("networks", ctypes.POINTER(Networks)),
        ("signals", Signals),
        *((name, _number) for name in ("steps", "batch", "loss")),
        *((name, _address) for name in ("adam", "parameters", "first", "second", "losses")),
    ]


class Evaluation(ctypes.Structure):
    """`struct evaluation`."""

    _fields_ = [
        ("networks", ctypes.POINTER(Networks)),
        *((name, _number) for name in ("count", "block")),
        *((name, _address) for name in ("parameters", "inputs", "targets", "outputs", "errors")),
    ]


class Library(NamedTuple):
    """compiled.c built for one instruction set, AVX512 or AVX2."""

    functions: ctypes.CDLL
    instruction_set: str


def instruction_set() -> str:
    """The widest vectors that PyTorch finds on this CPU: AVX512, AVX2 or another word."""
    return torch.backends.cpu.get_cpu_capability()


@cache
def library() -> Library | None:
    """compiled.c built for this CPU; None, with a warning in the log, if there is no build that can be used."""
    candidates = {"AVX512": ["AVX512", "AVX2"], "AVX2": ["AVX2"]}.get(instruction_set(), [])
    problem = None
    for name in candidates:
        file = _SOURCE.with_suffix(f".{name.lower()}.so")
        try:
            return Library(_load(file), name)
        except OSError as error:
            problem = problem or (f"cannot be loaded ({error})" if file.exists() else "was not compiled when this was installed")
        except ValueError:
            problem = problem or "was compiled from another version of its source; install again"
    if problem:
        log.warning("the compiled engine %s, so training is slower", problem)
    return None


def _load(file: Path) -> ctypes.CDLL:
    """Load one library and declare its functions.

    Raises:
        OSError: It is not there or cannot be loaded.
        ValueError: It was built from another version of the source.
    """
    functions = ctypes.CDLL(str(file))
    built_from = (ctypes.c_char * 64).in_dll(functions, "source_sha256").value.decode()  # ValueError if it has none
    if built_from != hashlib.sha256(_SOURCE.read_bytes()).hexdigest():
        raise ValueError(f"{file.name} is not built from {_SOURCE.name}")
    nets = ctypes.POINTER(Networks)
    functions.workspace.argtypes = [nets, _number]
    functions.workspace.restype = _number
    # networks, batch, loss, parameters, gradients, inputs, targets, losses, work, threads
    functions.loss_and_gradients.argtypes = [nets, _number, _number, *[_address] * 6, _number]
    functions.loss_and_gradients.restype = None
    functions.train.argtypes = [ctypes.POINTER(Chunk), _address, _number]
    functions.train.restype = None
    functions.evaluate.argtypes = [ctypes.POINTER(Evaluation), _address, _number]
    functions.evaluate.restype = None
    functions.sines.argtypes = [_number, _address, _address]
    functions.sines.restype = None
    return functions
