"""What users choose by name or bring themselves: activations, networks, optimisers, losses, engines."""

from pathlib import Path

import pytest
from processes import Run
from run_files import only_run, record_of, records

from wavecoder.engine.bindings import library
from wavecoder.runs.store import read_sweep

SHORT = ("debug=quick", "data.train_size=128", "data.val_size=64", "trainer.max_epochs=1", "noise=none", "logger=none")

MY_PACKAGE = """
from torch import nn


class MyAutoencoder(nn.Module):
    def __init__(self, signal_length, latent_dim, width=32):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(signal_length, width), nn.Tanh(), nn.Linear(width, latent_dim))
        self.decoder = nn.Sequential(nn.Linear(latent_dim, width), nn.Tanh(), nn.Linear(width, signal_length))

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)

    def forward(self, x):
        return self.decode(self.encode(x))


class WithActivation(MyAutoencoder):
    def __init__(self, signal_length, latent_dim, activation):
        super().__init__(signal_length, latent_dim)
        self.encoder.append(activation())


class WrongShape(MyAutoencoder):
    def decode(self, z):
        return self.decoder(z)[..., :50]


class Normalised(MyAutoencoder):
    def __init__(self, signal_length, latent_dim):
        super().__init__(signal_length, latent_dim)
        self.encoder.append(nn.BatchNorm1d(latent_dim))


class NoDecoder(nn.Module):
    def __init__(self, signal_length, latent_dim):
        super().__init__()
        self.encoder = nn.Linear(signal_length, latent_dim)

    def encode(self, x):
        return self.encoder(x)


a_number = 5
"""
ALLOWED = "allow_targets=[my_package]"


