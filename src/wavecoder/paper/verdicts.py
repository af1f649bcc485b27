"""The paper's claims C1 to C8, each judged over many seeds from the results of its networks.

Every claim is a function from results to verdicts, with the number each rests on and the fraction of seeds for which it holds.
Where the paper speaks of what the eye sees ("poor", "close", "visibly different"), the thresholds below say what is meant.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from wavecoder.paper.claims import ACTIVATIONS, LINEAR, NONLINEAR, Missing, PaperRuns, Values, Verdict, make_verdict
from wavecoder.references import REFERENCES

POOR = 0.1  # a reconstruction is poor if more than this share of the sine's power is missing from it, and close below it
FAR = 0.5  # extremely far off, if more than this
VISIBLE = 0.1  # two curves visibly differ if their root mean square distance is more than this share of the SVD's curve


def _share(holds: Bool[ndarray, " member"]) -> str:
    return f"{holds.mean():.0%} of seeds"


def _median(values: Values) -> float:
    """The median over the seeds that did not diverge."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def _check_seeds(errors: Iterable[Values]) -> None:
    if len({len(values) for values in errors}) > 1:
        raise Missing("the same number of seeds of every network")


def _errors(runs: PaperRuns, latent: int, metric: str, activations: Iterable[str]) -> dict[str, Values]:
    """One metric of several autoencoders, by activation, over the same seeds."""
    errors = {name: runs.errors(name, latent, metric) for name in activations}
    _check_seeds(errors.values())
    return errors


def _missing_power(runs: PaperRuns, latent: int, metric: str, activations: Iterable[str] = ACTIVATIONS) -> dict[str, Values]:
    """The share of the sine's power that is missing from the reconstructions of autoencoders and of the SVD."""
    power = runs.sine_power()
    errors = {name: values / power for name, values in _errors(runs, latent, metric, activations).items()}
    seeds = len(next(iter(errors.values())))
    return errors | {"svd": np.full(seeds, runs.reference("svd", latent, metric) / power)}


def _label(model: str) -> str:
    return REFERENCES[model].label if model in REFERENCES else model


def _medians(errors: Mapping[str, Values]) -> str:
    return ", ".join(f"{_label(name)} {value:.3g}" for value, name in sorted((_median(errors[name]), name) for name in errors))


def _ratios(ratios: Mapping[str, Values]) -> list[str]:
    return [f"{_label(name)}: median ratio {_median(r):.3g}, below 1 in {_share(r < 1)}." for name, r in ratios.items()]


def _winners(errors: Mapping[str, Values]) -> str:
    """In how many seeds each model has the smallest error."""
    first = np.array(list(errors))[np.nan_to_num(np.stack(list(errors.values())), nan=np.inf).argmin(0)]
    return ", ".join(f"{_label(name)} in {_share(first == name)}" for name in errors if (first == name).any())


def _smallest(errors: Mapping[str, Values], *without: str) -> Values:
    """The smallest error in each seed; NaN where one diverged."""
    return np.stack([values for name, values in errors.items() if name not in without]).min(0)


def _poor_at_latent_1(runs: PaperRuns) -> list[Verdict]:
    errors = _missing_power(runs, 1, "sine/mse_noise_0.1")
    best = _smallest(errors)
    three = {name: errors[name] for name in (LINEAR, "svd", "relu")}
    far = _smallest(three)
    others = _smallest(errors, "tanh")
    return [
        make_verdict(
            "C1a",
            "With a latent of 1 and noise 0.1, reconstructions are poor everywhere.",
            f"No model misses less than {POOR:.0%} of the sine's power.",
            "smallest share missed by any of the eight models",
            best,
            best > POOR,
            [f"Median shares missed: {_medians(errors)}."],
        ),
        make_verdict(
            "C1b",
            "Identity, SVD and ReLU are extremely far off.",
            f"Each of the three misses more than {FAR:.0%} of the sine's power.",
            "smallest share missed by the three",
            far,
            far > FAR,
            [f"{_label(name)}: more than {FAR:.0%} in {_share(values > FAR)}." for name, values in three.items()],
        ),
        make_verdict(
            "C1c",
            "Tanh is the closest.",
            "Tanh's error is the smallest of the eight models'.",
            "tanh's error over that of the best other model",
            errors["tanh"] / others,
            errors["tanh"] < others,
            [f"The closest is {_winners(errors)}."],
        ),
    ]


