"""The jobs of a sweep: composed once, named, fingerprinted, stacked."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from run_files import made_up_record

from wavecoder.runs import results
from wavecoder.runs.cli import CONF
from wavecoder.runs.fingerprints import note_fingerprint
from wavecoder.runs.plan import Composer, Job, job_overrides, make_job, shared_seeds, stack_seeds
from wavecoder.runs.shapes import is_record
from wavecoder.runs.stacks import member_record, split_stack

SWEEP = (
    "sweep=mine",
    "activation=relu,tanh",
    "latent='1','5'",
    "optimizer.lr=1e-3,0.01",
    "seed=0,1",
    "model.widths=[20],[20,10]",
)


@pytest.fixture
def loader() -> Iterator[ConfigLoader]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def composer_of(loader: ConfigLoader, *overrides: str) -> Composer:
    config = loader.load_configuration("train", [*overrides, "hydra.mode=MULTIRUN"], run_mode=RunMode.MULTIRUN)
    return Composer(loader, config)


def jobs_of(loader: ConfigLoader, *overrides: str) -> list[Job]:
    composer = composer_of(loader, *overrides)
    return [make_job(composer, each) for each in job_overrides(overrides, loader)]


def test_jobs_are_composed_as_hydra_composes_them(loader: ConfigLoader) -> None:
    config = loader.load_configuration("train", [*SWEEP, "hydra.mode=MULTIRUN"], run_mode=RunMode.MULTIRUN)
    composer = Composer(loader, config)
    chosen = job_overrides(SWEEP, loader)
    assert len(chosen) == 32
    for overrides in chosen:
        whole = loader.load_sweep_config(config, list(overrides))
        assert OmegaConf.to_container(composer.compose(overrides)) == OmegaConf.to_container(whole)
        assert composer.fingerprint(overrides) == results.fingerprint(whole)
        assert composer.name(overrides) == whole.hydra.sweep.subdir


@pytest.mark.parametrize("override", ["+model.more=1", "~callbacks.figures", "optimizer={lr: 0.1}", "experiment=denoising"])
def test_overrides_that_are_no_single_values_are_left_to_hydra(loader: ConfigLoader, override: str) -> None:
    overrides = (override, "seed=3")
    config = loader.load_configuration("train", ["hydra.mode=MULTIRUN"], run_mode=RunMode.MULTIRUN)
    whole = loader.load_sweep_config(config, list(overrides))
    composer = Composer(loader, config)
    assert OmegaConf.to_container(composer.compose(overrides)) == OmegaConf.to_container(whole)
    assert composer.fingerprint(overrides) == results.fingerprint(whole)


@pytest.mark.parametrize("wrong", ["sed=1", "latent.dmi=1", "latent='4'", "seed=one", "data.train_sise=1"])
def test_what_does_not_exist_is_refused(loader: ConfigLoader, wrong: str) -> None:
    composer = composer_of(loader)
    with pytest.raises((HydraException, OmegaConfBaseException)):
        composer.fingerprint((wrong,))


def test_keys_tell_configurations_apart(loader: ConfigLoader) -> None:
    composer = composer_of(loader)
    jobs = [("seed=1",), ("seed=2",), ("activation=relu", "seed=1"), ("activation=tanh", "seed=1"), ("optimizer.lr=1",)]
    assert len({composer.key(job) for job in jobs}) == len(jobs)
    assert composer.key(("seed=1",)) == composer_of(loader).key(("seed=1",))


def seeds_of(jobs: Sequence[Job]) -> list[tuple[str, ...]]:
    return [tuple(member.overrides[-1] for member in job.stacked) for job in jobs]


def test_jobs_that_differ_in_their_seed_alone_are_stacked_without_gaps(loader: ConfigLoader) -> None:
    arguments = ("activation=relu,tanh", "seed=5,3,4,8,10,9")
    stacked = stack_seeds(jobs_of(loader, *arguments), composer_of(loader, *arguments))
    assert seeds_of(stacked) == [("seed=3", "seed=4", "seed=5"), ("seed=8", "seed=9", "seed=10")] * 2
    assert stacked[0].overrides == ("activation=relu", "seed=3", "num_seeds=3")
    assert stacked[0].name.startswith(".stacks/")
    composer = composer_of(loader)
    assert stacked[0].fingerprint == composer.fingerprint(("activation=relu", "seed=3", "num_seeds=3"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("seed=1,3",),
        ("latent.dim=1,2",),
        ("num_seeds=2", "seed=0,1"),
        ("experiment=paper", "seed=0,1"),
        ("data.per_seed=true", "seed=0,1"),
    ],
)
def test_other_jobs_are_left_as_they_are(loader: ConfigLoader, arguments: tuple[str, ...]) -> None:
    jobs = jobs_of(loader, *arguments)
    assert stack_seeds(jobs, composer_of(loader, *arguments)) == jobs


def test_only_what_differs_in_nothing_but_the_seed_is_stacked(loader: ConfigLoader) -> None:
    """Other values may refer to the seed, and a seed may be typed in several ways."""
    dependent = ("data.seed=${seed}", "seed=0,1")
    jobs = jobs_of(loader, *dependent)
    assert stack_seeds(jobs, composer_of(loader, *dependent)) == jobs
    quoted = ("seed='1','2'",)
    (stacked,) = stack_seeds(jobs_of(loader, *quoted), composer_of(loader, *quoted))
    assert len(stacked.stacked) == 2


def test_a_value_that_refers_to_the_environment_is_looked_at_again(loader: ConfigLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for size in ("640", "1280"):
        monkeypatch.setenv("TRAIN_SIZE", size)
        keys.add(composer_of(loader).key(("data.train_size=${oc.env:TRAIN_SIZE}",)))
    assert len(keys) == 2


def test_seeds_that_several_jobs_have_are_named(loader: ConfigLoader) -> None:
    def said(*arguments: str) -> list[str]:
        return shared_seeds(jobs_of(loader, *arguments), composer_of(loader, *arguments))

    line = "seed=1,2,3 with num_seeds=2: seeds 2, 3 are in several jobs, and count each time; seed=range(1,5,2) has each once"
    assert said("seed=3,1,2", "num_seeds=2", "latent.dim=1,5") == [line], "in one line, not for each network"
    assert said("seed=0,1,9", "num_seeds=2") == [
        "seed=0,1,9 with num_seeds=2: seeds 1 are in several jobs, and count each time"
    ], "there are gaps"
    for once in (("seed=1,2",), ("seed=range(1,5,2)", "num_seeds=2")):
        assert said(*once) == []


def test_a_failed_ensemble_removes_what_is_of_another_configuration_alone(loader: ConfigLoader, tmp_path: Path) -> None:
    jobs = (Job("other", ("seed=0",), "0"), Job("own", ("seed=1",), "1"))
    stack = Job(".stacks/both", ("num_seeds=2",), "both", jobs)
    for job, known in zip(jobs, ("of another", "1"), strict=True):
        checkpoint = tmp_path / job.name / results.LAST_CHECKPOINT
        checkpoint.parent.mkdir(parents=True)
        checkpoint.touch()
        note_fingerprint(tmp_path / job.name, known)
    (tmp_path / stack.name).mkdir(parents=True)
    results.write_results(tmp_path / stack.name, {"status": "failed", "error": "No space left on device"})  # nor a traceback
    split_stack(tmp_path, stack, composer_of(loader))
    assert [results.read_record(tmp_path / job.name)["status"] for job in jobs] == ["failed", "failed"]
    assert [(tmp_path / job.name / results.LAST_CHECKPOINT).exists() for job in jobs] == [False, True]


def test_the_record_of_a_member_has_its_own_curves_alone() -> None:
    names, curve = ("linear/excess", "linear/largest_angle"), [[0.5, 0.6], [0.3, 0.4]]
    whole = made_up_record([0.3, 0.4]) | {
        "config_fingerprint": "both",
        "subspace": {"steps": [0, 10]} | dict.fromkeys(names, curve),
    }
    whole["metrics"] |= dict.fromkeys(names, results.summarise([0.3, 0.4]))
    record = json.loads(json.dumps(member_record(whole, Job("job", ("seed=1",), "1"), 1, "../both")))
    assert is_record(record)
    assert record["subspace"] == {"steps": [0, 10]} | {name: [[0.6], [0.4]] for name in names}