@pytest.fixture
def own(tmp_path: Path) -> dict[str, str]:
    """The environment in which `my_package` is on the Python path."""
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "my_package.py").write_text(MY_PACKAGE)
    return {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def test_an_activation_that_is_not_compiled_is_trained_by_the_pytorch_engine(run_train: Run, tmp_path: Path) -> None:
    done = run_train(*SHORT, "activation=silu", "num_seeds=8")
    assert (done.returncode, done.stderr) == (0, "")
    first = done.stdout.splitlines()[0]
    reason = "the compiled engine does not know SiLU()"
    assert first.startswith("silu autoencoder 100→50→25→10→5→10→25→50→100, 13,375 parameters, 8 seeds; PyTorch engine on cpu (")
    assert first.endswith(f"({reason})")
    record = record_of(only_run(tmp_path))
    assert record["engine"] == {"name": "PyTorch", "reason": reason}
    assert (record["network"], record["activation"], record["num_seeds"]) == ("silu", "silu", 8)
    assert len(record["metrics"]["val/mse"]["per_seed"]) == 8


@pytest.mark.slow
def test_every_activation_can_be_chosen(run_train: Run, tmp_path: Path) -> None:
    done = run_train("-m", *SHORT, "num_seeds=2", "activation=glob(*)", "~callbacks.figures", "sweep=all")
    assert (done.returncode, done.stderr) == (0, "")
    names = {record["network"] for record in records(tmp_path / "outputs" / "sweeps" / "all").values()}
    assert {"elu", "gelu", "identity", "leaky_relu", "mish", "prelu", "relu", "sigmoid", "silu", "softplus", "tanh"} <= names


def test_an_activation_without_a_file_is_named_by_its_class(run_train: Run, tmp_path: Path) -> None:
    done = run_train(*SHORT, "activation._target_=torch.nn.Hardswish", "num_seeds=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Hardswish autoencoder 100→50")
    record = record_of(only_run(tmp_path))
    assert (record["network"], record["activation"]) == ("Hardswish", "Hardswish")
    assert "_Hardswish_latent5_seed0_" in only_run(tmp_path).name


def test_a_network_of_ones_own(run_train: Run, tmp_path: Path, own: dict[str, str]) -> None:
    mine = (ALLOWED, "model._target_=my_package.MyAutoencoder", "+model.width=64")
    done = run_train(*SHORT, *mine, "num_seeds=3", environment=own)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("MyAutoencoder autoencoder 100→5→100, 13,673 parameters, 3 seeds; PyTorch engine on cpu (")
    record = record_of(only_run(tmp_path))
    assert (record["network"], record["model"], record["activation"]) == ("MyAutoencoder", "MyAutoencoder", None)
    assert record["engine"]["reason"] == "the compiled engine does not know MyAutoencoder"
    assert "_MyAutoencoder_latent5_seed0_" in only_run(tmp_path).name
    together = record["metrics"]["val/mse"]["per_seed"]

    done = run_train(*SHORT, *mine, "seed=1", "hydra.run.dir=alone", environment=own)
    assert (done.returncode, done.stderr) == (0, "")
    assert "13,673 parameters, 1 seed;" in done.stdout
    assert record_of(tmp_path / "alone")["metrics"]["val/mse"]["mean"] == pytest.approx(together[1], rel=1e-4)


@pytest.mark.slow
def test_a_sweep_of_a_network_of_ones_own(run_train: Run, tmp_path: Path, own: dict[str, str]) -> None:
    mine = (ALLOWED, "model._target_=my_package.MyAutoencoder", "+model.width=64", "latent=1,5", "sweep=mine")
    done = run_train("-m", *SHORT, *mine, environment=own)
    assert (done.returncode, done.stderr) == (0, "")
    found = {record["latent_dim"]: record["network"] for record in records(tmp_path / "outputs" / "sweeps" / "mine").values()}
    assert found == {1: "MyAutoencoder", 5: "MyAutoencoder"}
    assert "different engines" not in done.stdout


@pytest.mark.slow
def test_a_network_of_ones_own_that_takes_an_activation(run_train: Run, tmp_path: Path, own: dict[str, str]) -> None:
    done = run_train(*SHORT, ALLOWED, "model._target_=my_package.WithActivation", "activation=leaky_relu", environment=own)
    assert (done.returncode, done.stderr) == (0, "")
    record = record_of(only_run(tmp_path))
    assert (record["network"], record["activation"]) == ("WithActivation leaky_relu", "leaky_relu")
    assert "_WithActivation_leaky_relu_latent5_" in only_run(tmp_path).name


UNFIT = {
    "model._target_=my_package.WrongShape": "model=WrongShape: WrongShape.decode gives shape [2, 50] for two signals; it must "
    "give [2, 100]",
    "model._target_=my_package.NoDecoder": "model=NoDecoder: NoDecoder has no method decode",
    "model._target_=my_package.MyAutoencoder +model.with=3": "model.with: MyAutoencoder takes no such argument; did you mean "
    "model.width?",
    "model._target_=my_package.Missing": "model._target_=my_package.Missing: module 'my_package' has no attribute 'Missing'",
    "model._target_=nowhere.Missing": "model._target_=nowhere.Missing: nowhere is not an allowed package; allow it with "
    "allow_targets=[nowhere]",
    "model._target_=my_package.a_number": "model._target_=my_package.a_number: must name a class",
    "model._target_=my_package.Normalised num_seeds=2": "model=Normalised: works with num_seeds=1 only: encoder.3 keeps "
    "running statistics, which an ensemble of several members cannot",
    "model=linear_tied activation=tanh": "activation=tanh: TiedLinearAutoencoder takes no activation",
    "activation._target_=torch.nn.Swish": "activation._target_=torch.nn.Swish: module 'torch.nn' has no attribute 'Swish'",
    "activation=prelu activation.init=null": "activation.init=null: must be a finite number",
    "model.widths=[50,a]": "model.widths=[50,a]: must be a list (each a whole number)",
    "optimizer._target_=torch.optim.LBFGS num_seeds=2": "optimizer: the optimiser does not work element by element, ",
    "optimizer.betas=[2,0.9]": "optimizer: Invalid beta parameter at index 0: 2",
    "scheduler._target_=torch.optim.lr_scheduler.StepLR": "scheduler.step_size: must be given; StepLR needs it",
    "engine=compiled activation=silu": "engine.name=compiled: the compiled engine does not know SiLU()",
    "engine=compiled +trainer.precision=64-true": "engine.name=compiled: the compiled engine computes in 32 bits, not in 64-true",
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["run", "sweep"])
@pytest.mark.parametrize("choice", UNFIT)
def test_what_cannot_be_trained_is_refused_in_one_line(
    run_train: Run, tmp_path: Path, own: dict[str, str], choice: str, mode: str
) -> None:
    done = run_train(ALLOWED, *choice.split(), *(("-m", "latent=5,1") if mode == "sweep" else ()), environment=own)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {UNFIT[choice]}")
    assert (done.returncode, done.stdout) == (2, "")
    assert [path.name for path in tmp_path.iterdir()] == ["path"]


@pytest.mark.slow
def test_batch_normalisation_can_be_used_with_one_seed(run_train: Run, tmp_path: Path, own: dict[str, str]) -> None:
    done = run_train(*SHORT, ALLOWED, "model._target_=my_package.Normalised", environment=own)
    assert (done.returncode, done.stderr) == (0, "")
    assert record_of(only_run(tmp_path))["network"] == "Normalised"


@pytest.mark.slow
def test_optimisers_that_work_element_by_element_can_be_chosen(run_train: Run, tmp_path: Path) -> None:
    found = set()
    choices = {"optimizer": "glob(*)", "optimizer._target_": "torch.optim.RAdam,torch.optim.Adamax"}
    for number, (key, choice) in enumerate(choices.items()):
        done = run_train("-m", *SHORT, "~callbacks.figures", "num_seeds=2", f"sweep=s{number}", f"{key}={choice}")
        assert (done.returncode, done.stderr) == (0, "")
        found |= {job["overrides"][key] for job in read_sweep(tmp_path / "outputs" / "sweeps" / f"s{number}")}
    assert found == {"adam", "adamw", "nadam", "sgd", "torch.optim.RAdam", "torch.optim.Adamax"}


def test_an_optimiser_that_ties_seeds_together_is_for_one_seed(run_train: Run, tmp_path: Path) -> None:
    lbfgs = ("optimizer._target_=torch.optim.LBFGS", "optimizer.lr=1", "+optimizer.line_search_fn=strong_wolfe")
    choice = (*SHORT, "data.train_size=640", *lbfgs)
    refused = run_train(*choice, "num_seeds=2")
    said = "the optimiser does not work element by element, so it would tie seeds together; num_seeds=1 can use it"
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"error: optimizer: {said}\n"
    assert list(tmp_path.rglob("*")) == []
    done = run_train(*choice)
    assert (done.returncode, done.stderr) == (0, "")
    record = record_of(only_run(tmp_path))
    assert record["timing"]["steps"] == 10
    assert record["metrics"]["val/mse"]["mean"] < 0.55  # of some 0.64 at the start: it evaluates the loss many times in a step


@pytest.mark.slow
def test_losses_can_be_chosen(run_train: Run, tmp_path: Path) -> None:
    for number, choice in enumerate(("loss=glob(*)", "loss._target_=torch.nn.SmoothL1Loss")):
        done = run_train("-m", *SHORT, "~callbacks.figures", "num_seeds=2", f"sweep=s{number}", choice)
        assert (done.returncode, done.stderr) == (0, "")
    (smooth,) = records(tmp_path / "outputs" / "sweeps" / "s1").values()
    assert smooth["engine"]["reason"] == "the compiled engine does not know the loss SmoothL1Loss()"
    assert len(records(tmp_path / "outputs" / "sweeps" / "s0")) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "choice", [("model=glob(*)", "latent=1"), ("scheduler=glob(*)",), ("noise.train_std=[0,1],[0.5,0.1],0.3",)]
)
def test_every_network_schedule_and_training_noise_trains(run_train: Run, tmp_path: Path, choice: tuple[str, ...]) -> None:
    done = run_train("-m", *SHORT, "~callbacks.figures", "num_seeds=2", "noise.train_between=schedule", "sweep=mine", *choice)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(records(tmp_path / "outputs" / "sweeps" / "mine")) >= 3


