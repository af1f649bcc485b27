"""The command line as its users type it: what Hydra would refuse, and mistakes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Run
from hypothesis import given
from hypothesis import strategies as st

from wavecoder.commandline import folder_name, quote_whole_numbers


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ("latent=1", "latent='1'"),
        ("latent=1,5", "latent='1','5'"),
        ("latent=1, 5", "latent='1', '5'"),
        ("latent=choice(1,5)", "latent=choice('1','5')"),
        ("latent=range(1,4)", "latent='1','2','3'"),
        ("latent=shuffle(range(1,4))", "latent=shuffle('1','2','3')"),
        ("latent=sort(5,1,reverse=true)", "latent=sort('5','1',reverse=true)"),
        ("latent='1','5'", "latent='1','5'"),
        ("+latent=5", "+latent='5'"),
        ("activation=relu,tanh", "activation=relu,tanh"),
        ("activation=glob(*)", "activation=glob(*)"),
        ("latent.dim=7", "latent.dim=7"),
        ("latent.dim=range(1,10)", "latent.dim=range(1,10)"),
        ("seed=1,2", "seed=1,2"),
        ("~latent", "~latent"),
        ("-m", "-m"),
        ("--cfg", "--cfg"),
        ("latent=", "latent="),
        ("latent=1,,", "latent=1,,"),
        ("hydra/launcher=basic", "hydra/launcher=basic"),
    ],
)
def test_whole_numbers_are_quoted_where_they_name_options(given_: str, wanted: str) -> None:
    assert quote_whole_numbers(given_) == wanted
    assert quote_whole_numbers(wanted) == wanted


@given(st.text(min_size=0, max_size=400))
def test_folder_names_are_short_and_safe(overrides: str) -> None:
    name = folder_name(overrides)
    assert 1 <= len(name) <= 120
    assert not set(name) & set("/\\'\"[]{}()*?:<>| \n\0")
    assert name not in (".", "..")
    assert folder_name(overrides) == name


def test_folder_names_are_readable_and_tell_long_overrides_apart() -> None:
    assert folder_name("activation=relu,latent='5'") == "activation=relu,latent=5"
    assert folder_name("data.families=[sin,cos]").startswith("data.families=sin,cos-")
    assert folder_name("") == "default"
    assert folder_name("data.families=[sin-cos]") != folder_name("data.families=[sin*cos]")
    long = "data.families=" + "sin," * 100
    assert folder_name(long + "a") != folder_name(long + "b")


BAD_INPUT = {
    "activation=elu": "error: activation=elu: no such option; there are gelu, identity, leaky_relu, prelu, relu, sigmoid, tanh",
    "latent=7": "error: latent=7: no such option; there are 1, 2, 3, 5, 10",
    "latent.dmi=3": "error: latent.dmi: no such setting; there are dim",
    "optimizer.rate=3": "error: optimizer.rate: no such setting; there are _partial_, _target_, betas, eps, lr, weight_decay",
    "latent.dim=five": "error: latent.dim: Value 'five' of type 'str' could not be converted to Integer",
    "optimizer.lr=fast": "error: optimizer.lr=fast: must be a number above 0",
    "latent.dim=0": "error: latent.dim=0: must be at least 1",
    "latent.dim=100": "error: latent.dim=100: must be below data.signal_length=100, or nothing is compressed",
    "noise.eval_std=[-1]": "error: noise.eval_std=[-1.0]: must be numbers above 0 (noise=none for no noise)",
    "data.batch_size=20001": "error: data.batch_size=20001: must be at most data.train_size=20000",
    "trainer.max_epochs=0": "error: trainer.max_epochs=0: must be a whole number, at least 1",
    "data.families=[]": "error: data.families=[]: must be at least one of sin, cos, sin+cos, sin-cos, sin*cos",
    "num_seeds=0": "error: num_seeds=0: must be at least 1",
    "trainer=gpu": "error: trainer.accelerator=gpu: there is no GPU that PyTorch can use here; trainer=cpu always works",
    "latent=1,5": "error: latent=1,5: several values are a sweep, which needs -m; a list is written key=[a,b]",
    "latent": "error: latent: not of the form key=value (Error parsing override 'latent')",
    "optimizer.betas=[0.9,9]": "error: optimizer or scheduler: Invalid beta parameter at index 1: 9",
    "trainer=ddp_cpu data.batch_size=63": "error: data.batch_size=63: must be a multiple of the 2 processes that share "
    "each batch",
    "+trainer.reload_dataloaders_every_n_epochs=-1": "error: trainer: `reload_dataloaders_every_n_epochs` should be an int >= 0, "
    "got -1.",
    "latent=1.5": "error: latent=1.5: must be the name of an option; there are 1, 2, 3, 5, 10",
    "latent=null": "error: latent=null: must be the name of an option; there are 1, 2, 3, 5, 10",
    "latent=-1": "error: latent=-1: must be the name of an option; there are 1, 2, 3, 5, 10",
    "latent=[1,5]": "error: latent=[1,5]: must be the name of an option; there are 1, 2, 3, 5, 10",
    "-m trainer=gpu seed=1,2": "error: trainer.accelerator=gpu: there is no GPU that PyTorch can use here; "
    "trainer=cpu always works",
    "-m latent=1,4": "error: latent=4: no such option; there are 1, 2, 3, 5, 10",
    "-m latent.dim=3,0": "error: latent.dim=0: must be at least 1",
    "sweep=mine": "error: sweep=mine: is the name of a sweep, which needs -m",
    "hydra/launcher=joblib": "error: hydra/launcher=joblib: is for the jobs of a sweep, which needs -m",
    "-m sweep=a,b latent=1": "error: sweep=a,b: must be one name, for all jobs",
    "-m activation=glob(zz*)": "error: -m: what was chosen leaves no job to run",
    "-m latent=1,1": "error: -m: latent=1 is more than one job; each choice must be a different one",
    "-m noise=low sed=1,2": "error: sed: no such setting; there are activation, basis, callbacks, data, latent, logger, loss, "
    "model, noise, optimizer, replicas, scheduler, seed, sweep, trainer",
}


@pytest.mark.parametrize("arguments", BAD_INPUT)
def test_bad_input_gets_one_line_and_status_2_and_leaves_nothing(run_train: Run, tmp_path: Path, arguments: str) -> None:
    # no GPU for the one that asks for it, also where there is one
    done = run_train(*arguments.split(), environment={"CUDA_VISIBLE_DEVICES": ""})
    assert (done.returncode, done.stderr.splitlines()) == (2, [BAD_INPUT[arguments]])
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_bad_input_removes_nothing_that_was_there(run_train: Run, tmp_path: Path) -> None:
    (tmp_path / "kept" / "inner").mkdir(parents=True)
    (tmp_path / "kept" / "train.log").write_text("of an earlier run")
    for folder in ("kept", "kept/inner", "kept/new/er"):
        done = run_train("optimizer.betas=[0.9,9]", f"hydra.run.dir={folder}")
        assert done.returncode == 2
    assert "of an earlier run" in (tmp_path / "kept" / "train.log").read_text()
    assert (tmp_path / "kept" / "inner").is_dir()
    assert not (tmp_path / "kept" / "new").exists()


def test_a_traceback_is_there_for_who_asks(run_train: Run) -> None:
    done = run_train("latent.dim=0", environment={"HYDRA_FULL_ERROR": "1"})
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "latent.dim=0: must be at least 1" in done.stderr


def test_help_names_the_groups_and_shows_examples(run_train: Run) -> None:
    done = run_train("--help")
    assert done.returncode == 0
    for group in ("activation: gelu, identity", "latent: ", "noise: ", "data: ", "model: ", "optimizer: ", "scheduler: "):
        assert group in done.stdout
    for group in ("trainer: ", "callbacks: ", "logger: ", "experiment: ", "debug: "):
        assert group in done.stdout
    assert "python src/train.py -m activation=relu,tanh,gelu latent=1,5" in done.stdout


def test_shell_completion_knows_the_options(run_train: Run) -> None:
    done = run_train("-sc", "query=bash", environment={"COMP_LINE": "python src/train.py activation=", "COMP_POINT": "33"})
    assert {"activation=gelu", "activation=tanh"} <= set(done.stdout.split())


def test_help_and_mistakes_do_not_wait_for_torch() -> None:
    program = "import sys; from wavecoder import commandline, sweeps; assert not {'torch', 'lightning'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ | {"PYTHONPATH": str(ROOT / "src")})
