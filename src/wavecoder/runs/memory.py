"""How much memory a run needs, estimated from its settings before anything is made, against how much there is. Without torch."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

from wavecoder.families import FAMILIES
from wavecoder.runs.limits import SettingError
from wavecoder.runs.settings import Settings

_PROCESS = 500_000_000  # Python, PyTorch and Lightning
_USUAL = {
    "num_seeds": 1,
    "model": 13_375,
    "data.train_size": 20_000,
    "data.val_size": 1_000,
    "data.signal_length": 100,
    "data.batch_size": 64,
    "noise.copies": 10,
    "noise.draws": 50,
    "engine.steps_per_execution": 100,
    "noise.eval_std": 10,
    "data.sigma": 2.25,
    "data.dt": 0.1,
}
"""What is usual, as in the paper: of the settings that a need follows from, the one is named that is farthest from it."""
_BLOCK = 4096  # signals that are measured at a time
_CGROUPS = Path("/sys/fs/cgroup")


class Size(NamedTuple):
    """The size of one network.

    Attributes:
        parameters: Number of parameters.
        activations: Number of values that its layers give for one signal.
    """

    parameters: int
    activations: int


class Need(NamedTuple):
    """Something that takes memory.

    Attributes:
        size: Bytes.
        causes: The settings that it grows with, and what they are.
    """

    size: float
    causes: dict[str, float]


def check_memory(settings: Settings, size: Size, references: bool = True, beside: int = 1) -> None:
    """Refuse a run that needs more memory than there is.

    Args:
        settings: The checked settings.
        size: That of one network.
        references: Whether there are references.
        beside: How many such runs there are at a time.

    Raises:
        SettingError: It does; the setting is named that weighs most.
    """
    needs, there = list(estimate(settings, size, references)), available()
    copies = beside * max(1, settings.processes // int(settings.trainer.get("num_nodes", 1)))
    needed = copies * (_PROCESS + sum(need.size for need in needs))
    if needed <= there:
        return
    setting = _cause(max(needs))
    together = f" for {copies} processes" if copies > 1 else ""
    if needed / copies <= there:  # one has room
        setting = f"trainer.devices={settings.trainer.get('devices')}" if beside == 1 else f"hydra.launcher.n_jobs={beside}"
    raise SettingError(f"{setting}: needs about {_text(needed)} of memory{together}, and {_text(there)} are available")


def check_references(settings: Settings) -> None:
    """Refuse signals and noise for which the references alone need more memory than there is.

    Raises:
        SettingError: They do; the setting is named that weighs most.
    """
    need, there = Need(80 * _codes(settings), _of_codes(settings)), available()
    if need.size > there:
        raise SettingError(f"{_cause(need)}: needs about {_text(need.size)} of memory, and {_text(there)} are available")


def _cause(need: Need) -> str:
    """The setting that makes something large, as on the command line."""
    name = max(need.causes, key=lambda each: need.causes[each] / _USUAL[each])
    value = need.causes[name]
    shown = {"model": f"model: {value:,.0f} parameters for each seed", "noise.eval_std": "noise.eval_std"}
    return shown.get(name, f"{name}={int(value) if value % 1 == 0 and value < 1e15 else value}")


def estimate(settings: Settings, size: Size, references: bool = True) -> Iterator[Need]:
    """What takes memory in a run, to within a factor of about two in sum.

    Args:
        settings: The checked settings.
        size: That of one network.
        references: Whether there are references.
    """
    data, noise, seeds = settings.data, settings.noise, float(settings.num_seeds)
    value = 8 if str(settings.trainer.get("precision")) == "64-true" else 4
    length, rows, levels = float(data.signal_length), float(noise.copies) * noise.draws, len(noise.eval_std)
    batch = float(data.batch_size * settings.accumulate) / settings.processes
    of_seeds, of_length = {"num_seeds": seeds}, {"data.signal_length": length}
    # the parameters, their gradients, two moments of them, those before the chunk, and copies while a checkpoint is written
    yield Need(9 * value * seeds * size.parameters, of_seeds | {"model": size.parameters})
    of_batch = of_seeds | of_length | {"data.batch_size": batch}
    yield Need(4 * seeds * batch * (2 * length + size.activations), of_batch | {"model": size.parameters})
    steps = float(settings.engine.steps_per_execution or 20)
    yield Need(20 * steps * seeds * batch, of_seeds | {"data.batch_size": batch, "engine.steps_per_execution": steps})
    of_set = of_seeds | {"data.train_size": float(data.train_size)}
    yield Need(24 * seeds * data.train_size, of_set)  # the order of an epoch
    if data.path is None:
        yield Need(24 * data.train_size * (seeds if data.per_seed or data.fresh else 1), of_set)
        if data.per_seed and not data.fresh:  # the values of a block of each seed's own signals
            yield Need(2 * value * seeds * min(data.train_size, _BLOCK) * length, of_set | of_length)
    else:
        yield Need(2 * value * (data.train_size + data.val_size) * length, of_set | of_length)
    yield Need(4 * (2 + levels) * data.val_size * length, {"data.val_size": float(data.val_size)} | of_length)
    if levels and data.path is None:
        of_test = of_seeds | of_length | {"noise.copies": float(noise.copies), "noise.draws": float(noise.draws)}
        # noise for each seed is noise that each reference reconstructs
        yield Need(4 * rows * length * (levels * (16 * seeds if data.per_seed else 1) + 3 * seeds), of_test)
    if references:
        yield Need(8 * 8 * length**2, of_length)
        yield Need(80 * _codes(settings), _of_codes(settings))


def _codes(settings: Settings) -> float:
    """How many signals the Bayes denoiser compares with, as `Bayes.codebook` makes them."""
    data, levels = settings.data, settings.noise.eval_std
    if data.path is not None or not levels or data.families is None or data.sigma is None:
        return 0.0
    last = data.dt * max(1, data.signal_length - 1)
    norm = last * math.sqrt(data.signal_length / 3)
    widths = [min(math.sqrt(2) * min(levels) / (FAMILIES[name].amplitude * norm), 0.25 / last) for name in data.families]
    factors = [FAMILIES[name].multiple for name in data.families]
    return sum(10 * data.sigma * factor / width for factor, width in zip(factors, widths, strict=True))


def _of_codes(settings: Settings) -> dict[str, float]:
    data = settings.data
    finest = 1 / min(settings.noise.eval_std, default=1.0)
    return {"noise.eval_std": finest, "data.sigma": data.sigma or 0.0, "data.dt": data.dt} | {
        "data.signal_length": float(data.signal_length)
    }


def available() -> int:
    """Bytes that this process could take now: what the machine has left, or the cgroup of a cluster's job or of a container."""
    return min([psutil.virtual_memory().available, *_left_in_cgroups()])


def _left_in_cgroups() -> Iterator[int]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return  # not Linux
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _left(_CGROUPS, path, "memory.max", "memory.current", "inactive_file")
        elif controllers == "memory":
            yield from _left(_CGROUPS / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _left(root: Path, path: str, limit: str, usage: str, cache: str) -> Iterator[int]:
    """What is left in a cgroup and in those around it, in bytes."""
    own = root / path.lstrip("/")
    for folder in (own, *own.parents):
        if not folder.is_relative_to(root):
            return
        try:
            most = int((folder / limit).read_text())  # which is the word max if there is none
            used = int((folder / usage).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        yield most - used + int(stat.get(cache, 0))


def _text(size: int | float) -> str:
    """A size in bytes for people."""
    if size >= 1e18:
        return f"{size:.0e} bytes"
    power = max(0, min(5, int(math.log10(max(size, 1)) // 3)))
    return f"{size / 1000**power:.{0 if size >= 10 * 1000**power else 1}f} {('bytes', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"
