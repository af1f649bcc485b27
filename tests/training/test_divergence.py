"""Members that diverge: when that is noticed, what they keep, and that nothing else feels it; and networks that have died."""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import autoencoder_module, data_module, problem, quiet_trainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import ExponentialLR

from wavecoder.engine import choose
from wavecoder.ensemble import Ensemble
from wavecoder.networks import DeepAutoencoder
from wavecoder.training.callbacks.checkpoint import LastCheckpoint
from wavecoder.training.diverged import Diverged
from wavecoder.training.module import AutoencoderModule

linear = partial(DeepAutoencoder, 100, 5, nn.Identity)
descent = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
ramp = partial(ExponentialLR, gamma=1.03)


def unstable_module(
    engine: str, seeds: Sequence[int] = range(3), gains: dict[int, float] | None = None, policy: str = "auto"
) -> AutoencoderModule:
    """A module of linear networks, some with weights that are larger by a factor, so that gradient descent diverges."""
    posed = problem(Ensemble(linear, seeds), seed=seeds[0])
    with torch.no_grad():
        for seed, gain in (gains or {}).items():
            if seed in seeds:
                for parameter in posed.ensemble.parameters():
                    parameter.view(len(seeds), -1)[seeds.index(seed)].mul_(gain)
    return AutoencoderModule(posed, choose(posed, engine).engine, descent, ramp, on_divergence=policy)


class KeepWeights(L.Callback):
    """Keeps the weights of all members before each chunk, by the steps that were done."""

    def __init__(self) -> None:
        self.before: dict[int, Tensor] = {}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
        assert isinstance(pl_module, AutoencoderModule)
        self.before[trainer.global_step] = pl_module.flat.detach().clone()


def first_bad_step(seed: int, gain: float) -> int | None:
    """How many steps of an epoch a plain loop of PyTorch does until the loss is not finite; None if it stays finite."""
    torch.manual_seed(seed)
    network = linear()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(gain)
    optimizer = descent(network.parameters())
    schedule = ramp(optimizer)
    for step, (inputs, targets) in enumerate(chain.from_iterable(data_module(1, seed, train_size=512).train_dataloader())):
        loss = nn.functional.mse_loss(network(inputs[0]), targets[0])
        if not loss.isfinite():
            return step
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return None


def test_a_member_diverges_at_the_step_at_which_it_does_so_in_a_plain_loop(tmp_path: Path, engine: str) -> None:
    module, signals = unstable_module(engine, gains={1: 1.8}), data_module(3, train_size=512)
    quiet_trainer(tmp_path).fit(module, signals)
    steps = {seed: first_bad_step(seed, {1: 1.8}.get(seed, 1)) for seed in range(3)}
    assert module.divergence.by_seed == {seed: step for seed, step in steps.items() if step is not None}
    assert list(module.divergence.by_seed) == [1]
    with pytest.raises(Diverged, match=rf"^seed 1 diverged at step {steps[1]}: its loss was (nan|inf)$") as alone:
        quiet_trainer(tmp_path).fit(unstable_module(engine, [1], {1: 1.8}), data_module(1, 1, train_size=512))
    assert alone.value.steps == {1: steps[1]}


@pytest.mark.slow
def test_it_goes_back_to_its_weights_before_the_chunk_and_keeps_them(tmp_path: Path, engine: str) -> None:
    module, kept = unstable_module(engine, gains={1: 1.8}), KeepWeights()
    quiet_trainer(tmp_path, callbacks=[kept]).fit(module, data_module(3, train_size=512))
    before = max(step for step in kept.before if step <= module.divergence.steps[1])
    assert 0 < before < max(kept.before)
    assert torch.equal(module.flat[1], kept.before[before][1])
    assert torch.equal(module.flat[1], kept.before[max(kept.before)][1])
    (state,) = module.optimizers(use_pl_optimizer=False).state.values()  # type: ignore[union-attr]
    assert state["momentum_buffer"].isfinite().all()


