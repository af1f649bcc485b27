"""The paper's claims C1 to C8, each judged over many seeds from the results of its networks.

Every claim is a function from results to verdicts, with the number each rests on and the fraction of seeds for which it holds.
Where the paper speaks of what the eye sees ("poor", "close", "visibly different"), the thresholds below say what is meant.
"""

from collections.abc import Callable, Mapping

import numpy as np

from wavecoder.paper.claims import LINEAR, NONLINEAR, Missing, PaperRuns
from wavecoder.paper.errors import (
    describe_ratios,
    errors_of,
    label_of,
    median,
    medians,
    relative_errors,
    require_same_seeds,
    smallest,
    winners,
    worst_model,
)
from wavecoder.paper.judging import Claim, Values, Verdict, make_verdict, percent, share, worst_of
from wavecoder.paper.numbers import number

POOR = 0.1  # a reconstruction is poor if its error is above this share of the sine's power, and close if it is below
FAR = 0.5  # extremely far off, if it is above this
VISIBLE = 0.1  # two curves visibly differ if their root mean square distance is above this share of the SVD's curve
EXCESS = 1e-3  # a linear autoencoder has converged if its error is above the smallest possible by less than this share
ANGLE = 1.0  # and if the largest principal angle to the subspace of the SVD is below this, in degrees


def _poor_at_latent_1(runs: PaperRuns) -> list[Verdict]:
    errors = relative_errors(runs, 1, "sine/mse_noise_0.1")
    best = smallest(errors)
    three = {name: errors[name] for name in (LINEAR, "svd", "relu")}
    far = smallest(three)
    others = smallest(errors, "tanh")
    return [
        make_verdict(
            "C1a",
            "With a latent of 1 and noise 0.1, reconstructions are poor everywhere.",
            f"The error of each of the eight models is above {percent(POOR)} of the sine's power.",
            "the smallest error of the eight models, as a share of the sine's power",
            best,
            best > POOR,
            [f"Median errors, as shares of the sine's power: {medians(errors)}."],
            worst_model(errors, lambda values: values > POOR),
        ),
        make_verdict(
            "C1b",
            "Identity, SVD and ReLU are extremely far off.",
            f"The error of each of the three is above {percent(FAR)} of the sine's power.",
            "the smallest error of the three, as a share of the sine's power",
            far,
            far > FAR,
            [f"{label_of(name)}: above {percent(FAR)} in {share(values > FAR)}." for name, values in three.items()],
            worst_model(three, lambda values: values > FAR),
        ),
        make_verdict(
            "C1c",
            "Tanh is the closest.",
            "Tanh's error is the smallest of the eight models'.",
            "tanh's error over the smallest of the other models'",
            errors["tanh"] / others,
            errors["tanh"] < others,
            [f"The closest is {winners(errors)}."],
        ),
    ]


def _linear_at_latent_1(runs: PaperRuns) -> list[Verdict]:
    errors = relative_errors(runs, 1, "sine/mse_noise_0.1", [LINEAR])
    linear = np.minimum(errors[LINEAR], errors["svd"])
    to_svd, to_pca = (runs.distance(LINEAR, name, 1, 0.1) for name in ("svd", "pca"))
    between = median(runs.distance("pca", "svd", 1, 0.1))
    flat = np.sqrt(np.square(runs.means("svd", 1, 0.1)).mean(1) / runs.sine_power())  # of each training set
    apart = median(to_svd * flat)
    evidence = [
        f"PCA's curve, the optimum of a linear autoencoder with biases, is itself {number(between)} away from the SVD's.",
        f"The SVD's curve itself is flat: its root mean square is {number(median(flat))} of the sine's,"
        f" the distance {number(apart)}.",
        f"The linear autoencoder stands {number(median(to_pca))} from PCA and {number(median(to_svd))} from the SVD (medians).",
    ]
    return [
        make_verdict(
            "C2a",
            "With a latent of 1, the linear autoencoder and the SVD are both poor.",
            f"The errors of both are above {percent(POOR)} of the sine's power.",
            "the smaller error of the two, as a share of the sine's power",
            linear,
            linear > POOR,
            worst=worst_model(errors, lambda values: values > POOR),
        ),
        make_verdict(
            "C2b",
            "They visibly differ from each other.",
            f"The root mean square distance of their mean reconstructions is above {percent(VISIBLE)} of the SVD's curve.",
            "that distance over the root mean square of the SVD's curve",
            to_svd,
            to_svd > VISIBLE,
            evidence + _without_bias(runs, 1, 0.1),
        ),
        make_verdict(
            "C2c",
            "Biases make the linear autoencoder follow PCA, not the SVD.",
            "Its mean reconstruction is nearer to PCA's than to the SVD's.",
            "its distance to PCA over that to the SVD",
            to_pca / to_svd,
            to_pca < to_svd,
            is_papers=False,
        ),
    ]


