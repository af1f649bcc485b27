"""What a sweep is made of: its jobs, with their overrides, folders and fingerprints, each composed once."""

import copy
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from wavecoder.runs import results
from wavecoder.runs.limits import SettingError
from wavecoder.runs.resolvers import folder_name
from wavecoder.runs.settings import OF_SWEEPS

_MOST_JOBS = 1_000_000  # of a sweep: more would fill the memory before the first one starts
STACKS = ".stacks"  # the folder in a sweep's of ensembles that stand for several jobs


@dataclass(frozen=True)
class Job:
    """One configuration of a sweep.

    Attributes:
        name: Of its folder in the sweep's.
        overrides: What it chose on the command line.
        fingerprint: Of its configuration.
        stacked: If it stands for several jobs that differ in their seeds alone: those jobs, in the order of their seeds.
    """

    name: str
    overrides: tuple[str, ...]
    fingerprint: str
    stacked: tuple["Job", ...] = ()


class Composer:
    """Composes the configurations of a sweep's jobs.

    Hydra takes a tenth of a second for each. What jobs have in common, their choices of options, is composed once, and values are
    set in a copy of it, as Hydra itself does at the end.

    Args:
        loader: Hydra's.
        config: The sweep's own configuration.
    """

    def __init__(self, loader: ConfigLoader, config: DictConfig) -> None:
        self._loader = loader
        self._config = config
        self._parser = OverridesParser.create()
        self._parsed: dict[str, Override] = {}
        self._common: dict[tuple[str, ...], DictConfig] = {}
        self._settable: dict[tuple[tuple[str, ...], tuple[str, ...]], DictConfig] = {}
        self._texts: dict[tuple[str, ...], str] = {}

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a job, with its `hydra` node.

        Raises:
            HydraException: An option or a key does not exist.
            OmegaConfBaseException: A value is of another type.
        """
        values = [override for override in map(self._parse, overrides) if self._is_value(override)]
        config = copy.deepcopy(self.common(overrides))
        for override in values:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.overrides.task = list(overrides)
            config.hydra.job.override_dirname = self._dirname(overrides)
        return config

    def fingerprint(self, overrides: Sequence[str]) -> str:
        """The fingerprint of a job's configuration, without composing all of it.

        Raises:
            OmegaConfBaseException: A key does not exist, or a value is of another type.
        """
        values = [override for override in map(self._parse, overrides) if self._is_value(override)]
        if any(isinstance(override.value(), dict) for override in values):
            return results.fingerprint(self.compose(overrides))
        # jobs that set the same keys share one configuration, in which each replaces the values of the one before
        shared = self._choices(overrides), tuple(override.key_or_group for override in values)
        if shared not in self._settable:
            self._settable[shared] = without_hydra(self.common(overrides))
        for override in values:
            OmegaConf.update(self._settable[shared], override.key_or_group, override.value(), merge=True)
        return results.fingerprint(self._settable[shared])

    def name(self, overrides: Sequence[str]) -> str:
        """The name of a job's folder."""
        return folder_name(self._dirname(overrides))

    def key(self, overrides: Sequence[str]) -> str:
        """What a job's configuration depends on, as a short hash that takes no composition of the job itself."""
        choices = self._choices(overrides)
        if choices not in self._texts:
            self._texts[choices] = results.fingerprint(self.common(overrides))
        values = [override for override in overrides if override not in choices]
        if any("${" in value for value in values):  # what they refer to may change, as the environment does
            values.append(self.fingerprint(overrides))
        if "data.path" in {override.partition("=")[0] for override in overrides} or self.common(overrides).data.get("path"):
            values.append(self.fingerprint(overrides))  # the file may have changed
        return hashlib.sha256("\n".join([version("wavecoder"), self._texts[choices], *values]).encode()).hexdigest()[:32]

    def common(self, overrides: Sequence[str]) -> DictConfig:
        """What the configuration of a job is before single values are set; not to be changed."""
        choices = self._choices(overrides)
        if choices not in self._common:
            self._common[choices] = self._loader.load_sweep_config(self._config, list(choices))
        return self._common[choices]

    def _choices(self, overrides: Sequence[str]) -> tuple[str, ...]:
        return tuple(override for override in overrides if not self._is_value(self._parse(override)))

    def _parse(self, override: str) -> Override:
        if override not in self._parsed:
            self._parsed[override] = self._parser.parse_override(override)
        return self._parsed[override]

    def _is_value(self, override: Override) -> bool:
        """Whether it sets a value of a key that exists, rather than choosing an option or changing which keys there are."""
        changes_keys = override.is_add() or override.is_force_add() or override.is_delete()
        if override.package is not None or changes_keys or override.is_hydra_override():
            return False
        key = override.key_or_group
        return key.partition(".")[0] in self._config and key not in self._config.hydra.runtime.choices

    def _dirname(self, overrides: Sequence[str]) -> str:
        naming = self._config.hydra.job.config.override_dirname
        chosen = [self._parse(override) for override in overrides]
        shown = [override for override in chosen if not override.is_hydra_override()]
        return get_overrides_dirname(shown, naming.exclude_keys, naming.item_sep, naming.kv_sep)