@pytest.mark.slow
def test_the_others_do_not_feel_it(tmp_path: Path, engine: str) -> None:
    found = []
    for gains in ({}, {1: 1.8}):
        module = unstable_module(engine, gains=gains)
        quiet_trainer(tmp_path).fit(module, data_module(3, train_size=512))
        found.append((module.flat.detach()[[0, 2]], module.meter.compute()["val/mse"]))
    (healthy, errors), (others, with_nan) = found
    assert torch.equal(healthy, others)
    assert torch.equal(errors[[0, 2]], with_nan[[0, 2]])
    assert with_nan.isnan().tolist() == [False, True, False]
    assert module.trainer.callback_metrics["val/mse"] == errors[[0, 2]].mean()


@pytest.mark.slow
def test_a_training_resumed_after_a_freeze_is_the_uninterrupted_one(tmp_path: Path, engine: str) -> None:
    def trained(epochs: int, checkpoint: Path | None = None) -> AutoencoderModule:
        module = unstable_module(engine, gains={1: 1.65, 2: 2.0})
        trainer = quiet_trainer(tmp_path, max_epochs=epochs)
        trainer.fit(module, data_module(3, train_size=512), ckpt_path=checkpoint)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return module

    whole = trained(3)
    state = torch.load(tmp_path / "3.ckpt", weights_only=True)
    before = trained(2)
    assert list(before.divergence.steps) == [2]
    resumed = trained(3, tmp_path / "2.ckpt")
    assert resumed.divergence.steps == whole.divergence.steps
    assert len(whole.divergence.steps) == 2, "one diverged before, and one after"
    again = torch.load(tmp_path / "3.ckpt", weights_only=True)
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "divergence"):
        torch.testing.assert_close(again[key], state[key], rtol=0, atol=0)
    torch.testing.assert_close(resumed.meter.compute(), whole.meter.compute(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.slow
def test_a_run_that_stops_keeps_the_checkpoint_before(tmp_path: Path, engine: str) -> None:
    module, last = unstable_module(engine, gains={1: 1.65}, policy="stop"), LastCheckpoint(str(tmp_path), every_seconds=0.0)
    with pytest.raises(Diverged, match=r"^seed 1 diverged at step"):
        quiet_trainer(tmp_path, max_epochs=5, callbacks=[last], enable_checkpointing=True).fit(
            module, data_module(3, train_size=512)
        )
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 64 < module.divergence.steps[1] < 96
    assert all(values.isfinite().all() for values in kept["state_dict"].values())


def test_if_all_members_diverge_the_run_ends(tmp_path: Path) -> None:
    module = unstable_module("auto", gains=dict.fromkeys(range(3), 3.0), policy="freeze")
    with pytest.raises(Diverged, match=r"^all 3 seeds diverged: seed 0 at step \d, seed 1 at step \d, seed 2 at step \d$"):
        quiet_trainer(tmp_path).fit(module, data_module(3))


def test_weights_that_are_lost_in_the_last_step_of_all_are_noticed(tmp_path: Path) -> None:
    class Breaks(torch.optim.SGD):
        """Gives the second member weights that are not finite in the eighth step."""

        def step(self, closure: Any = None) -> Any:
            loss = super().step(closure)
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == 8:
                self.param_groups[0]["params"][0].data[1] = torch.inf
            return loss

    module = autoencoder_module(linear, 2, "pytorch", lambda parameters: Breaks(parameters, lr=1e-3))
    quiet_trainer(tmp_path).fit(module, data_module(2, train_size=128, steps_per_execution=8))
    assert module.divergence.by_seed == {1: 8}
    assert module.flat.isfinite().all()


def test_dead_members_are_those_whose_output_never_changes(tmp_path: Path, engine: str) -> None:
    module = autoencoder_module(partial(DeepAutoencoder, 100, 1, nn.ReLU), 4, engine)
    with torch.no_grad():
        for member, bias in {0: 10.0, 1: -10.0, 2: 10.0, 3: 10.0}.items():
            for name, values in module.ensemble.named_parameters():
                if name.endswith("bias"):
                    values[member] = 0.1 if "encoder" not in name or bias > 0 else bias
        next(module.ensemble.parameters())[2] = torch.nan
    trainer = quiet_trainer(tmp_path)
    trainer.fit(module, data_module(4))
    trainer.test(module, data_module(4), verbose=False)
    assert module.constant.members == [1]
    assert list(module.divergence.steps) == [2]
