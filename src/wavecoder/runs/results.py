"""Results on disk: what a run writes, and reading the runs of a sweep."""

import hashlib
import json
import logging
import math
import os
import platform
import statistics
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from wavecoder.runs.hydra_files import read_overrides as read_given
from wavecoder.runs.settings import OF_SWEEPS
from wavecoder.runs.shapes import fits, is_record
from wavecoder.training.checkpoints import BEST, LAST, PREVIOUS
from wavecoder.training.diverged import MOST_NAMED, name_seeds
from wavecoder.training.files import DamagedError, read_file, warn_once, write_atomically

RESULTS = "results.json"
SUMMARY = "summary.csv"  # of a sweep
SCHEMA = 2  # of results.json; raised whenever an older reader would misread it
CHECKSUM = "checksum"
"""The key under which a record has that of the others."""
ENDED = ("completed", "diverged")
"""The statuses of runs that have ended by themselves, and would end in the same way again."""
LAST_CHECKPOINT, PREVIOUS_CHECKPOINT, BEST_CHECKPOINT = (Path("checkpoints", name) for name in (LAST, PREVIOUS, BEST))

NOT_IN_FINGERPRINT = ("hydra", "callbacks", "logger", "threads", "extend", *OF_SWEEPS)
"""What cannot change a run's numbers."""

log = logging.getLogger(__name__)


def summarise(values: Sequence[float]) -> dict[str, Any]:
    """One metric over seeds: its mean, sample standard deviation (0 for one seed), extremes, median, and every value.

    A seed that diverged has no number, and then neither have the statistics: leaving it out would flatter the others.
    """
    if not all(map(math.isfinite, values)):
        finite = [value if math.isfinite(value) else None for value in values]
        return dict.fromkeys(("mean", "std", "min", "max", "median")) | {"per_seed": finite}
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "min": min(values),
        "max": max(values),
        "median": statistics.median(values),
        "per_seed": list(values),
    }


def relevant(config: DictConfig) -> dict[str, Any]:
    """Everything in a configuration that can change a run's numbers, as plain values, the choice of the engine included.

    Args:
        config: The composed configuration.

    Raises:
        OmegaConfBaseException: A value refers to something that is not there.
    """
    return {
        str(key): OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key, value in config.items()
        if key not in NOT_IN_FINGERPRINT
    }


