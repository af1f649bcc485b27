import re
from pathlib import Path

import pytest
from conftest import ROOT
from hydra import compose, initialize_config_dir

from wavecoder import autoencoder, backpropagation, commandline, settings, signals
from wavecoder.runs.settings import SettingError, from_config

CONF = ROOT / "conf"


def checked(*overrides: str) -> settings.Settings:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return from_config(compose("train", [commandline.quote_whole_numbers(override) for override in overrides]))


def test_names_are_those_the_library_knows() -> None:
    assert set(settings.FAMILIES) == set(signals.FAMILIES)
    assert set(settings.LOSSES) == set(backpropagation.LOSSES)
    for name in settings.ACTIVATIONS:
        autoencoder.activation(name, 0.1, 1)
    assert {path.stem for path in (CONF / "activation").iterdir()} == set(settings.ACTIVATIONS)
    assert {path.stem for path in (CONF / "model").iterdir()} == set(settings.MODELS)


@pytest.mark.parametrize(
    "file",
    [path for path in sorted(CONF.rglob("*.yaml")) if not path.is_relative_to(CONF / "hydra")],  # those have Hydra's own keys
    ids=lambda path: str(path.relative_to(CONF)),
)
def test_every_key_has_a_comment(file: Path) -> None:
    in_defaults = False
    for line in file.read_text(encoding="utf-8").splitlines():
        if re.match(r"\S", line):
            in_defaults = line.startswith("defaults:")
        key = re.match(r"\s*(\w+):\s*\S", line)
        assert in_defaults or not key or "  # " in line, f"no comment in: {line}"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["latent.dim=0"], r"latent\.dim=0: must be at least 1"),
        (["latent.dim=100"], r"latent\.dim=100: must be below data\.samples=100"),
        (["latent.dim=40", "data.signal_length=40"], r"latent\.dim=40: must be below data\.samples=40"),
        (["noise.eval_std=[0.1,-1]"], r"noise\.levels=\[0\.1, -1\.0\]: must be numbers above 0"),
        (["noise.eval_std=[1,1]"], r"noise\.levels"),
        (["noise.train_std=-0.1"], r"noise\.train=-0\.1: must be 0 or more"),
        (["noise.copies=0"], r"noise\.copies=0: must be at least 1"),
        (["data.batch_size=30000"], r"data\.batch_size=30000: must be at most data\.train_size=20000"),
        (["data.batch_size=0"], r"data\.batch_size=0: must be at least 1"),
        (["data.families=[]"], r"data\.families=\[\]: must be at least one of sin, cos"),
        (["data.families=[sin,saw]"], r"data\.families=saw: must be among sin, cos"),
        (["data.sigma=0"], r"data\.sigma=0\.0: must be above 0"),
        (["data.dt=inf"], r"data\.step=inf: must be above 0"),
        (["data.seed=-1"], r"data\.seed=-1: must be at least 0"),
        (["trainer.max_epochs=0"], r"trainer\.max_epochs=0: must be a whole number, at least 1"),
        (["trainer.max_epochs=1.5"], r"trainer\.max_epochs=1\.5: must be a whole number"),
        (["trainer.devices=0"], r"trainer\.devices=0: must be at least 1"),
        (["trainer.check_val_every_n_epoch=0"], r"trainer\.check_val_every_n_epoch=0: must be a whole number, at least 1"),
        (["+trainer.gradient_clip_val=1"], r"trainer\.gradient_clip_val=1: must be None, or not set"),
        (["+trainer.precision=bf16-mixed"], r"trainer\.precision=bf16-mixed: must be 32-true, or not set"),
        (["data.families=[sin,sin]"], r"data\.families=\['sin', 'sin'\]: must be different from one another"),
        (["model=linear_tied", "model.widths=[50]"], r"model\.widths=\[50\]: must be \[\] with model=linear_tied"),
        (["num_seeds=0"], r"num_seeds=0: must be at least 1"),
        (["seed=-2"], r"seed=-2: must be 0 or more"),
        (["loss=mae"], r"loss=mae: must be one of mse, l1, huber"),
        (["optimizer.lr=fast"], r"optimizer\.lr=fast: must be a number above 0"),
        (["optimizer.lr=0"], r"optimizer\.lr=0: must be a number above 0"),
        (["activation.name=swish"], r"activation\.name=swish: must be one of identity, relu"),
        (["activation=prelu", "activation.slope=null"], r"activation\.slope=None: must be a number for prelu"),
        (["model.widths=[50,0]"], r"model\.widths=\[50, 0\]: must be at least 1 each"),
        (["model.name=conv"], r"model\.name=conv: must be one of deep, linear_tied"),
        (["model=linear_tied", "activation=tanh"], r"activation=tanh: must be identity with model=linear_tied"),
    ],
)
def test_values_out_of_their_limits_are_named(overrides: list[str], message: str) -> None:
    with pytest.raises(SettingError, match=message) as error:
        checked(*overrides)
    assert "\n" not in str(error.value)


def test_limits_themselves_are_allowed() -> None:
    allowed = checked("latent.dim=99", "data.train_size=64", "noise=none", "num_seeds=1", "trainer=ddp_cpu", "data.val_size=1")
    assert (allowed.latent.dim, allowed.noise.eval_std, allowed.trainer["devices"]) == (99, [], 2)


@pytest.mark.parametrize("option", sorted(file.stem for file in (CONF / "experiment").glob("*.yaml")))
def test_experiments_compose(option: str) -> None:
    composed = checked(f"experiment={option}")
    assert (composed.model.name == "linear_tied") == (option in ("theorem", "plane"))
    assert (composed.noise.train > 0) == (option == "denoising")


def test_small_sets_are_trained_for_as_many_steps() -> None:
    for size, epochs in {100: 9360, 1000: 624, 20000: 30}.items():
        assert checked("experiment=overfitting", f"data.train_size={size}").trainer["max_epochs"] == epochs
