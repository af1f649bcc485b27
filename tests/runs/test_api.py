"""Training from Python: the command's numbers and files, and a process that stays as it was."""

import json
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from omegaconf.basecontainer import BaseContainer
from processes import ROOT, Run, run_command
from run_files import record_of

import wavecoder
from wavecoder.runs.api import _override
from wavecoder.runs.limits import SettingError
from wavecoder.runs.results import write_results

SMALL: dict[str, Any] = {
    "debug": "quick",
    "logger": "none",
    "num_seeds": 2,
    "data.train_size": 640,
    "data.val_size": 64,
    "callbacks.last.every_seconds": 0.0,
    "~callbacks.figures": None,
}
"""A run of two epochs of ten steps; numbers that are not whole are such, for the tests check types."""


def contents(folder: Path) -> dict[str, Any]:
    """What is in a run's folder, but for times and processes."""
    record = record_of(folder)
    for part in ("timing", "place", "origin", "overrides", "checksum"):
        record.pop(part)
    config = (folder / ".hydra" / "config.yaml").read_text()
    return record | {"config": config, "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))}


def test_a_run_is_that_of_the_command(run_train: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = SMALL | {"latent": 3, "optimizer.lr": 3e-3, "+model.widths": [20, 10]}
    model = wavecoder.train(tmp_path / "python", **settings)
    given = ("debug=quick", "logger=none", "num_seeds=2", "data.train_size=640", "data.val_size=64", "~callbacks.figures")
    more = ("callbacks.last.every_seconds=0.0", "latent=3", "optimizer.lr=0.003", "+model.widths=[20,10]")
    done = run_train(*given, *more, "hydra.run.dir=command")
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(tmp_path / "python") == contents(tmp_path / "command")
    python, command = (record_of(tmp_path / name)["overrides"] for name in ("python", "command"))
    assert python == command
    said, wanted = capsys.readouterr().out.splitlines(), done.stdout.splitlines()
    assert said[:3] == wanted[:3]
    assert len(said) == len(wanted)
    log = (tmp_path / "python" / "train.log").read_text()
    assert [line[24:] for line in log.splitlines()[:3]] == [f"INFO wavecoder.runs.run: {said[0]}"] + [
        f"INFO wavecoder.training.callbacks.progress: {line}" for line in said[1:3]
    ]
    best = int(np.argmin(model.results["metrics"]["val/mse"]["per_seed"]))
    assert (model.seed, model.latent_dim, model.folder) == (best, 3, tmp_path / "python")


def test_a_complete_run_is_not_repeated_and_an_interrupted_one_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = wavecoder.train(tmp_path / "run", **SMALL)
    before = (tmp_path / "run" / "results.json").stat().st_mtime_ns
    capsys.readouterr()
    assert wavecoder.train(tmp_path / "run", **SMALL).results == first.results
    assert capsys.readouterr().out == "run is complete already, nothing to do\n"
    assert (tmp_path / "run" / "results.json").stat().st_mtime_ns == before
    fingerprint = first.results["config_fingerprint"]
    write_results(tmp_path / "run", {"status": "unfinished", "config_fingerprint": fingerprint})
    again = wavecoder.train(str(tmp_path / "run"), **SMALL)
    assert again.results["metrics"] == first.results["metrics"]
    assert again.results["timing"]["resumed_at_step"] == 20
    assert "run resumes from its last checkpoint" in capsys.readouterr().out


class Interrupts(L.Callback):
    """Does what Ctrl-C does, after the first epoch."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 0:
            raise KeyboardInterrupt


def test_an_interrupted_training_is_an_exception_and_resumes(tmp_path: Path) -> None:
    before = state_of_the_process()
    stop = {"+callbacks.stop._target_": f"{__name__}.Interrupts", "allow_targets": [__name__]}
    with pytest.raises(KeyboardInterrupt, match="the same call with the run's folder resumes it"):
        wavecoder.train(tmp_path / "run", **SMALL | stop)
    assert state_of_the_process() == before
    assert record_of(tmp_path / "run")["status"] == "unfinished"


def state_of_the_process() -> dict[str, Any]:
    """Whatever a run could leave changed, but for what imports change: Hydra's plugins register resolvers when they are found."""
    Plugins.instance()
    names = ["wavecoder", "wavecoder.runs.run", "lightning.pytorch", "lightning.pytorch.utilities.rank_zero"]
    loggers = [logging.getLogger(name) for name in (None, *names)]
    return {
        "hydra": (GlobalHydra.instance().is_initialized(), HydraConfig.instance().cfg, set(Singleton._instances)),
        "store": sorted(ConfigStore.instance().repo),
        "resolvers": {name: id(resolver) for name, resolver in BaseContainer._resolvers.items()},
        "logging": [(each.level, list(each.handlers), each.propagate) for each in loggers],
        "threads": (torch.get_num_threads(), threading.active_count()),
        "signals": [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)],
        "warnings": list(warnings.filters),
        "process": (list(sys.argv), dict(os.environ), Path.cwd(), sys.modules["__main__"].__spec__),
        "random": (torch.random.get_rng_state().tolist(), np.random.get_state()[1].tolist()),  # type: ignore[union-attr]
        "torch": (torch.get_default_dtype(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()),
    }


def test_the_process_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(2)
    try:
        before = state_of_the_process()
        model = wavecoder.train(**SMALL | {"+trainer.precision": "64-true", "threads": 1})
        assert state_of_the_process() == before
        with pytest.raises(SettingError):
            wavecoder.train(activation="swish")
        assert state_of_the_process() == before
    finally:
        torch.set_num_threads(1)
    (run,) = (tmp_path / "outputs" / "runs").glob("*/*")
    assert model.folder == run


def test_it_works_in_a_thread(tmp_path: Path) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(wavecoder.train(tmp_path / "run", **SMALL)))
    thread.start()
    thread.join()
    assert found[0].results["status"] == "completed"


PROGRAM = """
import logging, sys
import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
import wavecoder

OmegaConf.register_new_resolver("epochs", lambda number: 7 * number)
ConfigStore.instance().store(name="settings", node={"mine": True})

@hydra.main(version_base="1.3", config_path=".", config_name="mine")
def main(config):
    handlers, own = list(logging.root.handlers), HydraConfig.get()
    model = wavecoder.train(config.folder, debug="quick", logger="none", num_seeds=config.seeds, **{"data.train_size": 128})
    assert model.results["num_seeds"] == 3
    assert HydraConfig.get() is own and logging.root.handlers == handlers
    assert ConfigStore.instance().load("settings.yaml").node == {"mine": True}
    assert config.later == 21
    logging.getLogger("mine").info("done")

main()
"""


def test_inside_a_program_of_hydras(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "mine.yaml").write_text("seeds: 3\nfolder: run\nlater: ${epochs:3}\nhydra: {run: {dir: own}}\n")
    environment = {"PYTHONPATH": str(ROOT / "src")}
    done = run_command(tmp_path, sys.executable, "program.py", environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip().endswith("[mine][INFO] - done")
    assert record_of(tmp_path / "run")["num_seeds"] == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"activation": "swish"}, "activation=swish: no such option; there are elu, gelu"),
        ({"latent": "4,5"}, "latent=4,5: no such option; there are 1, 2, 3"),
        ({"latent": [1, 5]}, "latent=[1,5]: must be the name of an option"),
        ({"optimizer": {"lr": 1}}, "optimizer={lr:1}: must be the name of an option"),
        ({"optimizer.lr": -1}, "optimizer.lr=-1: must be a number above 0"),
        ({"num_seeds": "two"}, "num_seeds: Value 'two'"),
        ({"num_seeds": 1.5}, "num_seeds: "),
        ({"replicas": 3}, "replicas: is now called num_seeds"),
        ({"data.nosuch": 1}, "data.nosuch: no such setting; there are"),
        ({"data.train_size": 10}, "data.batch_size=64: must be at most data.train_size=10"),
        ({"model._target_": "nosuch.Network"}, "model._target_=nosuch.Network: nosuch is not an allowed package"),
        (
            {"model._target_": "nosuch.Network", "allow_targets": ["nosuch"]},
            "model._target_=nosuch.Network: No module named 'nosuch'",
        ),
        ({"activation._target_": torch.nn.SiLU}, "activation._target_: is a type; must be a number, a string"),
        ({"a b": 1}, "a b=1: not of the form key=value"),
        ({"sweep": "mine"}, "sweep=mine: is for a sweep"),
        ({"hydra.run.dir": "mine"}, "hydra.run.dir=mine: must be hydra.searchpath; other settings of Hydra"),
        ({"hydra/launcher": "slurm"}, "hydra/launcher=slurm: must be hydra.searchpath"),
        (
            {"trainer.devices": 2, "data.batch_size": 63, "callbacks.last.every_seconds": 5.0},
            "data.batch_size=63: must be a multiple of the 2 processes",
        ),
        ({"optimizer._target_": "torch.optim.Adam", "+optimizer.nosuch": 1}, "optimizer.nosuch: Adam takes no such argument"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_settings_are_one_line_and_write_nothing(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError) as found:
        wavecoder.train(tmp_path / "new" / "run", **settings)
    assert str(found.value).startswith(said)
    assert "\n" not in str(found.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    with pytest.raises(SettingError, match="holds figures that no run has written; choose another folder"):
        wavecoder.train(tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SettingError, match="file: cannot be made"):
        wavecoder.train(tmp_path / "file", **SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "file"]


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            True,
            0,
            -3,
            10**20,
            3e-3,
            1e-05,
            float("inf"),
            "gelu",
            "",
            " padded ",
            "1",
            "true",
            "null",
            "1e-3",
            "a,b",
            "[a]",
        ),
        *("{a: 1}", "it's", 'say "so"', "back\\slash\\", "\\'", "x=1", "a:b", "tab\there", "größe", "(1)", "a b", "#", "~", "@"),
        *([], [1, 2.5, "x,y", None, [True]], {"a": 1, "b c": {"d": ["e'"]}}, "/a path/with, comma=1"),
    ],
    ids=repr,
)
def test_values_are_those_that_were_given(tmp_path: Path, value: Any) -> None:
    (tmp_path / "some.yaml").write_text("key: 5\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        found = compose("some", [_override("key", value)]).key
    assert found == value
    assert isinstance(found, str) == isinstance(value, str)


def test_numbers_of_numpy_are_numbers() -> None:
    assert [_override("key", value) for value in (np.float64(0.25), np.int64(3), np.float32(0.5))] == [
        "key=0.25",
        "key=3",
        "key=0.5",
    ]
    assert _override("key", ("sin", Path("a"))) == "key=[sin,a]"
    assert json.loads(_override("key", [1, 2]).partition("=")[2]) == [1, 2]
    assert _override("~callbacks.figures", None) == "~callbacks.figures"