def fingerprint(config: DictConfig, without: str = "", max_epochs: int | None = None) -> str:
    """A short hash of everything in a configuration that can change a run's numbers.

    Args:
        config: The composed configuration.
        without: A key that is left out.
        max_epochs: What counts as `trainer.max_epochs`; values that refer to it stay as they are. None for the configuration's.
    """
    kept = relevant(config)
    kept.pop(without, None)
    if max_epochs is not None:
        kept["trainer"]["max_epochs"] = max_epochs
    if kept.get("on_divergence") == "auto":  # as in runs before there was a choice
        del kept["on_divergence"]
    kept |= {"file": state} if (state := file_state(config)) else {}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def file_state(config: DictConfig) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files that hold the signals of a configuration, so that a changed file is another run."""
    path = OmegaConf.select(config, "data.path")
    if path is None:
        return []
    from wavecoder.files.collection import stamp  # NumPy

    cwd = OmegaConf.select(config, "hydra.runtime.cwd")
    if cwd is None and HydraConfig.initialized():
        cwd = HydraConfig.get().runtime.cwd
    try:
        return stamp(Path(cwd or "", Path(str(path)).expanduser()))
    except OSError:
        return []


def place() -> dict[str, Any]:
    """Where a run works: host and process, and in a job of Slurm that job's id."""
    slurm = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = "_".join(each for each in slurm if each) or os.environ.get("SLURM_JOB_ID")
    return {"host": os.uname().nodename, "pid": os.getpid()} | ({"slurm_job": job} if job else {})


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a run's numbers depend on."""
    packages = ("wavecoder", "torch", "lightning", "hydra-core", "omegaconf", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def origin() -> dict[str, str]:
    """Where results come from: when they were finished (UTC), on which machine, and by which commit of a checkout.

    A `+` after the commit says that files had changed since.
    """
    found = {"finished": datetime.now(UTC).isoformat(timespec="seconds"), "machine": f"{_processor()}, {os.cpu_count()} cores"}
    checkout = Path(__file__).parents[3]
    if (checkout / ".git").exists():
        with suppress(OSError, subprocess.CalledProcessError):  # no git, or a folder of somebody else's
            describe = ["git", "-C", str(checkout), "describe", "--always", "--abbrev=9", "--exclude=*", "--dirty=+"]
            found["commit"] = subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    return found


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Write `results.json` in a run's folder, with a checksum of its content."""
    content = json.loads(json.dumps(results, allow_nan=False))
    content.pop(CHECKSUM, None)  # of what it was before
    write_atomically(folder / RESULTS, json.dumps(content | {CHECKSUM: _checksum(content)}, indent=2) + "\n")


def _checksum(content: Mapping[str, Any]) -> str:
    """Of what was read from JSON, however it was laid out there."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def note_engine(folder: Path, engine: Mapping[str, str]) -> None:
    """Note in the record of a run that has begun by which engine it is trained, and say so if it was another one before."""
    record = read_record(folder)
    before = record.get("engine", engine)["name"]
    if record.get("resumes") and before != engine["name"]:
        log.warning("resumed by another engine (%s) than before (%s); results agree up to rounding", engine["name"], before)
    write_results(folder, record | {"engine": engine})


def load_record(folder: Path) -> dict[str, Any]:
    """The content of `results.json`; one of an earlier version is outdated, or has no checksum that could be verified.

    Raises:
        FileNotFoundError: There is none.
        DamagedError: It is damaged.
    """
    file = folder / RESULTS
    try:
        record: dict[str, Any] = json.loads(read_file(file))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{file}: is damaged") from error
    if fits(record, {"status": str, "schema?": int, "config_fingerprint?": (str, None)}) and record["status"] == "completed":
        version = record.get("schema", 1)
        if version != SCHEMA:
            why = f"written by another version of wavecoder ({RESULTS} of schema {version}; this version reads {SCHEMA})"
            return {"status": "outdated", "error": why, "config_fingerprint": record.get("config_fingerprint")}
    if not is_record(record) or (CHECKSUM in record and record.pop(CHECKSUM) != _checksum(record)):
        raise DamagedError(f"{file}: is damaged")
    return record


def read_record(folder: Path) -> dict[str, Any]:
    """The content of `results.json`; a run that has none yet is unfinished, and so is one whose record is `damaged`."""
    try:
        return load_record(folder)
    except FileNotFoundError:
        return {"status": "unfinished"}
    except DamagedError as error:
        warn_once(f"{error}; the run counts as unfinished")
        return {"status": "unfinished", "damaged": True, "error": f"{RESULTS} is damaged"}


def has_ended(record: Mapping[str, Any], wanted: str) -> bool:
    """Whether a record is that of a run of the configuration with this fingerprint that has ended by itself."""
    return record["status"] in ENDED and record.get("config_fingerprint") == wanted


def read_overrides(folder: Path) -> dict[str, str]:
    """What was chosen for a run on the command line, as Hydra keeps it in the run's folder; nothing while it is being written."""
    try:
        return as_choices(read_given(folder))
    except (FileNotFoundError, DamagedError):
        return {}


def as_choices(overrides: Iterable[str]) -> dict[str, str]:
    """Overrides as they are read by people: values by key."""
    return {key.lstrip("+~"): value.replace("'", "") for key, _, value in (each.partition("=") for each in overrides)}


def as_value(text: str) -> bool | float | str:
    """A choice as what it stands for: a number or a truth value, or else the text."""
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text


def diverged(job: Mapping[str, Any]) -> str:
    """What there is to say of a completed run whose final errors are no numbers, for some seed or for all; else nothing."""
    values = job.get("metrics", {}).get("val/mse", {}).get("per_seed", ())
    lost = sum(value is None for value in values)
    if not lost:
        return ""
    return "diverged" if lost == len(values) else f"{lost} of {len(values)} seeds diverged"


def diverged_seeds(job: Mapping[str, Any]) -> str:
    """Which seeds of a run diverged and at which steps, in a few words; nothing if none did, or that is not known."""
    return name_seeds({int(seed): step for seed, step in job.get("diverged", {}).items()})


def problem(job: Mapping[str, Any]) -> str:
    """What is wrong with a job that is not completed, in one line."""
    said = job.get("error", "")
    if job["status"] == "diverged":  # which that says too
        return said
    return job["status"] + (f": {said}" if said else "")


def dead(job: Mapping[str, Any]) -> str:
    """What there is to say of a run with seeds whose output is the same for every signal; else nothing."""
    seeds = job.get("dead", [])
    if not seeds:
        return ""
    if job["num_seeds"] == 1:
        return "dead: its output is the same for every signal"
    named = ", ".join(map(str, seeds if len(seeds) <= MOST_NAMED else [*seeds[: MOST_NAMED - 1], "…"]))
    return f"{len(seeds)} of {job['num_seeds']} seeds are dead: {named}"


def rank(job: Mapping[str, Any]) -> tuple[bool, float]:
    """Sorts jobs: the best `val/mse` first, those without one last."""
    error = job["metrics"]["val/mse"]["mean"] if "metrics" in job else None
    return ("metrics" not in job, math.inf if error is None else error)


def varied(jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The overrides in which jobs differ."""
    keys = dict.fromkeys(key for job in jobs for key in job["overrides"])
    return [key for key in keys if len({job["overrides"].get(key) for job in jobs}) > 1]


def engines(jobs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many completed jobs were trained by each engine."""
    return dict(Counter(job["engine"]["name"] for job in jobs if job["status"] == "completed"))
