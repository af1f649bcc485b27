import numpy as np
import pytest
import sklearn.decomposition
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavecoder import references, signals
from wavecoder.families import FAMILIES
from wavecoder.references import PCA, REFERENCES, SVD, Bayes, Moments, Reference, Wiener, moments_of, population_moments
from wavecoder.rng import generator
from wavecoder.signals import Prior

# SPEC section 6: error of rank k on the population, mean squared error per sample.
SVD_ERROR = {1: 0.556881, 2: 0.490973, 3: 0.427864, 5: 0.313523, 10: 0.116808}
PCA_ERROR = {1: 0.555114, 2: 0.489241, 3: 0.426203, 5: 0.312126, 10: 0.116331}


def draw(count: int, *key: str) -> Tensor:
    return signals.sample(count, list(FAMILIES), 2.25, generator("cpu", *key)).evaluate(signals.time_grid(100, 0.1))


def papers() -> Prior:
    """The paper's distribution of signals."""
    return Prior(signals.time_grid(100, 0.1), list(FAMILIES), 2.25)


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
    error = (reference(rank).fit(moments).reconstruct(fresh) - fresh).square().mean().item()
    assert error == pytest.approx(expected[rank], rel=0.02)


@pytest.mark.parametrize("rank", [1, 5, 10])
def test_svd_projector_equals_numpys(training: Tensor, moments: Moments, rank: int) -> None:
    left = np.linalg.svd(training.double().numpy().T, full_matrices=False)[0][:, :rank]
    basis = SVD(rank).fit(moments).basis_.numpy()
    np.testing.assert_allclose(basis @ basis.T, left @ left.T, atol=1e-6)


@pytest.mark.parametrize("rank", [1, 5])
def test_pca_equals_scikit_learns(training: Tensor, moments: Moments, rank: int) -> None:
    theirs = sklearn.decomposition.PCA(rank, svd_solver="full").fit(training.double().numpy())
    some = training[:50]
    expected = theirs.inverse_transform(theirs.transform(some.double().numpy()))
    np.testing.assert_allclose(PCA(rank).fit(moments).reconstruct(some).numpy(), expected, atol=1e-5)


def test_noise_adds_rank_times_variance_per_sample(moments: Moments) -> None:
    clean = draw(20_000, "noisy")
    noisy = signals.add_noise(clean, 1.0, generator("cpu", "its noise"))
    svd = SVD(5).fit(moments)
    added = (svd.reconstruct(noisy) - clean).square().mean() - (svd.reconstruct(clean) - clean).square().mean()
    assert added.item() == pytest.approx(5 / 100, rel=0.03)  # SPEC section 6: k l² / 100


def test_population_moments_are_the_closed_form() -> None:
    exact = population_moments(papers())
    assert exact.second_moment.diagonal().mean().item() == pytest.approx(0.624527, abs=1e-6)
    for matrix, expected in ((exact.second_moment, SVD_ERROR), (exact.covariance, PCA_ERROR)):
        eigenvalues = torch.linalg.eigvalsh(matrix).flip(0)
        for rank, error in expected.items():
            assert eigenvalues[rank:].sum().item() / 100 == pytest.approx(error, abs=1e-6)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_population_moments_of_one_family_are_those_of_many_signals(family: str) -> None:
    times = signals.time_grid(12, 0.4)
    many = signals.stratified_sample(200_000, [family], 1.5, generator("cpu", family)).evaluate(times)
    exact, drawn = population_moments(Prior(times, [family], 1.5)), moments_of([many])
    torch.testing.assert_close(drawn.mean, exact.mean, atol=2e-3, rtol=0)
    torch.testing.assert_close(drawn.second_moment, exact.second_moment, atol=2e-3, rtol=0)


@pytest.mark.parametrize(("std", "expected"), [(0.1, 0.003418), (1.0, 0.137306)])
def test_wiener_error_on_fresh_signals(moments: Moments, std: float, expected: float) -> None:
    clean = draw(50_000, "wiener")
    noisy = signals.add_noise(clean, std, generator("cpu", "wiener noise"))
    wiener = Wiener().fit(moments)
    error = (wiener.reconstruct(noisy, std) - clean).square().mean().item()
    assert error == pytest.approx(expected, rel=0.03)
    some = noisy[:5].double()
    second = moments.second_moment
    expected_some = torch.linalg.solve(second + std**2 * torch.eye(100), second @ some.T).T
    torch.testing.assert_close(wiener.reconstruct(some, std), expected_some, atol=1e-8, rtol=1e-6)
    assert wiener.reconstruct(clean, 0.0) is clean


# SPEC section 6, measured there; the sampling error of each is under one percent with this many signals
@pytest.mark.parametrize(
    ("std", "count", "expected"),
    [pytest.param(0.1, 40_000, 1.02e-4, marks=pytest.mark.slow), (0.3, 30_000, 8.9e-4), (1.0, 40_000, 0.0204)],
)
def test_bayes_error_on_fresh_signals(std: float, count: int, expected: float) -> None:
    clean = draw(count, "bayes")
    noisy = signals.add_noise(clean, std, generator("cpu", "bayes noise"))
    error = (Bayes(papers()).reconstruct(noisy, std) - clean).square().mean().item()
    assert error == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(("std", "copy", "mean"), [(0.1, 1.04e-4, 1.2e-5), (1.0, 0.0182, 2.6e-3)])