def _without_bias(runs: PaperRuns, latent: int, noise: float) -> list[str]:
    model = "deep without bias"
    try:
        to_svd, to_pca = (runs.distance(LINEAR, name, latent, noise, model) for name in ("svd", "pca"))
    except Missing as missing:
        return [f"The comparison with the autoencoder without biases needs {missing}, which is not in this sweep."]
    nearer = share(to_svd < to_pca)
    medians = f"{number(median(to_svd))} from the SVD and {number(median(to_pca))} from PCA"
    return [f"Trained without biases it stands {medians}, nearer to the SVD in {nearer}."]


def _better_at_latent_5(runs: PaperRuns) -> list[Verdict]:
    metric = "sine/mse_noise_0.1"
    one, five = (relative_errors(runs, latent, metric) for latent in (1, 5))
    require_same_seeds([*one.values(), *five.values()])
    ratios = {name: five[name] / one[name] for name in one}
    largest = np.stack(list(ratios.values())).max(0)
    return [
        make_verdict(
            "C3",
            "With a latent of 5, every model improves on a latent of 1 (noise 0.1).",
            "Every one of the eight models has a smaller error with 5 than with 1, for the same seed.",
            "the largest of the eight models' ratios of error, 5 to 1",
            largest,
            largest < 1,
            describe_ratios(ratios),
            worst_model(ratios, lambda ratio: ratio < 1),
        )
    ]