def job_overrides(arguments: Sequence[str], loader: ConfigLoader) -> list[tuple[str, ...]]:
    """The overrides of every job of a sweep: every combination of its choices, without the settings of the sweep as a whole.

    Args:
        arguments: What is swept, as on the command line.
        loader: Hydra's.

    Raises:
        HydraException: A choice cannot be enumerated.
        SettingError: There are too many.
    """
    overrides = OverridesParser.create(loader).parse_overrides(list(arguments))
    of_jobs = [override for override in overrides if override.key_or_group not in OF_SWEEPS]
    if (count := math.prod(map(_number_of_values, of_jobs))) > _MOST_JOBS:
        raise SettingError(f"-m: the choices stand for about {count:.0e} jobs; at most {_MOST_JOBS:,} make a sweep")
    return [tuple(job) for job in BasicSweeper.split_arguments(of_jobs, max_batch_size=None)[0]]


def _number_of_values(override: Override) -> int | float:
    """How many values a choice stands for, about, without making them."""
    values = override.value()
    if isinstance(values, ChoiceSweep):
        return len(values.list)
    if isinstance(values, RangeSweep) and values.start is not None and values.stop is not None and values.step:
        return max(0, math.ceil((values.stop - values.start) / values.step))
    return 1


def short_names(jobs: Sequence[Job]) -> dict[str, str]:
    """What tells each job from the others, in a few words, by its name."""
    common = set(jobs[0].overrides).intersection(*(job.overrides for job in jobs)) if len(jobs) > 1 else set()
    return {job.name: " ".join(each.replace("'", "") for each in job.overrides if each not in common) or job.name for job in jobs}


def make_job(composer: Composer, overrides: Sequence[str]) -> Job:
    """One job of a sweep."""
    return Job(composer.name(overrides), tuple(overrides), composer.fingerprint(overrides))


def stack_seeds(jobs: Iterable[Job], composer: Composer) -> list[Job]:
    """Make one ensemble of all jobs that differ in nothing but `seed`, for each range of seeds without a gap.

    A job that has several seeds already, or no `seed` among its overrides, stays as it is. So does one with signals of its own
    (data.per_seed=true): the references of an ensemble are measured on the signals of all its members.
    """
    single: list[Job] = []
    alike: dict[tuple[tuple[str, ...], str], list[tuple[int, Job]]] = {}
    for job in jobs:
        others = tuple(override for override in job.overrides if not override.startswith("seed="))
        config = composer.compose(job.overrides)
        if len(others) < len(job.overrides) and config.num_seeds == 1 and not config.data.per_seed:
            # other values may refer to the seed
            alike.setdefault((others, results.fingerprint(config, without="seed")), []).append((config.seed, job))
        else:
            single.append(job)
    for (others, _), numbered in alike.items():
        ordered = sorted(numbered, key=lambda pair: pair[0])
        for _, consecutive in groupby(enumerate(ordered), key=lambda item: item[1][0] - item[0]):
            members = [member for _, member in consecutive]
            single.append(members[0][1] if len(members) == 1 else _stack(others, members, composer))
    return single


def _stack(others: tuple[str, ...], members: Sequence[tuple[int, Job]], composer: Composer) -> Job:
    overrides = (*others, f"seed={members[0][0]}", f"num_seeds={len(members)}")
    if composer.compose(overrides).on_divergence != "auto":  # each is a run of its own: the others go on
        overrides = (*(each for each in overrides if not each.startswith("on_divergence=")), "on_divergence=freeze")
    job = make_job(composer, overrides)
    return Job(f"{STACKS}/{job.name}", job.overrides, job.fingerprint, tuple(member for _, member in members))


def shared_seeds(jobs: Iterable[Job], composer: Composer) -> list[str]:
    """What to say of jobs that differ in `seed` alone and have some seeds in common, as `seed=1,2 num_seeds=2` gives."""
    alike: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        if any(override.startswith("seed=") for override in job.overrides):
            alike.setdefault(tuple(each for each in job.overrides if not each.startswith("seed=")), []).append(job)
    said: dict[str, None] = {}
    for group in alike.values():
        number = composer.compose(group[0].overrides).num_seeds if len(group) > 1 else 1
        firsts = sorted(composer.compose(job.overrides).seed for job in group) if number > 1 else []
        counts = Counter(first + each for first in firsts for each in range(number))
        if twice := sorted(seed for seed, count in counts.items() if count > 1):
            seeds = ", ".join(map(str, twice if len(twice) <= 6 else [*twice[:5], "…"]))
            given = f"seed={','.join(map(str, firsts))} with num_seeds={number}"
            line = f"{given}: seeds {seeds} are in several jobs, and count each time"
            if len(counts) == max(counts) - min(counts) + 1:  # no gaps
                line += f"; seed=range({min(counts)},{max(counts) + 1},{number}) has each once"
            said[line] = None
    return list(said)


def without_hydra(config: DictConfig) -> DictConfig:
    """A copy of a configuration without its `hydra` node: what a run is given."""
    plain = copy.deepcopy(config)
    with read_write(plain), open_dict(plain):
        del plain["hydra"]
    return plain