@pytest.mark.slow
def test_engines_agree(run_train: Run, tmp_path: Path) -> None:
    if library() is None:
        pytest.skip("nothing was compiled for this CPU")
    longer = ("data.train_size=640", "trainer.max_epochs=3", "num_seeds=2", "~callbacks.figures", "noise=paper")
    done = run_train("-m", *SHORT, *longer, "engine=compiled,pytorch", "sweep=mine")
    assert (done.returncode, done.stderr) == (0, "")
    found = {record["engine"]["name"].split()[0]: record for record in records(tmp_path / "outputs" / "sweeps" / "mine").values()}
    assert found["PyTorch"]["engine"]["reason"] == "engine=pytorch"
    for metric, summary in found["compiled"]["metrics"].items():
        assert found["PyTorch"]["metrics"][metric]["per_seed"] == pytest.approx(summary["per_seed"], rel=1e-4), metric


def test_the_compiled_engine_refuses_what_it_does_not_know(run_train: Run, tmp_path: Path) -> None:
    done = run_train(*SHORT, "engine=compiled", "activation=silu")
    said = "error: engine.name=compiled: the compiled engine does not know SiLU()\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_clipping_accumulation_and_precision(run_train: Run, tmp_path: Path) -> None:
    reasons = {
        "num_seeds=2 +trainer.gradient_clip_val=1 +trainer.gradient_clip_algorithm=value": None,
        "num_seeds=2 +trainer.gradient_clip_val=0.01": None,
        "seed=1 +trainer.gradient_clip_val=0.01": None,
        "num_seeds=2 +trainer.accumulate_grad_batches=2": "the compiled engine does not accumulate gradients",
        "num_seeds=2 +trainer.precision=bf16-mixed": "the compiled engine computes in 32 bits, not in bf16-mixed",
    }
    for number, (choice, reason) in enumerate(reasons.items()):
        done = run_train(*SHORT, "~callbacks.figures", *choice.split(), f"hydra.run.dir=run{number}")
        assert (done.returncode, done.stderr) == (0, ""), choice
        record = record_of(tmp_path / f"run{number}")
        assert record["engine"]["reason"] == reason or reason is None
        assert record["timing"]["steps"] == (1 if "accumulate" in choice else 2)
        assert 0 < record["metrics"]["val/mse"]["mean"] < 1
    both, alone = (record_of(tmp_path / f"run{number}")["metrics"]["val/mse"]["per_seed"] for number in (1, 2))
    assert both[1] == pytest.approx(alone[0], rel=1e-5), "each seed has a norm of its own"
