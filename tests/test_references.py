import numpy as np
import pytest
import scipy.linalg
import sklearn.decomposition
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavecoder import signals
from wavecoder.references import PCA, SVD, Moments, moments_of, principal_angles
from wavecoder.signals import FAMILIES, generator

# SPEC section 6: error of rank k on the population, mean squared error per sample.
SVD_ERROR = {1: 0.556881, 2: 0.490973, 3: 0.427864, 5: 0.313523, 10: 0.116808}
PCA_ERROR = {1: 0.555114, 2: 0.489241, 3: 0.426203, 5: 0.312126, 10: 0.116331}


def draw(count: int, *key: str) -> Tensor:
    return signals.sample(count, list(FAMILIES), 2.25, generator("cpu", *key)).at(signals.time_grid(100, 0.1))


def fitted(kind: type[SVD], rank: int, moments: Moments) -> SVD:
    reference = kind(rank)
    reference.fit(moments)
    return reference


@pytest.fixture(scope="module")
def training() -> Tensor:
    return draw(20_000, "training")


@pytest.fixture(scope="module")
def moments(training: Tensor) -> Moments:
    return moments_of(training.split(3000))


@pytest.mark.parametrize(("reference", "expected"), [(SVD, SVD_ERROR), (PCA, PCA_ERROR)])
@pytest.mark.parametrize("rank", [1, 2, 3, 5, 10])
def test_errors_on_fresh_signals_are_the_closed_form(
    reference: type[SVD], expected: dict[int, float], rank: int, moments: Moments
) -> None:
    fresh = draw(50_000, "validation")
    error = (fitted(reference, rank, moments).reconstruct(fresh) - fresh).square().mean().item()
    assert error == pytest.approx(expected[rank], rel=0.02)


@pytest.mark.parametrize("rank", [1, 5, 10])
def test_svd_projector_equals_numpys(training: Tensor, moments: Moments, rank: int) -> None:
    left = np.linalg.svd(training.double().numpy().T, full_matrices=False)[0][:, :rank]
    basis = fitted(SVD, rank, moments).basis.numpy()
    np.testing.assert_allclose(basis @ basis.T, left @ left.T, atol=1e-6)


@pytest.mark.parametrize("rank", [1, 5])
def test_pca_equals_scikit_learns(training: Tensor, moments: Moments, rank: int) -> None:
    theirs = sklearn.decomposition.PCA(rank, svd_solver="full").fit(training.double().numpy())
    some = training[:50]
    expected = theirs.inverse_transform(theirs.transform(some.double().numpy()))
    np.testing.assert_allclose(fitted(PCA, rank, moments).reconstruct(some).numpy(), expected, atol=1e-5)


def test_noise_adds_rank_times_variance_per_sample(moments: Moments) -> None:
    clean = draw(20_000, "noisy")
    noisy = signals.add_noise(clean, 1.0, generator("cpu", "its noise"))
    svd = fitted(SVD, 5, moments)
    added = (svd.reconstruct(noisy) - clean).square().mean() - (svd.reconstruct(clean) - clean).square().mean()
    assert added.item() == pytest.approx(5 / 100, rel=0.03)  # SPEC section 6: k l² / 100


@settings(deadline=None, max_examples=25)
@given(parts=st.lists(st.integers(1, 40), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_streamed_moments_do_not_depend_on_the_parts(parts: list[int], seed: int) -> None:
    whole = torch.randn(sum(parts), 7, generator=torch.Generator().manual_seed(seed))
    streamed = moments_of(whole.split(parts))
    exact = whole.double()
    assert streamed.count == len(whole)
    torch.testing.assert_close(streamed.mean, exact.mean(0))
    torch.testing.assert_close(streamed.second_moment, exact.T @ exact / len(exact))
    torch.testing.assert_close(streamed.covariance, torch.cov(exact.T, correction=0), atol=1e-12, rtol=1e-9)


def test_no_signals_and_impossible_ranks_are_refused(moments: Moments) -> None:
    with pytest.raises(ValueError, match="no signals"):
        moments_of([])
    for rank in (0, 101):
        with pytest.raises(ValueError, match=f"between 1 and 100.*got {rank}"):
            fitted(SVD, rank, moments)


@given(a=st.integers(1, 6), b=st.integers(1, 6), seed=st.integers(0, 1000), spread=st.sampled_from([1.0, 1e-5]))
def test_principal_angles_equal_scipys(a: int, b: int, seed: int, spread: float) -> None:
    source = np.random.default_rng(seed)
    first, second = source.normal(size=(20, a)), source.normal(size=(20, b))
    common = min(a, b)
    second[:, :common] = first[:, :common] + spread * second[:, :common]  # nearly the same space when the spread is small
    ours = principal_angles(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    np.testing.assert_allclose(ours, np.sort(scipy.linalg.subspace_angles(first, second)), atol=1e-9)
