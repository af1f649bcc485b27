"""The command line as its users type it: help, completion, and mistakes."""

import signal
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import pytest
from processes import ROOT, Run, run_command

from wavecoder.runs import checks, cli
from wavecoder.runs.commands import COMMANDS
from wavecoder.runs.names import RENAMED

SHORT = ("debug=quick", "data.train_size=128", "data.val_size=64", "logger=none")
WAVECODER = str(Path(sys.executable).with_name("wavecoder"))
GROUPS = ("activation", "latent", "noise", "data", "model", "loss", "engine", "optimizer", "scheduler", "trainer", "callbacks")


BAD_INPUT = {
    "+experiment=paper": "error: experiment: must be chosen once, and without +, as experiment=OPTION",
    "activation=swish": "error: activation=swish: no such option; there are elu, gelu, identity, leaky_relu, mish, prelu, relu, "
    "sigmoid, silu, sine, softplus, tanh; did you mean activation=mish?",
    "latent=7": "error: latent=7: no such option; there are 1, 2, 3, 5, 10; did you mean latent.dim=7?",
    "latent.dmi=3": "error: latent.dmi: no such setting; there are dim",
    "optimizer.rate=3": "error: optimizer.rate: no such setting; there are _target_, betas, eps, lr, weight_decay",
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
    "optimizer.betas=[0.9,9]": "error: optimizer: Invalid beta parameter at index 1: 9",
    "trainer=ddp_cpu data.batch_size=63": "error: data.batch_size=63: must be a multiple of the 2 processes that share "
    "each batch",
    "+trainer.reload_dataloaders_every_n_epochs=-1": "error: trainer.reload_dataloaders_every_n_epochs=-1: "
    "`reload_dataloaders_every_n_epochs` should be an int >= 0, got -1.",
    "latent=1.5": "error: latent=1.5: must be the name of an option; there are 1, 2, 3, 5, 10",
    "latent=null": "error: latent=null: must be the name of an option; there are 1, 2, 3, 5, 10",
    "latent=-1": "error: latent=-1: must be the name of an option; there are 1, 2, 3, 5, 10",
    "latent=[1,5]": "error: latent=[1,5]: must be the name of an option; there are 1, 2, 3, 5, 10",
    "-m trainer=gpu seed=1,2": "error: trainer.accelerator=gpu: there is no GPU that PyTorch can use here; "
    "trainer=cpu always works",
    "-m latent=1,4": "error: latent=4: no such option; there are 1, 2, 3, 5, 10; did you mean latent.dim=4?",
    "-m latent.dim=3,0": "error: latent.dim=0: must be at least 1",
    "activation=relu -m latent.dim=3,0": "error: latent.dim=0: must be at least 1",
    "sweep=mine": "error: sweep=mine: is for a sweep, which needs -m",
    "detach=true": "error: detach=true: is for a sweep, which needs -m",
    "-m detach=true latent=1,5": "error: detach=true: hydra/launcher=basic cannot; jobs live on without the command on slurm "
    "alone",
    "-m jobs_per_task=0 latent=1,5": "error: jobs_per_task=0: must be at least 1",
    "hydra/launcher=joblib": "error: hydra/launcher=joblib: is for the jobs of a sweep, which needs -m",
    "-m sweep=a,b latent=1": "error: sweep=a,b: must be one value, for all jobs",
    "-m activation=glob(zz*)": "error: -m: the choices leave no job to run",
    "-m latent=1,1": "error: -m: latent=1 stands for more than one job; choices must differ",
    "-m noise=low sed=1,2": "error: sed: no such setting; did you mean seed?",
    "table=false": "error: table=false: is for a sweep, which needs -m",
    "loss=mae": "error: loss=mae: no such option; there are huber, l1, mse; did you mean loss=mse?",
    "model=conv": "error: model=conv: no such option; there are curve, deep, fourier, linear_tied, residual",
    "model=linear_tied model.widths=[50]": "error: model.widths: no such setting; there are _target_, bias",
    "engine=fast": "error: engine=fast: no such option; there are auto, compiled, pytorch",
    "engine.name=fast": "error: engine.name=fast: must be one of auto, compiled, pytorch",
    "+trainer.precision=16-mixed": "error: trainer.precision=16-mixed: must be one of 32-true, 64-true, bf16-true, bf16-mixed",
    "--verison": "error: unrecognized arguments: --verison",
    "--cfg x latent=1": "error: argument --cfg/-c: invalid choice: 'x' (choose from 'job', 'hydra', 'all')",
    "threads=0": "error: threads=0: must be at least 1, or null; at most 1024",
}


@pytest.mark.parametrize("arguments", BAD_INPUT)
def test_bad_input_gets_one_line_and_status_2_and_leaves_nothing(run_train: Run, tmp_path: Path, arguments: str) -> None:
    # no GPU for the one that asks for it, also where there is one
    done = run_train(*arguments.split(), environment={"CUDA_VISIBLE_DEVICES": ""})
    assert (done.returncode, done.stderr.splitlines()) == (2, [BAD_INPUT[arguments]])
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "module"), [("report", "paper.report"), ("denoise", "runs.denoise")])
def test_ctrl_c_while_modules_are_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, module: str
) -> None:
    class Interrupts:
        def find_spec(self, name: str, *_: object) -> None:
            if name == f"wavecoder.{module}":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, f"wavecoder.{module}", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupts(), *sys.meta_path])
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # which would leave this process deaf
    monkeypatch.setattr(sys, "argv", [f"wavecoder {command}", *["folder"] * (3 if command == "denoise" else 1)])
    with pytest.raises(SystemExit) as ended:
        COMMANDS[command]()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "\nInterrupted\n"


