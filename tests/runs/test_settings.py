import re
from pathlib import Path

import pytest
import yaml
from conftest import composed

from wavecoder import networks
from wavecoder.runs.cli import CONF
from wavecoder.runs.limits import SettingError
from wavecoder.runs.names import RENAMED
from wavecoder.runs.settings import Settings, from_config


def checked(*overrides: str) -> Settings:
    return from_config(composed(*overrides))


@pytest.mark.parametrize("group", ["activation", "model", "loss", "optimizer"])
def test_every_option_names_a_class_and_arguments_that_it_takes(group: str) -> None:
    """That each can be trained with is in test_choices.py."""
    for file in sorted((CONF / group).glob("*.yaml")):
        option = yaml.safe_load(file.read_text(encoding="utf-8"))
        target = option.get(group, option)["_target_"]
        assert target.startswith(("torch.nn.", "torch.optim.", "wavecoder.networks.", "wavecoder.fourier.")), file


def test_models_name_the_networks_of_the_package() -> None:
    for option in ("deep", "linear_tied"):
        assert hasattr(networks, str(composed(f"model={option}").model._target_).rpartition(".")[2])


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
        (["latent.dim=100"], r"latent\.dim=100: must be below data\.signal_length=100"),
        (["latent.dim=40", "data.signal_length=40"], r"latent\.dim=40: must be below data\.signal_length=40"),
        (["noise.eval_std=[0.1,-1]"], r"noise\.eval_std=\[0\.1,-1\.0\]: must be numbers above 0"),
        (["noise.eval_std=[1,1]"], r"noise\.eval_std"),
        (["noise.train_std=-0.1"], r"noise\.train_std=-0\.1: must be a number, 0 or more, or two"),
        (["noise.train_std=[0.1]"], r"noise\.train_std=\[0\.1\]: must be a number, 0 or more, or two"),
        (["noise.train_std=[1,0.1]"], r"noise\.train_std=\[1,0\.1\]: must be two numbers, the first below the second"),
        (["noise.train_std=[0,1]", "noise.train_between=log_uniform"], r"noise\.train_std=\[0,1\]: must be .* and above 0"),
        (["noise.train_between=normal"], r"noise\.train_between=normal: must be one of uniform, log_uniform, schedule"),
        (["data.fresh_sigma=3"], r"data\.fresh_sigma=3: must be null, or with data\.fresh=true a number above 0"),
        (["data=fresh", "data.fresh_sigma=[3]"], r"data\.fresh_sigma=\[3\]: must be null, or .* or two, as \[3\.0,2\.25\]"),
        (["data=fresh", "data.fresh_sigma=[3,0]"], r"data\.fresh_sigma=\[3,0\]: must be null, or .* or two"),
        (["data=fresh", "data.fresh_sigma=wide"], r"data\.fresh_sigma=wide: must be null"),
        (["noise.copies=0"], r"noise\.copies=0: must be at least 1"),
        (["noise.draws=0"], r"noise\.draws=0: must be at least 1"),
        (["data.batch_size=30000"], r"data\.batch_size=30000: must be at most data\.train_size=20000"),
        (["data.batch_size=0"], r"data\.batch_size=0: must be at least 1"),
        (["data.families=[]"], r"data\.families=\[\]: must be at least one of sin, cos"),
        (["data.families=[sin,saw]"], r"data\.families=saw: must be among sin, cos"),
        (["data.sigma=0"], r"data\.sigma=0\.0: must be above 0"),
        (["data.dt=inf"], r"data\.dt=inf: must be above 0"),
        (["data.seed=-1"], r"data\.seed=-1: must be at least 0"),
        (["trainer.max_epochs=0"], r"trainer\.max_epochs=0: must be a whole number, at least 1"),
        (["trainer.max_epochs=1.5"], r"trainer\.max_epochs=1\.5: must be a whole number"),
        (["trainer.devices=0"], r"trainer\.devices=0: must be at least 1"),
        (["trainer.check_val_every_n_epoch=0"], r"trainer\.check_val_every_n_epoch=0: must be a whole number, at least 1"),
        (["trainer.max_epochs=true"], r"trainer\.max_epochs=true: must be a whole number"),
        (["threads=0"], r"threads=0: must be at least 1, or null"),
        (["+trainer.gradient_clip_val=-1"], r"trainer\.gradient_clip_val=-1: must be a number above 0"),
        (["+trainer.gradient_clip_algorithm=best"], r"trainer\.gradient_clip_algorithm=best: must be one of norm, value"),
        (["+trainer.precision=16-mixed"], r"trainer\.precision=16-mixed: must be one of 32-true, 64-true, bf16-true, bf16-mixed"),
        (["+trainer.accumulate_grad_batches=0"], r"trainer\.accumulate_grad_batches=0: must be a whole number, at least 1"),
        (
            ["+trainer.accumulate_grad_batches=2", "data.batch_size=20000"],
            r"data\.batch_size=20000: must be at most data\.train_size=20000 over trainer\.accumulate_grad_batches=2",
        ),
        (["+trainer.max_steps=10"], r"trainer\.max_steps=10: must be -1, or not set; trainer\.max_epochs counts"),
        (["+trainer.min_epochs=50"], r"trainer\.min_epochs=50: must be left alone: trainer\.max_epochs counts"),
        (["+trainer.min_steps=9"], r"trainer\.min_steps=9: must be left alone"),
        (
            ["+trainer.limit_val_batches=2"],
            r"trainer\.limit_val_batches=2: must be left alone: all of data\.val_size is measured",
        ),
        (["+trainer.limit_test_batches=0.5"], r"trainer\.limit_test_batches=0\.5: must be left alone"),
        (["+trainer.limit_predict_batches=1"], r"trainer\.limit_predict_batches=1: must be left alone"),
        (["engine.name=fast"], r"engine\.name=fast: must be one of auto, compiled, pytorch"),
        (["engine.steps_per_execution=0"], r"engine\.steps_per_execution=0: must be at least 1"),
        (["basis=exact"], r"basis=exact: must be one of fitted, population"),
        (["sweep=a/b"], r"sweep=a/b: must be letters, digits, and \._- after the first"),
        (["data.families=[sin,sin]"], r"data\.families=\[sin,sin\]: must be different from one another"),
        (["num_seeds=0"], r"num_seeds=0: must be at least 1"),
        (["seed=-2"], r"seed=-2: must be 0 or more"),
        (["optimizer.lr=fast"], r"optimizer\.lr=fast: must be a number above 0"),
        (["optimizer.lr=0"], r"optimizer\.lr=0: must be a number above 0"),
        (["+data.samples=50"], r"data\.samples: is now called data\.signal_length"),
        (["+optimiser=adam"], r"optimiser: no such setting; did you mean optimizer\?"),
        (["+data.size=50"], r"data\.size: no such setting; there are batch_size, dt, families"),
    ],
)
def test_values_out_of_their_limits_are_named(overrides: list[str], message: str) -> None:
    with pytest.raises(SettingError, match=message) as error:
        checked(*overrides)
    assert "\n" not in str(error.value)


