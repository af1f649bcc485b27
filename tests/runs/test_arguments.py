"""Keys that nothing takes, in the composed configuration, are refused with the name that was meant."""

from pathlib import Path

import pytest
from conftest import composed
from processes import Run

from wavecoder.runs import checks, foreign
from wavecoder.runs.limits import SettingError

UNKNOWN = {
    "+data.train_sze=5": "data.train_sze: no such setting; did you mean data.train_size?",
    "+sed=3": "sed: no such setting; did you mean seed?",
    "+optimizer.weight_decy=1": "optimizer.weight_decy: Adam takes no such argument; did you mean optimizer.weight_decay?",
    "+loss.reductoin=sum": "loss.reductoin: MSELoss takes no such argument; did you mean loss.reduction?",
    "+activation.foo=1": "activation.foo: GELU takes no such argument; there are approximate",
    "+activation._target=torch.nn.ReLU": "activation._target: GELU takes no such argument; did you mean activation._target_?",
    "model=linear_tied +activation.foo=1": "activation=identity: TiedLinearAutoencoder takes no activation",
    "+model.width=3": "model.width: DeepAutoencoder takes no such argument; did you mean model.widths?",
    "+model.latent_dim=3": "model.latent_dim: must be left alone; latent.dim chooses it",
    "+scheduler.T_max=5": "scheduler.T_max: scheduler._target_ is null and takes nothing",
    "logger=none +logger.name=a": "logger.name: logger._target_ is null and takes nothing",
    "+logger.flush_sec=1": "logger.flush_sec: TensorBoardCurves takes no such argument; did you mean logger.flush_secs?",
    "+trainer.max_epoch=3": "trainer.max_epoch: Trainer takes no such argument; did you mean trainer.max_epochs?",
    "trainer=ddp_cpu +trainer.precison=64-true": "trainer.precison: Trainer takes no such argument; did you mean "
    "trainer.precision?",
    "+trainer.logger=false": "trainer.logger: must be left alone; the groups callbacks and logger choose it",
    "+callbacks.mine=3": "callbacks.mine: must have a _target_, the class of a callback",
    "+callbacks.mine._target_=os.path": "callbacks.mine._target_=os.path: os is not an allowed package",
    "+callbacks.last.every_second=3": "callbacks.last.every_second: LastCheckpoint takes no such argument; did you mean "
    "callbacks.last.every_seconds?",
    "+callbacks.stop._target_=lightning.pytorch.callbacks.Timer +callbacks.stop.duraton=1": "callbacks.stop.duraton: Timer takes "
    "no such argument; did you mean callbacks.stop.duration?",
    "++hydra.job.nam=3": "hydra.job.nam: no such setting; did you mean hydra.job.name?",
    "+hydra.sweeper.param=1": "hydra.sweeper.param: WavecoderSweeper takes no such argument; did you mean hydra.sweeper.params?",
}


@pytest.mark.parametrize("overrides", UNKNOWN)
def test_a_key_that_nothing_takes_is_refused_with_the_nearest_name(overrides: str) -> None:
    config = composed(*overrides.split())
    with pytest.raises(SettingError) as caught:
        checks.check_run(config)
    assert str(caught.value) == UNKNOWN[overrides]


@pytest.mark.parametrize(
    "overrides",
    [
        "+optimizer.amsgrad=true",
        "+trainer.precision=64-true +trainer.gradient_clip_val=1.0 +trainer.detect_anomaly=true",
        "+logger.flush_secs=10 +logger.log_graph=false",
        "+callbacks.stop._target_=lightning.pytorch.callbacks.Timer +callbacks.stop.duration=00:00:01:00",
        "+hydra.job.env_set.MINE=1 ++hydra.verbose=false",
        "optimizer._target_=torch.optim.RAdam +optimizer.decoupled_weight_decay=true",
        "scheduler._target_=torch.optim.lr_scheduler.StepLR +scheduler.step_size=10",
        "+trainer._convert_=all",
        "trainer=ddp_cpu trainer.devices=2",
    ],
)
def test_a_key_that_a_class_takes_is_taken(overrides: str) -> None:
    foreign.remember_typed(overrides.split())
    checks.check_run(composed(*overrides.split()))


@pytest.mark.slow
def test_a_sweep_with_such_a_key_writes_nothing(run_train: Run, tmp_path: Path) -> None:
    done = run_train("-m", "+trainer.max_epoch=3", "seed=0,1", "sweep=mine")
    error = f"error: {UNKNOWN['+trainer.max_epoch=3']}\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", error)
    assert not (tmp_path / "outputs").exists()
