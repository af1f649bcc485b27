"""Files from elsewhere set no more than numbers and names: they write to no other file, run no command and lead nowhere else."""

import re
from pathlib import Path

import pytest
import yaml
from conftest import composed
from omegaconf import OmegaConf
from refusals import CALLBACK, NOT_ALLOWED, Refused, theirs

OF_LOGGING = {
    "handlers: {x: {class: logging.FileHandler, filename: VICTIM, mode: w}}": "must not leave the run's folder",
    "handlers: {x: {class: logging.FileHandler, filename: !!python/object/apply:pathlib.Path [VICTIM], mode: w}}": "must not",
    "handlers: {x: {class: logging.FileHandler, filename: results.json, mode: w}}": "must be the run's own log",
    "handlers: {console: {.: {terminator: x}}}": "must be the run's own log",
    "handlers: {x: {(): logging.handlers.SocketHandler, host: localhost, port: 9}}": "must be one of logging.StreamHandler",
    "formatters: {x: {(): logging.handlers.WatchedFileHandler, filename: train.log}}": "must be one of logging.StreamHandler",
}


def test_no_file_is_emptied_by_what_configures_logging(tmp_path: Path, refused: Refused) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    handler = f"handlers: {{x: {{class: logging.FileHandler, filename: {victim}, mode: w}}}}, root: {{handlers: [x]}}"
    for more in ((), ("-m", "latent=1,5")):
        said = refused(*more, *theirs(tmp_path, f"hydra: {{hydra_logging: {{{handler}}}}}"))
        assert said.startswith(f"hydra.hydra_logging.handlers.x.filename={victim}: must not leave the run's folder")
        assert victim.read_text() == "precious"


@pytest.mark.slow
def test_files_configure_logging_on_the_terminal_and_in_the_runs_log_alone(tmp_path: Path, refused: Refused) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    for content, why in OF_LOGGING.items():
        for group in ("job_logging", "hydra_logging"):
            settings = content.replace("VICTIM", str(victim))
            assert why in refused(*theirs(tmp_path, f"hydra: {{{group}: {{{settings}}}}}"))
            assert victim.read_text() == "precious"


OVERRIDES = {
    "+hydra.hydra_logging.handlers.x={class:logging.FileHandler,filename:VICTIM,mode:w}": "must not leave the run's folder",
    "--experimental-rerun=VICTIM": "overrides.yaml: is damaged",
    "hydra.output_subdir=../../x": "must be .hydra",
    "hydra.job.name=../../x": "must be a name",
    "callbacks.best.dirpath=/x": "must not leave the run's folder",
    "hydra.callbacks.check_settings=null": "hydra.callbacks.check_settings: no such setting",
    f"+hydra.callbacks.check_settings._target_={CALLBACK} num_seeds=1000000000": "needs about",
    "allow_targets=[payload] activation._target_=payload.run": "payload is not an allowed package",
}


@pytest.mark.slow
def test_a_run_from_elsewhere_is_resumed_within_its_folder(tmp_path: Path, refused: Refused) -> None:
    victim, run = tmp_path / "victim.txt", tmp_path / "run"
    victim.write_text("precious")
    (run / ".hydra").mkdir(parents=True)
    config = composed()
    (run / ".hydra" / "hydra.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create({"hydra": config.hydra})))
    (run / ".hydra" / "config.yaml").write_text("seed: 0\n")
    for override, why in OVERRIDES.items():
        given = override.replace("VICTIM", str(victim)).split(" ")
        (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(given))
        assert why in refused(f"run={run}")
        assert victim.read_text() == "precious"
        assert [path.name for path in run.iterdir()] == [".hydra"]


LAUNCHERS = {
    "_target_: payload.run": NOT_ALLOWED,
    "_target_: torch.os.system": "is of posix; posix is not an allowed package",
    "_target_: torch.os.system\ncommand: touch touched": "hydra.launcher.command=",
    "_target_: hydra._internal.core_plugins.basic_launcher.BasicLauncher\nsetup: [touch touched]": "hydra.launcher.setup[0]=",
}


@pytest.mark.slow
def test_a_launcher_that_a_file_names_is_refused_before_it_is_imported(tmp_path: Path, refused: Refused) -> None:
    file = tmp_path / "theirs" / "hydra" / "launcher" / "theirs.yaml"
    file.parent.mkdir(parents=True)
    for content, why in LAUNCHERS.items():
        file.write_text(f"{content}\n")
        assert why in refused("-m", "--config-dir", str(tmp_path / "theirs"), "hydra/launcher=theirs", "latent=1,5")


LAUNCHER_SETTINGS = {  # of an experiment's file: what could run commands, load code, open ports or write elsewhere
    "slurm": [r'comment: "x\ntouch pwned #"', "submitit_folder: /elsewhere", "additional_parameters: {wrap: touch pwned}"],
    "ray": ["ray: {remote: {runtime_env: {env_vars: {LD_PRELOAD: evil.so}}}}", "ray: {init: {dashboard_host: 0.0.0.0}}"],
    "joblib": ["temp_folder: /elsewhere"],
}


@pytest.mark.parametrize(("launcher", "setting"), [(name, each) for name, of in LAUNCHER_SETTINGS.items() for each in of])
def test_a_files_settings_of_a_launcher_are_numbers_and_names(
    tmp_path: Path, refused: Refused, launcher: str, setting: str
) -> None:
    file = tmp_path / "theirs" / "experiment" / "theirs.yaml"
    file.parent.mkdir(parents=True)
    command = ("-m", "--config-dir", str(file.parents[1]), "experiment=theirs", "latent=1,5")
    head = f"# @package _global_\ndefaults: [override /hydra/launcher: {launcher}]\nhydra: {{launcher: {{%s}}}}\n"
    file.write_text(head % setting)
    said = refused(*command)
    assert re.fullmatch(r"hydra\.launcher\..*: must be given on the command line; a file has it", said)
    if launcher == "slurm":
        file.write_text(head % "timeout_min: 5, partition: long, exclude: 'node[1-3]', gres: 'gpu:a100:1'")
        assert refused(*command).startswith("hydra/launcher=slurm: no Slurm cluster answers here")


SEARCH_SETTINGS = [  # what could keep trials elsewhere, call something, or choose what a file may not
    "storage: 'sqlite:////elsewhere/x.db'",
    "storage: 'sqlite:///${hydra.sweep.dir}/../x.db'",
    "custom_search_space: torch.hub.load",
    "search_space: {logger.save_dir: {type: int}}",
]


@pytest.mark.parametrize("setting", SEARCH_SETTINGS)
def test_a_files_settings_of_a_search_are_numbers_and_names(tmp_path: Path, refused: Refused, setting: str) -> None:
    search = "{defaults: [override /hydra/sweeper: optuna], hydra: {sweeper: {n_trials: 3, direction: minimize, %s}}}"
    said = refused("-m", *theirs(tmp_path, search % setting))
    assert re.fullmatch(r"hydra\.sweeper\..*: must be given on the command line; a file has it", said)


def test_a_link_out_of_a_runs_folder_is_not_written_through(tmp_path: Path, refused: Refused) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    for folder in (run / ".hydra", run / "tb" / "autoencoder", elsewhere):
        folder.mkdir(parents=True)
    for link in (run / "figures", run / ".hydra" / "config.yaml", run / "tb" / "autoencoder" / "events.out.tfevents.1"):
        link.symlink_to(elsewhere)
        assert refused(f"hydra.run.dir={run}") == f"{link}: is a link out of the run's folder, which must hold none"
        link.unlink()
    assert not list(elsewhere.iterdir())