def _linear_at_latent_5(runs: PaperRuns) -> list[Verdict]:
    to_svd, to_pca = (runs.distance(LINEAR, name, 5, 0.1) for name in ("svd", "pca"))
    between = runs.distance("pca", "svd", 5, 0.1)
    evidence = [f"Distance to PCA: median {number(median(to_pca))}; of PCA to the SVD: {number(median(between))}."]
    return [
        make_verdict(
            "C4a",
            "With a latent of 5, the linear autoencoder and the SVD are nearly identical.",
            f"The root mean square distance of their mean reconstructions is below {percent(VISIBLE)} of the SVD's curve.",
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
    errors = relative_errors(runs, 5, "sine/mean_mse_noise_1.0", NONLINEAR)
    del errors["svd"]
    two = {name: errors[name] for name in ("prelu", "gelu")}
    pair, others = np.maximum(*two.values()), smallest(errors, *two)
    return [
        make_verdict(
            "C5",
            "With a latent of 5 and noise 1, PReLU and GELU give the best nonlinear mean reconstructions.",
            "Both have a smaller error of the mean than each of the other four nonlinear activations.",
            "the larger of their two errors over the smallest of the others",
            pair / others,
            pair < others,
            [
                f"Median errors of the mean, as shares of the sine's power: {medians(errors)}.",
                f"The best is {winners(errors)}.",
            ],
            worst_model(two, lambda values: values < others),
        )
    ]


def _linear_at_high_noise(runs: PaperRuns) -> list[Verdict]:
    errors = relative_errors(runs, 5, "sine/mean_mse_noise_1.0", [LINEAR])
    worse = np.maximum(errors[LINEAR], errors["svd"])
    return [
        make_verdict(
            "C6",
            "With a latent of 5 and noise 1, even the linear models come really close to the true signal.",
            f"The errors of the means of both the linear autoencoder and the SVD are below {percent(POOR)} of the sine's power.",
            "the larger error of the two, as a share of the sine's power",
            worse,
            worse < POOR,
            [f"Medians: {medians(errors)}."],
            worst_model(errors, lambda values: values < POOR),
        )
    ]


def _theorem(runs: PaperRuns) -> list[Verdict]:
    latents = runs.latents(LINEAR, "linear_tied")
    if not latents:
        raise Missing("a tied linear autoencoder (experiment=theorem)")
    excess, angle = (
        {latent: runs.errors(LINEAR, latent, f"linear/{name}", "linear_tied") for latent in latents}
        for name in ("excess", "largest_angle")
    )
    return [
        _at_every_latent(
            "C7a",
            "A tied linear autoencoder reaches the smallest error possible.",
            f"For every size of the latent, its error is less than {100 * EXCESS:.1g} % above the smallest possible.",
            "its error's excess over the smallest possible, as a share of that",
            excess,
            EXCESS,
        ),
        _at_every_latent(
            "C7b",
            "Its weights span the subspace of the SVD.",
            f"For every size k of the latent, its largest principal angle to U_k is below {ANGLE:g} degree.",
            "its largest principal angle, in degrees",
            angle,
            ANGLE,
        ),
    ]


def _at_every_latent(
    name: str, claim: str, criterion: str, statistic: str, distances: Mapping[int, Values], limit: float
) -> Verdict:
    """The verdict for all sizes of the latent together: in each seed the largest distance from the optimum counts."""
    require_same_seeds(distances.values())
    holds = {latent: values < limit for latent, values in distances.items()}
    largest = np.stack(list(distances.values())).max(0)
    each = ", ".join(f"{latent}: {number(median(values))} ({share(holds[latent])})" for latent, values in distances.items())
    return make_verdict(
        name,
        claim,
        criterion,
        f"{statistic}, the largest over sizes of the latent",
        largest,
        largest < limit,
        [f"Medians by size of the latent, in parentheses the seeds that are below {limit:g}: {each}."],
        worst_of({f"latent {latent}": values for latent, values in holds.items()}),
    )


def _beating_the_svd(runs: PaperRuns) -> list[Verdict]:
    verdicts = []
    for part, latent in (("C8a", 1), ("C8b", 5)):
        ratios, noisy = (errors_of(runs, latent, f"{metric}/over_svd", NONLINEAR) for metric in ("val/mse", "val/mse_noise_1.0"))
        best = smallest(ratios)
        verdicts.append(
            make_verdict(
                part,
                f"Nonlinear autoencoders can beat the SVD of the same rank (latent {latent}, clean signals).",
                "The best of the six has a smaller error on new signals than the SVD.",
                "the best nonlinear error over the SVD's",
                best,
                best < 1,
                [*describe_ratios(ratios), _with_noise(noisy)],
            )
        )
    return verdicts


def _with_noise(ratios: Mapping[str, Values]) -> str:
    """On which side of the SVD's error those of autoencoders are if signals are noisy."""
    losing = {name: ratio for name, ratio in ratios.items() if median(ratio) > 1}
    if not losing:
        return "On signals with noise 1 each of the six has a smaller median error than the SVD."
    return f"On signals with noise 1 these have a larger error than the SVD, by median ratios: {medians(losing)}."


_CLAIMS: dict[str, tuple[str, Callable[[PaperRuns], list[Verdict]]]] = {
    "C1": ("With a latent of 1 and noise 0.1 all are poor, Identity, SVD and ReLU worst, tanh closest.", _poor_at_latent_1),
    "C2": ("With a latent of 1 the linear autoencoder and the SVD are both poor but visibly differ.", _linear_at_latent_1),
    "C3": ("With a latent of 5, every model improves on a latent of 1.", _better_at_latent_5),
    "C4": (
        "With a latent of 5 the linear autoencoder and the SVD are nearly identical, but for what training leaves.",
        _linear_at_latent_5,
    ),
    "C5": ("With a latent of 5 and noise 1, PReLU and GELU give the best nonlinear means.", _best_at_high_noise),
    "C6": ("With a latent of 5 and noise 1, even the linear models come really close.", _linear_at_high_noise),
    "C7": ("A tied linear autoencoder converges to the SVD's subspace.", _theorem),
    "C8": ("Nonlinear autoencoders can beat the SVD of the same rank.", _beating_the_svd),
}


def judge_all(runs: PaperRuns) -> list[Claim]:
    """All claims in order; one whose runs are missing cannot be judged, and says which it needs."""
    claims = []
    for name, (claim, function) in _CLAIMS.items():
        try:
            parts = function(runs)
        except Missing as missing:
            parts = [Verdict(name, claim, f"Needs {missing}, which is not in this sweep.")]
        claims.append(Claim(name, claim, tuple(parts)))
    return claims