def test_limits_themselves_are_allowed() -> None:
    allowed = checked("latent.dim=99", "data.train_size=64", "noise=none", "num_seeds=1", "trainer=ddp_cpu", "data.val_size=1")
    assert (allowed.latent.dim, allowed.noise.eval_std, allowed.trainer["devices"]) == (99, [], 2)


def test_what_means_the_same_for_every_seed_is_allowed() -> None:
    by_value = ("+trainer.gradient_clip_val=1", "+trainer.gradient_clip_algorithm=value", "num_seeds=2")
    assert checked(*by_value).trainer["gradient_clip_val"] == 1
    assert checked("+trainer.gradient_clip_val=0.5", "num_seeds=2").num_seeds == 2
    assert checked("+trainer.accumulate_grad_batches=2", "num_seeds=2").accumulate == 2
    for precision in ("32-true", "64-true", "bf16-true", "bf16-mixed"):
        assert checked(f"+trainer.precision={precision}", "num_seeds=2").trainer["precision"] == precision


def test_new_names_exist() -> None:
    config = composed("activation=leaky_relu")
    for new in RENAMED.values():
        group, _, key = new.partition(" ")[0].partition(".")
        assert key in config[group] if key else group in config, new


@pytest.mark.parametrize("option", sorted(file.stem for file in (CONF / "experiment").glob("*.yaml")))
def test_experiments_compose(option: str) -> None:
    settings = checked(f"experiment={option}")
    tied = settings.model["_target_"] == "wavecoder.networks.TiedLinearAutoencoder"
    assert tied == (option in ("theorem", "plane"))
    assert (settings.noise.train_std != 0) == option.startswith("denois")


def test_small_sets_are_trained_for_as_many_steps() -> None:
    for size, epochs in {100: 9360, 1000: 624, 20000: 30}.items():
        assert checked("experiment=overfitting", f"data.train_size={size}").trainer["max_epochs"] == epochs