def _linear_at_latent_1(runs: PaperRuns) -> list[Verdict]:
    errors = _missing_power(runs, 1, "sine/mse_noise_0.1", [LINEAR])
    linear = np.minimum(errors[LINEAR], errors["svd"])
    to_svd, to_pca = (runs.distance(LINEAR, name, 1, 0.1) for name in ("svd", "pca"))
    between = float(runs.distance("pca", "svd", 1, 0.1)[0])
    flat = np.sqrt(np.square(runs.means("svd", 1, 0.1)).mean() / runs.sine_power())
    evidence = [
        f"PCA's curve, the optimum of a linear autoencoder with biases, is itself {between:.3g} away from the SVD's.",
        f"The SVD's curve itself is flat: its root mean square is {float(flat):.3g} of the sine's.",
        f"The linear autoencoder stands {_median(to_pca):.3g} from PCA and {_median(to_svd):.3g} from the SVD (medians).",
    ]
    return [
        make_verdict(
            "C2a",
            "With a latent of 1, the linear autoencoder and the SVD are both poor.",
            f"Both miss more than {POOR:.0%} of the sine's power.",
            "smaller share missed of the two",
            linear,
            linear > POOR,
        ),
        make_verdict(
            "C2b",
            "They visibly differ from each other.",
            f"The root mean square distance of their mean reconstructions is above {VISIBLE:.0%} of the SVD's curve.",
            "that distance over the root mean square of the SVD's curve",
            to_svd,
            to_svd > VISIBLE,
            evidence + _without_bias(runs, 1, 0.1),
        ),
        make_verdict(
            "C2c",
            "(Our explanation.) Biases make the linear autoencoder follow PCA, not the SVD.",
            "Its mean reconstruction is nearer to PCA's than to the SVD's.",
            "its distance to PCA over that to the SVD",
            to_pca / to_svd,
            to_pca < to_svd,
        ),
    ]


def _without_bias(runs: PaperRuns, latent: int, noise: float) -> list[str]:
    model = "deep without bias"
    try:
        to_svd, to_pca = (runs.distance(LINEAR, name, latent, noise, model) for name in ("svd", "pca"))
    except Missing as missing:
        return [f"Not compared with the autoencoder without biases: {missing} is not in this sweep."]
    nearer = _share(to_svd < to_pca)
    medians = f"{_median(to_svd):.3g} from the SVD and {_median(to_pca):.3g} from PCA"
    return [f"Trained without biases it stands {medians}, nearer to the SVD in {nearer}."]


def _better_at_latent_5(runs: PaperRuns) -> list[Verdict]:
    metric = "sine/mse_noise_0.1"
    one, five = (_missing_power(runs, latent, metric) for latent in (1, 5))
    _check_seeds([*one.values(), *five.values()])
    ratios = {name: five[name] / one[name] for name in one}
    worst = np.stack(list(ratios.values())).max(0)
    return [
        make_verdict(
            "C3",
            "With a latent of 5, every model improves on a latent of 1 (noise 0.1).",
            "Every one of the eight models has a smaller error with 5 than with 1, for the same seed.",
            "largest of the eight models' ratios of error, 5 to 1",
            worst,
            worst < 1,
            _ratios(ratios),
        )
    ]


def _linear_at_latent_5(runs: PaperRuns) -> list[Verdict]:
    to_svd, to_pca = (runs.distance(LINEAR, name, 5, 0.1) for name in ("svd", "pca"))
    between = float(runs.distance("pca", "svd", 5, 0.1)[0])
    evidence = [f"Distance to PCA: median {_median(to_pca):.3g}; of PCA to the SVD: {between:.3g}."]
    return [
        make_verdict(
            "C4a",
            "With a latent of 5, the linear autoencoder and the SVD are nearly identical.",
            f"The root mean square distance of their mean reconstructions is below {VISIBLE:.0%} of the SVD's curve.",
            "that distance over the root mean square of the SVD's curve",
            to_svd,
            to_svd < VISIBLE,
            evidence + _without_bias(runs, 5, 0.1),
        ),
        make_verdict(
            "C4b",
            "The small differences come from training.",
            "It is further from its own optimum, PCA, than PCA is from the SVD.",
            "its distance to PCA over that of PCA to the SVD",
            to_pca / between,
            to_pca > between,
            ["Where this is below 1, what separates the curves is the bias: two optima, both nearly reached."],
        ),
    ]


