from itertools import chain
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from conftest import data_module
from own_signals import Rows, RowSource
from test_references import PCA_ERROR, SVD_ERROR
from torch import Tensor

from wavecoder.metrics import ErrorMeter
from wavecoder.references import PCA, SVD, moments_of
from wavecoder.signals import SignalSet, SignalSource, Sinusoids
from wavecoder.training.data import SignalDataModule
from wavecoder.training.noise import Noise


def datamodule(
    seed: int = 0,
    num_seeds: int = 1,
    train_std: float = 0.0,
    epoch: int = 0,
    rank: int = 0,
    processes: int = 1,
    **changes: object,
) -> SignalDataModule:
    """A small data module in some epoch of one of several processes."""
    return in_training(data_module(num_seeds, seed, Noise(train_std=train_std), **changes), epoch, rank, processes)


def in_training(module: SignalDataModule, epoch: int = 0, rank: int = 0, processes: int = 1) -> SignalDataModule:
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        current_epoch=epoch,
        global_rank=rank,
        world_size=processes,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    return module


class Epoch(NamedTuple):
    inputs: Tensor
    targets: Tensor


def epoch_of(module: SignalDataModule) -> Epoch:
    """All steps of an epoch, `[step, member, batch, time]`."""
    chunks = list(module.train_dataloader())
    assert len(chunks) == len(module.train_dataloader())
    return Epoch(*(torch.stack(parts) for parts in zip(*chain.from_iterable(chunks), strict=True)))


def rows(signals: Tensor) -> set[tuple[float, ...]]:
    return {tuple(row) for row in signals.reshape(-1, signals.shape[-1]).tolist()}


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("per_seed", [False, True])
@pytest.mark.parametrize("train_std", [0.0, 0.5])
def test_member_i_sees_what_a_run_of_its_own_seed_sees(fresh: bool, per_seed: bool, train_std: float) -> None:
    changes: dict[str, Any] = {"train_std": train_std, "fresh": fresh, "epoch": 2, "per_seed": per_seed}
    together = epoch_of(datamodule(seed=3, num_seeds=3, **changes))
    for i in range(3):
        alone = epoch_of(datamodule(seed=3 + i, **changes))
        assert torch.equal(together.inputs[:, i], alone.inputs[:, 0])
        assert torch.equal(together.targets[:, i], alone.targets[:, 0])
    assert not torch.equal(together.inputs[:, 0], together.inputs[:, 1])


@pytest.mark.parametrize("train_std", [0.0, 0.5])
def test_the_length_of_chunks_changes_nothing(train_std: float) -> None:
    whole = epoch_of(datamodule(train_std=train_std, steps_per_execution=1000))
    for size in (1, 7, 40):
        assert torch.equal(epoch_of(datamodule(train_std=train_std, steps_per_execution=size)).inputs, whole.inputs)


def test_a_fixed_set_is_shuffled_anew_in_every_epoch() -> None:
    first, second = (epoch_of(datamodule(epoch=epoch)).targets for epoch in (0, 1))
    training = rows(torch.cat(list(datamodule().training_signals())))
    assert rows(first) == rows(second) == training
    assert not torch.equal(first, second)
    assert len(training) == 640


def test_a_last_smaller_batch_is_left_out() -> None:
    assert epoch_of(datamodule(train_size=650)).targets.shape == (40, 1, 16, 100)


def test_fresh_signals_never_come_again() -> None:
    first, second = (rows(epoch_of(datamodule(epoch=epoch, fresh=True)).targets) for epoch in (0, 1))
    assert len(first | second) == 2 * 640
    assert not (first | second) & rows(torch.cat(list(datamodule().training_signals())))


def test_fresh_frequencies_go_from_the_first_spread_in_the_first_epoch_to_the_second_in_the_last() -> None:
    epochs, batch = 5, 16
    for epoch in range(epochs):
        changes = {"fresh": True, "fresh_sigma": [4.0, 2.0], "families": ["sin"], "train_size": batch * 500}
        module = in_training(data_module(2, noise=Noise(steps=500 * epochs), **changes), epoch)
        frequencies = torch.cat([chunk.sinusoids.frequency for chunk in module.train_dataloader() if chunk.sinusoids])
        assert frequencies.std((0, 2)).tolist() == pytest.approx([4.0 - 0.5 * epoch] * 2, rel=0.05)


@pytest.mark.parametrize(("fresh", "per_seed"), [(False, False), (True, False), (False, True)])
def test_processes_share_each_batch_and_no_signal(fresh: bool, per_seed: bool) -> None:
    changes: dict[str, Any] = {"fresh": fresh, "per_seed": per_seed, "num_seeds": 2, "train_std": 0.5}
    whole = epoch_of(datamodule(**changes))
    ranks = [epoch_of(datamodule(**changes, rank=rank, processes=2)) for rank in range(2)]
    for step in range(40):
        parts = [rows(rank.inputs[step]) for rank in ranks]
        assert not parts[0] & parts[1]
        assert parts[0] | parts[1] == rows(whole.inputs[step])


