"""Files from elsewhere are data: payloads in configurations touch a file if anything runs them, and nothing does."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from processes import JOB, OWN_NETWORKS, Run
from refusals import CALLBACK, NOT_ALLOWED, Refused
from run_files import only_run, record_of, records

import wavecoder
from wavecoder.paper.report import write_report
from wavecoder.runs import commands
from wavecoder.runs.limits import SettingError
from wavecoder.runs.targets import allowing, resolve

SUBPROCESS = "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler"
MODULE = "must be a class of torch.nn.Module"
TYPED = {
    "optimizer._target_=os.system": "os is not an allowed package",
    "scheduler._target_=subprocess.run": "subprocess is not an allowed package",
    "model._target_=payload.Net": NOT_ALLOWED,
    "activation._target_=payload.run": NOT_ALLOWED,
    "activation._target_=wavecoder.__main__.main": "wavecoder is not an allowed package",
    "loss._target_=torch.load": MODULE,
    "loss._target_=torch.hub.load": MODULE,
    "loss._target_=torch.utils.cpp_extension.load": MODULE,
    "loss._target_=torch.ops.load_library": "must be",
    "trainer._target_=payload.run": NOT_ALLOWED,
    "trainer._target_=lightning.pytorch.Callback": "must be a class of lightning.pytorch.Trainer",
    "logger._target_=payload.run": NOT_ALLOWED,
    "+callbacks.mine._target_=torch.os.system": "is of posix; posix is not an allowed package",
    "+callbacks.mine._target_=torch.serialization.pickle.loads": "is of _pickle; ",
    "+callbacks.mine._target_=wavecoder.runs.results.subprocess.run": "is of subprocess; subprocess is not an allowed package",
    "+callbacks.best.mode={_target_:payload.run}": NOT_ALLOWED,
    f"+trainer.strategy={{_target_:{SUBPROCESS},entrypoint:touch,args:[touched]}}": "must be a class of lightning.pytorch.strat",
    "+logger.x=[{_target_:payload.run,_partial_:true}]": NOT_ALLOWED,
    "+hydra.callbacks.mine._target_=payload.run": NOT_ALLOWED,
    "+hydra.callbacks.mine._target_=hydra.utils.get_method": "must be a class of hydra.experimental.callback.Callback",
    "hydra.job_logging.formatters.plain.class=payload.run": NOT_ALLOWED,
    "hydra.hydra_logging.formatters.plain.class=payload.run": NOT_ALLOWED,
    "hydra.job_logging.handlers.console.stream=ext://payload.run": NOT_ALLOWED,
    "hydra.job_logging.handlers.console.class=logging.config.dictConfig": "must be a class of logging.Handler",
    "-m hydra.launcher._target_=payload.run": NOT_ALLOWED,
    "-m hydra.sweeper._target_=payload.run": NOT_ALLOWED,
}


@pytest.mark.slow
def test_what_a_command_names_is_refused_before_it_is_imported(refused: Refused) -> None:
    for arguments, why in TYPED.items():
        assert why in refused(*arguments.split(" "))


IN_FILES = {
    "model: {_target_: payload.Net}": NOT_ALLOWED,
    "callbacks: {mine: {_target_: payload.run, _args_: [1]}}": NOT_ALLOWED,
    "hydra: {callbacks: {mine: {_target_: payload.run}}}": NOT_ALLOWED,
    "hydra: {job_logging: {handlers: {mine: {(): payload.run}}}}": NOT_ALLOWED,
    "hydra: {hydra_logging: {filters: {mine: {(): os.system, command: touch touched}}}}": "os is not an allowed package",
    "{allow_targets: [payload], model: {_target_: payload.Net}}": "allow_targets=[payload]: must be given on the command line",
    "{hydra: {overrides: {task: ['allow_targets=[payload]']}}, model: {_target_: payload.Net}}": NOT_ALLOWED,
    "hydra: {job: {env_set: {WAVECODER_ALLOW_TARGETS: payload}}}": "hydra.job.env_set.WAVECODER_ALLOW_TARGETS=payload: must be",
    "hydra: {job: {env_set: {LD_PRELOAD: evil.so}}}": "hydra.job.env_set.LD_PRELOAD=evil.so: must be given on the command line",
    "hydra: {run: {dir: ../elsewhere}}": "elsewhere: must be within ",
    "hydra: {run: {dir: /etc}}": "hydra.run.dir=/etc: must be within ",
    "hydra: {sweep: {subdir: ../elsewhere}}": "hydra.sweep.subdir=../elsewhere: must be within hydra.sweep.dir",
    "hydra: {job_logging: {handlers: {file: {filename: /etc/passwd}}}}": "filename=/etc/passwd: must not leave the run's folder",
    "callbacks: {best: {dirpath: '${hydra:runtime.output_dir}/../../x'}}": "callbacks.best.dirpath=",
    "callbacks: {best: {dirpath: '${oc.env:HOME}/x'}}": "must not leave the run's folder",
    "callbacks: {last: {folder: '${hydra:runtime.output_dir}/${oc.env:NOPE,..}/../x'}}": "callbacks.last.folder=",
    "{callbacks: {best: '${hydra.sweeper.params}'}, hydra: {sweeper: {params: {a: /x}}}}": "callbacks.best.a=/x: must not leave",
    "callbacks: {best: {dirpath: !!binary L3g=}}": "callbacks.best.dirpath=/x: must not leave the run's folder",
    "hydra: {output_subdir: ../../x}": "hydra.output_subdir=../../x: must be .hydra",
    "hydra: {job: {name: ../../x}}": "hydra.job.name=../../x: must be a name",
    "hydra: {sweep: {subdir: '${hydra.job.num}${oc.env:NOPE,/../x}'}}": "hydra.sweep.subdir=0/../x: must be within",
    "logger: {save_dir: ../../x}": "logger.save_dir=../../x: must not leave the run's folder",
    "{defaults: [override /hydra/sweeper: optuna], hydra: {sweeper: {params: {logger.save_dir: /x}}}}": "must be given on the",
    "sweep: ../../x": "sweep=../../x: must be letters, digits",
    "hydra: {callbacks: {check_settings: null}}": "hydra.callbacks.check_settings: must have a _target_",
    f"{{hydra: {{callbacks: {{check_settings: {{_target_: {CALLBACK}}}}}}}, num_seeds: 1000000000}}": "needs about",
}


@pytest.mark.slow
def test_what_a_file_names_is_refused_before_it_is_imported(tmp_path: Path, refused: Refused) -> None:
    file = tmp_path / "theirs" / "experiment" / "theirs.yaml"
    file.parent.mkdir(parents=True)
    for number, (content, why) in enumerate(IN_FILES.items()):
        file.with_name(f"theirs{number}.yaml").write_text(f"# @package _global_\n{content}\n")
        assert why in refused("--config-dir", str(tmp_path / "theirs"), f"experiment=theirs{number}")


@pytest.mark.slow
def test_a_configuration_of_its_own_imports_no_package_for_its_options(tmp_path: Path, refused: Refused) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "theirs.yaml").write_text("defaults: [train, _self_]\nhydra: {searchpath: ['pkg://payload']}\n")
    said = refused("--config-dir", str(folder), "--config-name", "theirs")
    assert said == f"hydra.searchpath=pkg://payload: {NOT_ALLOWED}"


def test_a_job_of_a_sweep_is_refused_before_any_runs(refused: Refused) -> None:
    assert NOT_ALLOWED in refused("-m", "sweep=mine", "activation._target_=torch.nn.Tanh,payload.run")


@pytest.mark.slow
def test_a_run_from_elsewhere_is_read_as_data(
    tmp_path: Path, touched: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {
        "data.train_size": 640,
        "data.val_size": 64,
        "trainer.max_epochs": 1,
        "logger": "none",
        "callbacks.last.every_seconds": 0.0,
    }
    run = tmp_path / "sweep" / "job"
    np.save(tmp_path / "x.npy", np.zeros((2, 100)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        wavecoder.train(run, **small, **{"~callbacks.figures": None})
    capsys.readouterr()
    plain = (run / ".hydra" / "config.yaml").read_text()
    for group, target in {"model": "payload.Net", "activation": "payload.run"}.items():
        config = yaml.safe_load(plain)
        config[group] = {"_target_": target}
        config["allow_targets"] = ["payload"]
        (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
        with pytest.raises(SettingError, match=f"{group}._target_={target}: payload is not an allowed package; allow it with"):
            wavecoder.load(run)
        for command, more in (("evaluate", ()), ("denoise", (str(tmp_path / "x.npy"), "y.npy")), ("export", ("x.pt2",))):
            said = refused(str(run), *more, command=commands.COMMANDS[command])
            assert said.endswith(f"{target}: payload is not an allowed package; allow it with --allow-targets payload")
    write_report(run.parent)
    assert not touched.exists()
    with pytest.raises(SettingError, match="activation"):
        wavecoder.load(run, allow_targets=["payload"])
    assert touched.exists(), "the payload works"


def test_what_a_user_allows_is_found() -> None:
    assert resolve("activation", "torch.nn.GELU").__name__ == "GELU"
    with pytest.raises(SettingError, match=r"allow it with allow_targets=\[own_networks\]"):
        resolve("model", "own_networks.Plain")
    with allowing(["own_networks"]):
        assert resolve("model", "own_networks.Plain").__name__ == "Plain"
        with pytest.raises(SettingError, match=r"must be a class of torch\.optim\.Optimizer"):
            resolve("optimizer", "own_networks.Plain")
        with pytest.raises(SettingError, match=r"is of math; math is not an allowed package$"):
            resolve("model", "own_networks.math.exp")
    for name in ("a/b", "", "a-b"):
        with pytest.raises(SettingError, match="must be names of packages"), allowing([name]):
            pass


@pytest.mark.slow
def test_processes_that_a_command_starts_are_told_what_it_allows(run_train: Run, tmp_path: Path) -> None:
    network = ("allow_targets=[own_networks]", "model._target_=own_networks.ResidualAutoencoder", "~callbacks.figures")
    own = (*JOB, "trainer.max_epochs=1", *network)
    path = {"PYTHONPATH": OWN_NETWORKS["PYTHONPATH"]}
    done = run_train(*own, "trainer=ddp_cpu", environment=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert record_of(only_run(tmp_path))["status"] == "completed"
    done = run_train("-m", "sweep=mine", *own, "hydra/launcher=joblib", "latent=1,5", environment=path)
    assert (done.returncode, done.stderr) == (0, "")
    found = records(tmp_path / "outputs" / "sweeps" / "mine")
    assert [record["status"] for record in found.values()] == ["completed"] * 2
    assert "allow_targets" not in json.dumps([*found, *(record["overrides"] for record in found.values())])
