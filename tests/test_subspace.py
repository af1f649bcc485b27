import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from wavecoder.ensemble import Ensemble
from wavecoder.networks import DeepAutoencoder, TiedLinearAutoencoder
from wavecoder.references import PCA, SVD, moments_of
from wavecoder.signals import SinusoidSource
from wavecoder.subspace import LABELS, linear_distances, principal_angles


@given(a=st.integers(1, 6), b=st.integers(1, 6), seed=st.integers(0, 1000), spread=st.sampled_from([1.0, 1e-5]))
def test_principal_angles_equal_scipys(a: int, b: int, seed: int, spread: float) -> None:
    source = np.random.default_rng(seed)
    first, second = source.normal(size=(20, a)), source.normal(size=(20, b))
    common = min(a, b)
    second[:, :common] = first[:, :common] + spread * second[:, :common]  # nearly the same space when the spread is small
    ours = principal_angles(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    np.testing.assert_allclose(ours, np.sort(scipy.linalg.subspace_angles(first, second)), atol=1e-9)


@pytest.fixture(scope="module")
def training() -> Tensor:
    source = SinusoidSource(train_size=2000)
    return source.training_set("cpu").evaluate(source.times("cpu"))


def at_the_optimum(training: Tensor, bias: bool) -> TiedLinearAutoencoder:
    """A tied autoencoder that is the SVD of the signals, or with biases their PCA."""
    best = (PCA if bias else SVD)(5).fit(moments_of([training]))
    network = TiedLinearAutoencoder(100, 5, bias)
    with torch.no_grad():
        network.weight.copy_(best.basis_.T)
        if bias:
            assert network.encoder_bias is not None
            assert network.decoder_bias is not None
            network.encoder_bias.copy_(-best.basis_.T @ best.centre_)
            network.decoder_bias.copy_(best.centre_)
    return network


@pytest.mark.parametrize("bias", [False, True])
def test_distances_vanish_at_the_optimum(training: Tensor, bias: bool) -> None:
    ensemble = Ensemble(lambda: at_the_optimum(training, bias), range(2))
    distances = linear_distances(ensemble, moments_of([training]), 5)
    assert list(distances) == list(LABELS)
    for name, values in distances.items():
        assert values.shape == (2,)
        # singular values of an orthogonal matrix are equal, and its own singular vectors anything in their span
        assert name == "linear/direction_angle" or values.abs().max() < 1e-4, name


def test_each_member_may_have_training_signals_of_its_own(training: Tensor) -> None:
    parts = training.split(1000)
    networks = iter([at_the_optimum(parts[1], False), at_the_optimum(parts[0], False)])
    ensemble, own = Ensemble(lambda: next(networks), range(2)), [moments_of([part]) for part in parts]
    assert linear_distances(ensemble, own[::-1], 5)["linear/largest_angle"].max() < 1e-4
    crossed = linear_distances(ensemble, own, 5)
    assert crossed["linear/largest_angle"].min() > 1
    assert crossed["linear/excess"].min() > 1e-4


def test_directions_are_found_where_the_weights_differ_in_size(training: Tensor) -> None:
    network = at_the_optimum(training, False)
    with torch.no_grad():
        network.weight.mul_(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])[:, None])
    distances = linear_distances(Ensemble(lambda: network, [0]), moments_of([training]), 5)
    assert distances["linear/direction_angle"].item() < 1e-3
    assert distances["linear/largest_angle"].item() < 1e-3
    assert distances["linear/gram_error"].item() == pytest.approx(24, rel=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_distances_are_those_of_the_network_as_a_whole(training: Tensor, bias: bool) -> None:
    ensemble = Ensemble(lambda: DeepAutoencoder(100, 5, nn.Identity, bias=bias), range(3))
    distances = linear_distances(ensemble, moments_of([training]), 5)
    best = (PCA if bias else SVD)(5).fit(moments_of([training]))
    smallest = (best.reconstruct(training) - training).square().mean()
    for i in range(3):
        network = Ensemble(lambda: DeepAutoencoder(100, 5, nn.Identity, bias=bias), [i]).network
        encoder, decoder = (
            torch.linalg.multi_dot([layer.weight for layer in list(part)[::-1] if isinstance(layer, nn.Linear)])
            for part in (network.encoder, network.decoder)
        )
        error = (network(training) - training).square().mean()
        assert distances["linear/excess"][i].item() == pytest.approx((error / smallest - 1).item(), rel=1e-4)
        angle = scipy.linalg.subspace_angles(decoder.detach().numpy(), best.basis_.numpy()).max()
        assert distances["linear/largest_angle"][i].item() == pytest.approx(np.rad2deg(angle), rel=1e-4)
        gram_error = (encoder @ encoder.T - torch.eye(5)).abs().max().item()
        assert distances["linear/gram_error"][i].item() == pytest.approx(gram_error, rel=1e-4)


def test_a_member_that_diverges_has_no_distances_and_the_others_keep_theirs(training: Tensor) -> None:
    ensemble = Ensemble(lambda: TiedLinearAutoencoder(training.shape[1], 3), range(2))
    before = linear_distances(ensemble, moments_of([training]), 3)
    with torch.no_grad():
        ensemble.network.weight[1] = torch.inf
    for name, values in linear_distances(ensemble, moments_of([training]), 3).items():
        assert values.isnan().tolist() == [False, True]
        assert values[0] == before[name][0]