def test_bayes_error_on_the_sine(std: float, copy: float, mean: float) -> None:
    sine = torch.sin(signals.time_grid(100, 0.1)).repeat(4000, 1)
    denoised = Bayes(papers()).reconstruct(signals.add_noise(sine, std, generator("cpu", "sine noise")), std)
    # SPEC's are sample means too; at low noise the Cramér–Rao bound of the one parameter r is l²/100 = 1.00e-4
    assert (denoised - sine).square().mean().item() == pytest.approx(copy, rel=0.1)
    assert (denoised.view(400, 10, 100).mean(1) - sine[0]).square().mean().item() == pytest.approx(mean, rel=0.25)


@pytest.mark.parametrize("std", [0.01, 0.1, 1.0, 10.0])
def test_bayes_is_the_posterior_mean_over_a_far_finer_grid(std: float) -> None:
    clean = draw(6, "posterior")
    noisy = signals.add_noise(clean, std, generator("cpu", "posterior noise"))
    times = signals.time_grid(100, 0.1).double()
    r = torch.linspace(-4.5, 4.5, 120_001, dtype=torch.float64) * 2.25
    top, parts = [], []
    for amplitude, multiple, phase in FAMILIES.values():
        book = amplitude * torch.sin(multiple * r[:, None] * times + phase)
        logits = -(r[:, None] / 2.25).square().mT / 2 - torch.cdist(noisy.double(), book).square() / (2 * std**2)
        top.append(logits.max(1, keepdim=True).values)
        weights = (logits - top[-1]).exp()
        parts.append((weights @ book, weights.sum(1, keepdim=True)))
    highest = torch.stack(top).amax(0)
    scales = [(each - highest).exp() for each in top]
    exact = sum(scale * part[0] for scale, part in zip(scales, parts, strict=True)) / sum(
        scale * part[1] for scale, part in zip(scales, parts, strict=True)
    )
    torch.testing.assert_close(Bayes(papers()).reconstruct(noisy, std).double(), exact, atol=2e-3 * min(std, 1), rtol=0)


def test_bayes_needs_little_memory_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = signals.add_noise(draw(300, "blocks"), 0.3, generator("cpu", "blocks noise"))
    whole = Bayes(papers()).reconstruct(noisy.view(3, 100, 100), 0.3)
    monkeypatch.setattr(Bayes, "_SIGNALS", 7)
    monkeypatch.setattr(Bayes, "_CODES", 1000)
    torch.testing.assert_close(Bayes(papers()).reconstruct(noisy, 0.3).view(3, 100, 100), whole, atol=1e-5, rtol=0)
    assert Bayes(papers()).reconstruct(noisy, 0.0) is noisy


@settings(deadline=None, max_examples=25)
@given(parts=st.lists(st.integers(1, 40), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_streamed_moments_do_not_depend_on_the_parts(parts: list[int], seed: int) -> None:
    whole = torch.randn(sum(parts), 7, generator=torch.Generator().manual_seed(seed))
    streamed = moments_of(whole.split(parts))
    exact = whole.double()
    torch.testing.assert_close(streamed.mean, exact.mean(0))
    torch.testing.assert_close(streamed.second_moment, exact.T @ exact / len(exact))
    torch.testing.assert_close(streamed.covariance, torch.cov(exact.T, correction=0), atol=1e-12, rtol=1e-9)


def test_directions_are_orthonormal_and_centred_where_they_should_be(moments: Moments) -> None:
    svd, pca = SVD(5).fit(moments), PCA(5).fit(moments)
    for reference, centre in ((svd, torch.zeros_like(moments.mean)), (pca, moments.mean)):
        assert reference.basis_.shape == (100, 5)
        torch.testing.assert_close(reference.basis_.T @ reference.basis_, torch.eye(5, dtype=torch.float64))
        assert torch.equal(reference.centre_, centre)
        mean = moments.mean[None]
        assert (reference is pca) == torch.allclose(reference.reconstruct(mean), mean)
    powers = (svd.basis_.T @ moments.second_moment @ svd.basis_).diagonal()
    assert torch.equal(powers, powers.sort(descending=True).values)


def test_no_signals_and_impossible_ranks_are_refused(moments: Moments) -> None:
    with pytest.raises(ValueError, match="no signals"):
        moments_of([])
    for rank in (0, 101):
        with pytest.raises(ValueError, match=f"between 1 and 100.*got {rank}"):
            SVD(rank).fit(moments)


def test_references_are_known_by_their_names(moments: Moments) -> None:
    assert {name: kind.label for name, kind in REFERENCES.items()} == {
        "svd": "SVD",
        "pca": "PCA",
        "wiener": "Wiener",
        "bayes": "Bayes",
    }
    assert [name for name, kind in REFERENCES.items() if kind.denoises] == ["wiener", "bayes"]
    assert [name for name, kind in REFERENCES.items() if kind.show_ratio] == ["svd", "bayes"]
    clean = draw(4, "names")
    for kind in REFERENCES.values():
        reference = kind.create(3, papers())
        assert type(reference) is kind
        assert reference.fit(moments) is reference
        assert reference.reconstruct(clean, 0.5).shape == clean.shape


def test_where_no_prior_is_known_there_is_no_bayes_denoiser() -> None:
    assert [name for name, kind in REFERENCES.items() if kind.create(3, None) is None] == ["bayes"]


def test_deriving_a_class_registers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "REFERENCES", dict(REFERENCES))  # so that it is gone afterwards

    class Zero(Reference):
        name = "zero"
        label = "Zero"

        def fit(self, moments: Moments) -> "Zero":
            return self

        def reconstruct(self, signals: Tensor, noise: float) -> Tensor:
            return torch.zeros_like(signals)

    assert list(references.REFERENCES) == ["svd", "pca", "wiener", "bayes", "zero"]
    assert isinstance(Zero.create(3, None), Zero)
    assert not Zero.denoises
    assert not Zero.show_ratio