def _best_at_high_noise(runs: PaperRuns) -> list[Verdict]:
    errors = _missing_power(runs, 5, "sine/mean_mse_noise_1.0", NONLINEAR)
    del errors["svd"]
    pair = np.maximum(errors["prelu"], errors["gelu"])
    others = _smallest(errors, "prelu", "gelu")
    return [
        make_verdict(
            "C5",
            "With a latent of 5 and noise 1, PReLU and GELU give the best nonlinear mean reconstructions.",
            "Both have a smaller error of the mean than each of the other four nonlinear activations.",
            "the larger of their two errors over the smallest of the others",
            pair / others,
            pair < others,
            [f"Median shares of the sine's power missed by the mean: {_medians(errors)}.", f"The best is {_winners(errors)}."],
        )
    ]


def _linear_at_high_noise(runs: PaperRuns) -> list[Verdict]:
    errors = _missing_power(runs, 5, "sine/mean_mse_noise_1.0", [LINEAR])
    worse = np.maximum(errors[LINEAR], errors["svd"])
    return [
        make_verdict(
            "C6",
            "With a latent of 5 and noise 1, even the linear models come really close to the true signal.",
            f"The means of both the linear autoencoder and the SVD miss less than {POOR:.0%} of the sine's power.",
            "larger share missed of the two",
            worse,
            worse < POOR,
            [f"Medians: {_medians(errors)}."],
        )
    ]


def _theorem(runs: PaperRuns) -> list[Verdict]:
    def distances(latent: int) -> tuple[Values, Values, Bool[ndarray, " member"]]:
        excess, angle = (runs.errors(LINEAR, latent, f"linear/{name}", "linear_tied") for name in ("excess", "largest_angle"))
        return excess, angle, (excess < 1e-3) & (angle < 1)

    _, angle, converged = distances(5)
    evidence = []
    for latent in runs.latents(LINEAR, "linear_tied"):
        excess, turned, both = distances(latent)
        evidence.append(
            f"Latent {latent}: excess {_median(excess):.2g}, angle {_median(turned):.2g}°; converged in {_share(both)}."
        )
    return [
        make_verdict(
            "C7",
            "A tied linear autoencoder converges to the SVD's subspace.",
            "Its error is less than 0.1 % above the smallest possible, and its largest principal angle to U_5 is below 1 degree.",
            "largest principal angle, in degrees",
            angle,
            converged,
            evidence,
        )
    ]


def _beating_the_svd(runs: PaperRuns) -> list[Verdict]:
    verdicts = []
    for part, latent in (("C8a", 1), ("C8b", 5)):
        ratios, noisy = (_errors(runs, latent, f"{metric}/over_svd", NONLINEAR) for metric in ("val/mse", "val/mse_noise_1.0"))
        best = _smallest(ratios)
        losing = ", ".join(f"{name} {_median(r):.3g}" for name, r in noisy.items() if _median(r) > 1)
        noise_1 = f"On signals with noise 1 the SVD is better than: {losing or 'none of them'} (median ratios)."
        verdicts.append(
            make_verdict(
                part,
                f"Nonlinear autoencoders can beat the SVD of the same rank (latent {latent}, clean signals).",
                "The best of the six has a smaller error on new signals than the SVD.",
                "the best nonlinear error over the SVD's",
                best,
                best < 1,
                [*_ratios(ratios), noise_1],
            )
        )
    return verdicts


_CLAIMS: dict[str, tuple[str, Callable[[PaperRuns], list[Verdict]]]] = {
    "C1": ("With a latent of 1 and noise 0.1 all are poor, Identity, SVD and ReLU worst, tanh closest.", _poor_at_latent_1),
    "C2": ("With a latent of 1 the linear autoencoder and the SVD are both poor but visibly differ.", _linear_at_latent_1),
    "C3": ("With a latent of 5, every model improves on a latent of 1.", _better_at_latent_5),
    "C4": ("With a latent of 5 the linear autoencoder and the SVD are nearly identical.", _linear_at_latent_5),
    "C5": ("With a latent of 5 and noise 1, PReLU and GELU give the best nonlinear means.", _best_at_high_noise),
    "C6": ("With a latent of 5 and noise 1, even the linear models come really close.", _linear_at_high_noise),
    "C7": ("A tied linear autoencoder converges to the SVD's subspace.", _theorem),
    "C8": ("Nonlinear autoencoders can beat the SVD of the same rank.", _beating_the_svd),
}


def judge_all(runs: PaperRuns) -> list[Verdict]:
    """All claims in order; one whose runs are missing cannot be judged, and says which it needs."""
    verdicts = []
    for name, (claim, function) in _CLAIMS.items():
        try:
            verdicts += function(runs)
        except Missing as missing:
            verdicts.append(Verdict(name, claim, f"Needs {missing}, which is not in this sweep."))
    return verdicts