@pytest.mark.slow
def test_bad_input_removes_nothing_that_was_there(run_train: Run, tmp_path: Path) -> None:
    (tmp_path / "kept" / "inner").mkdir(parents=True)
    (tmp_path / "kept" / "train.log").write_text("of an earlier run")
    for folder in ("kept", "kept/inner", "kept/new/er"):
        done = run_train("trainer.strategy=nope", f"hydra.run.dir={folder}")  # which only Lightning knows
        assert done.returncode == 2
    assert "of an earlier run" in (tmp_path / "kept" / "train.log").read_text()
    assert (tmp_path / "kept" / "inner").is_dir()
    assert not (tmp_path / "kept" / "new").exists()


def test_a_traceback_is_there_for_who_asks(run_train: Run) -> None:
    done = run_train("latent.dim=0", environment={"HYDRA_FULL_ERROR": "1"})
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "latent.dim=0: must be at least 1" in done.stderr


@pytest.mark.parametrize("prefix", ["", "+"])
@pytest.mark.parametrize("old", RENAMED)
def test_an_old_name_is_refused_with_the_new_one(run_train: Run, tmp_path: Path, old: str, prefix: str) -> None:
    done = run_train(f"{prefix}{old}=3")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {old}: is now called {RENAMED[old]}\n")
    assert list(tmp_path.iterdir()) == []


def test_help_names_the_groups_and_shows_examples(run_train: Run) -> None:
    done = run_train("--help")
    assert done.returncode == 0
    for group in (*GROUPS, "logger", "experiment", "debug"):
        assert f"\n{group}: " in done.stdout
    assert "activation: elu, gelu, identity" in done.stdout
    assert "wavecoder train -m activation=relu,tanh,gelu latent=1,5" in done.stdout


@pytest.mark.parametrize("command", ["python src/train.py", "wavecoder train"])
def test_shell_completion_knows_the_options(tmp_path: Path, command: str) -> None:
    program = [WAVECODER] if command.startswith("wavecoder") else [sys.executable, str(ROOT / "src" / "train.py")]
    line = f"{command} activation="
    asked = {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    done = run_command(tmp_path, *program, "-sc", "query=bash", environment=asked)
    assert {"activation=gelu", "activation=tanh"} <= set(done.stdout.split())
    assert done.stderr == ""


def test_shell_completion_knows_the_commands(tmp_path: Path) -> None:
    done = run_command(tmp_path, WAVECODER, "-sc", "query=bash", environment={"COMP_LINE": "wavecoder tr", "COMP_POINT": "12"})
    assert (done.returncode, done.stdout, done.stderr) == (0, f"train {' '.join(COMMANDS)}\n", "")


def test_the_command_wavecoder_trains_and_reports(tmp_path: Path) -> None:
    trained = run_command(tmp_path, WAVECODER, "train", "-m", *SHORT, "latent=1,5", "sweep=mine")
    assert (trained.returncode, trained.stderr) == (0, "")
    assert "Sweep of 2 jobs" in trained.stdout
    reported = run_command(tmp_path, WAVECODER, "report", "outputs/sweeps/mine")
    assert (reported.returncode, reported.stderr) == (0, "")
    assert reported.stdout == "The report is outputs/sweeps/mine/report.html\n"
    assert (tmp_path / "outputs" / "sweeps" / "mine" / "report.html").exists()


def test_the_command_wavecoder_explains_itself(tmp_path: Path) -> None:
    for arguments in ((), ("--help",), ("-h",)):
        done = run_command(tmp_path, WAVECODER, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\n  train        Train autoencoders: one run, or a sweep of many with -m.\n  report       " in done.stdout
    for command in ([WAVECODER], [WAVECODER, "train"], [WAVECODER, "report"], [sys.executable, str(ROOT / "src" / "denoise.py")]):
        shown = run_command(tmp_path, *command, "--version")
        assert (shown.returncode, shown.stdout, shown.stderr) == (0, f"wavecoder {version('wavecoder')}\n", "")
    unknown = run_command(tmp_path, WAVECODER, "nonsense")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr == f"error: nonsense: no such command; there are train, {', '.join(COMMANDS)}\n"
    bad = run_command(tmp_path, WAVECODER, "train", "latent.dim=0")
    assert (bad.returncode, bad.stdout, bad.stderr) == (2, "", "error: latent.dim=0: must be at least 1\n")
    helped = run_command(tmp_path, sys.executable, "-m", "wavecoder", "train", "--help")
    assert helped.returncode == 0
    assert "\nactivation: elu, gelu" in helped.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_checked_with_nothing_that_a_kill_could_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def noted(**where: Any) -> IO[bytes]:
        file = TemporaryFile(**where)  # noqa: SIM115 - the check closes it
        found.append(list(tmp_path.iterdir()))
        return file

    monkeypatch.setattr(checks, "TemporaryFile", noted)
    checks.check_folder("hydra.run.dir", tmp_path / "new" / "run")
    assert found == [[]]


def test_errors_of_files_name_the_file() -> None:
    assert cli.explain(PermissionError(13, "Permission denied", "outputs/runs")) == "outputs/runs: Permission denied"
    assert cli.explain(FileNotFoundError("mine: no such folder")) == "mine: no such folder"