def test_training_noise_is_added_to_the_inputs_alone() -> None:
    noisy, clean = epoch_of(datamodule(train_std=0.5)), epoch_of(datamodule())
    assert torch.equal(noisy.targets, clean.targets)
    noise = noisy.inputs - noisy.targets
    assert noise.std().item() == pytest.approx(0.5, rel=0.02)
    assert torch.unique(noise[:, 0, :, 0]).numel() == noise[:, 0, :, 0].numel(), "steps share noise"
    assert torch.equal(clean.inputs, clean.targets)


def test_the_data_seed_alone_decides_the_evaluation_signals() -> None:
    one, other = list(datamodule(seed=0).val_dataloader()), list(datamodule(seed=9, num_seeds=2).val_dataloader())
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(one, other, strict=True))
    different = datamodule(data_seed=1)
    assert not torch.equal(next(iter(different.val_dataloader())).inputs, one[0].inputs)


def test_evaluation_has_clean_and_noisy_signals_and_the_test_signal() -> None:
    batches = {batch.metric: batch for batch in datamodule().val_dataloader()}
    assert list(batches) == ["val/mse", "val/mse_noise_0.1", "val/mse_noise_1.0", "sine/mse_noise_0.1", "sine/mse_noise_1.0"]
    clean = batches["val/mse"].inputs
    assert not rows(clean) & rows(torch.cat(list(datamodule().training_signals())))
    for std in (0.1, 1.0):
        noisy, sine = batches[f"val/mse_noise_{std}"], batches[f"sine/mse_noise_{std}"]
        assert torch.equal(noisy.targets, clean)
        assert (noisy.inputs - clean).std().item() == pytest.approx(std, rel=0.03)
        assert sine.mean_metric == f"sine/mean_mse_noise_{std}"
        torch.testing.assert_close(sine.targets, torch.sin(torch.arange(100) / 10).expand(10, 100))
        assert (sine.inputs - sine.targets).std().item() == pytest.approx(std, rel=0.1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_references_on_the_validation_signals_have_the_closed_form_errors(seed: int) -> None:
    module = data_module(data_seed=seed, train_size=20_000, val_size=2000)
    moments = moments_of(module.training_signals())
    for kind, expected in {SVD: SVD_ERROR, PCA: PCA_ERROR}.items():
        for rank, error in expected.items():
            reference, meter = kind(rank).fit(moments), ErrorMeter()
            for batch in module.val_dataloader():
                meter.update(batch, reference.reconstruct(batch.inputs).unsqueeze(0))
            assert meter.compute()["val/mse"].item() == pytest.approx(error, rel=0.02), (kind, rank)


def test_the_final_test_adds_all_training_signals() -> None:
    batches = [batch for batch in datamodule(train_size=1500).test_dataloader() if batch.metric == "train/mse"]
    assert sum(len(batch.inputs) for batch in batches) == 1500


def test_evaluation_batches_are_bounded() -> None:
    batches = [batch for batch in data_module(val_size=10_000).val_dataloader() if batch.metric == "val/mse"]
    assert [len(batch.inputs) for batch in batches] == [4096, 4096, 1808]


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("train_std", [0.0, 0.5])
@pytest.mark.parametrize("processes", [1, 2])
def test_batches_are_stored_as_the_compiled_engine_reads_them(fresh: bool, train_std: float, processes: int) -> None:
    module = datamodule(num_seeds=3, fresh=fresh, train_std=train_std, processes=processes)
    for chunk in module.train_dataloader():
        assert (chunk.sinusoids is None) == (train_std > 0)
        for inputs, targets in chunk.blocks():
            assert inputs.mT.is_contiguous()
            assert targets.mT.is_contiguous()
            assert (inputs is targets) == (train_std == 0)


def test_times_are_the_sources() -> None:
    module = datamodule(signal_length=30, dt=0.5)
    torch.testing.assert_close(module.times, 0.5 * torch.arange(30))
    assert epoch_of(module).targets.shape == (40, 1, 16, 30)


def test_members_have_noise_and_signals_of_their_own() -> None:
    module = datamodule(num_seeds=3, train_std=0.5, fresh=True)
    epoch = epoch_of(module)
    noise = epoch.inputs - epoch.targets
    for a, b in ((0, 1), (1, 2)):
        assert not rows(epoch.targets[:, a]) & rows(epoch.targets[:, b])
        assert not rows(noise[:, a]) & rows(noise[:, b])


# --- chance of each seed's own ----------------------------------------------------------------------------------------------


def test_members_have_training_sets_of_their_own() -> None:
    """Each is shuffled, measured and has moments by itself; those of another data seed have nothing in common with them."""
    module = datamodule(num_seeds=3, seed=2, per_seed=True)
    batches = list(module.training_batches())
    targets = epoch_of(module).targets
    seen = [rows(targets[:, member]) for member in range(3)]
    measured = [rows(torch.cat([batch.inputs[member] for batch in batches])) for member in range(3)]
    assert seen == measured
    assert [len(each) for each in seen] == [640, 640, 640]
    shared = rows(torch.cat(list(datamodule().training_signals())))
    other = rows(torch.cat(list(datamodule(num_seeds=3, seed=2, per_seed=True, data_seed=1).training_signals())))
    assert len(seen[0] | seen[1] | seen[2] | shared | other) == (3 + 1 + 3) * 640
    assert rows(torch.cat(list(module.training_signals()))) == seen[0] | seen[1] | seen[2]

    assert len(module.moments_of_sets) == 3
    for member, moments in enumerate(module.moments_of_sets):
        signals = torch.cat([batch.inputs[member] for batch in batches]).double()
        torch.testing.assert_close(moments.second_moment, signals.T @ signals / 640)
    everything = torch.cat(list(module.training_signals())).double()
    torch.testing.assert_close(module.moments.mean, everything.mean(0))
    torch.testing.assert_close(module.moments.second_moment, everything.T @ everything / (3 * 640))


def test_a_set_for_each_seed_is_drawn_as_the_shared_one_is() -> None:
    """Frequencies and amplitudes of 64,000 signals have the distribution that the paper gives them."""
    drawn = data_module(5, per_seed=True, train_size=12_800).training_set()
    assert isinstance(drawn, Sinusoids)
    product = drawn.amplitude == 0.5
    assert product.double().mean().item() == pytest.approx(1 / 5, abs=4 * (0.16 / 64_000) ** 0.5)
    r = torch.where(product, drawn.frequency / 2, drawn.frequency) / 2.25
    assert r.mean().item() == pytest.approx(0, abs=4 / 64_000**0.5)
    assert r.square().mean().item() == pytest.approx(1, abs=4 * (2 / 64_000) ** 0.5)


def noise_of(module: SignalDataModule, std: float = 0.1, draws: int | None = None) -> Tensor:
    """The noise of the test signal over its standard deviation, `[copy, time]` or `[member, copy, time]`."""
    batch = module.noisy_test_signal(std, draws)
    assert batch is not None
    return (batch.inputs - batch.targets) / std


@pytest.mark.parametrize("per_seed", [False, True])
def test_noise_is_drawn_anew_in_each_draw_and_the_first_never_changes(per_seed: bool) -> None:
    once, often = (noise_of(data_module(2, noise=Noise(draws=draws), per_seed=per_seed)) for draws in (1, 7))
    assert once.shape == ((2, 10, 100) if per_seed else (10, 100))
    assert often.shape == ((2, 70, 100) if per_seed else (70, 100))
    assert torch.equal(often[..., :10, :], once)
    assert torch.equal(noise_of(data_module(2, noise=Noise(draws=7), per_seed=per_seed), draws=1), once)
    assert len(rows(often)) == often.numel() // 100, "none comes twice"


def test_members_have_independent_noise_of_the_sine() -> None:
    module = data_module(3, seed=4, noise=Noise(draws=50), per_seed=True)
    noise = noise_of(module)
    for i in range(3):
        assert torch.equal(noise_of(data_module(1, seed=4 + i, noise=Noise(draws=50), per_seed=True))[0], noise[i])
    covariance = noise.flatten(1) @ noise.flatten(1).T / noise[0].numel()
    torch.testing.assert_close(covariance, torch.eye(3), rtol=0, atol=4 * 2**0.5 / noise[0].numel() ** 0.5)
    assert not torch.equal(noise_of(module, 1.0)[:, :10], noise[:, :10])


# --- signals from elsewhere -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fresh", [False, True])
def test_any_source_of_signals_will_do(fresh: bool) -> None:
    values = torch.randn(128, 24, generator=torch.Generator().manual_seed(0))
    source = RowSource(values)
    assert isinstance(source, SignalSource)
    assert isinstance(source.training_set("cpu"), SignalSet)
    assert isinstance(source.training_set("cpu"), Rows)
    module = in_training(SignalDataModule(source, Noise(), 8, num_seeds=2, fresh=fresh, steps_per_execution=5))
    epoch = epoch_of(module)
    assert epoch.targets.shape == (12, 2, 8, 24)
    seen = [rows(epoch.targets[:, member]) for member in range(2)]
    assert all(each <= rows(values[:96]) if fresh else each == rows(values[:96]) for each in seen)
    assert not torch.equal(epoch.targets[:, 0], epoch.targets[:, 1])
    batches = {batch.metric: batch for batch in module.test_dataloader()}
    assert list(batches) == ["train/mse", "val/mse", "val/mse_noise_0.1", "val/mse_noise_1.0"]  # and no test signal
    assert torch.equal(batches["val/mse"].inputs, values[96:])
    assert torch.equal(batches["train/mse"].inputs, values[:96])
    assert module.noisy_test_signal(0.1) is None
    own = in_training(SignalDataModule(source, Noise(), 8, num_seeds=2, per_seed=True))
    assert rows(epoch_of(own).targets[:, 1]) == rows(torch.cat([batch.inputs[1] for batch in own.training_batches()]))
