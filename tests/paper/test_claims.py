import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wavecoder.paper.claims import ACTIVATIONS, PaperRuns
from wavecoder.paper.judging import Claim, Verdict
from wavecoder.paper.verdicts import judge_all
from wavecoder.training.files import write_arrays

SEEDS = 20
SINE = np.sin(np.arange(100) / 10)
POWER = float(np.square(SINE).mean())


class World:
    """Made-up results in which every claim holds, to be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: dict[str, dict[str, Any]] = {}
        self.curves: dict[str, dict[str, Any]] = {}
        for latent in (1, 5):
            for activation in ACTIVATIONS:
                self.add(f"{activation}{latent}", activation, latent)
        for latent in (1, 2, 5):
            self.add(f"tied{latent}", "identity", latent, model="linear_tied")
        self.set("tanh1", "sine/mse_noise_0.1", 0.15 * POWER)
        for activation in ("prelu", "gelu"):
            self.set(f"{activation}5", "sine/mean_mse_noise_1.0", 0.01 * POWER)

    def add(self, name: str, activation: str, latent: int, model: str = "deep", bias: bool = True) -> None:
        errors = {
            "val/mse/over_svd": 0.8,
            "val/mse_noise_1.0/over_svd": 1.4,
            "sine/mse_noise_0.1": (0.9 if latent == 1 else 0.02) * POWER,
            "sine/mean_mse_noise_1.0": 0.05 * POWER,
            "linear/excess": 1e-6,
            "linear/largest_angle": 0.3,
        }
        self.jobs[name] = {
            "status": "completed",
            "activation": activation if model == "deep" else None,
            "noise": {"eval_std": [0.1, 1.0], "train_std": 0.0},
            "latent_dim": latent,
            "num_seeds": SEEDS,
            "model": model,
            "bias": bias,
            "metrics": {metric: {"per_seed": [value] * SEEDS} for metric, value in errors.items()},
            "references": {"svd": {metric: errors[metric] for metric in errors if metric.startswith("sine")}},
        }
        # the SVD's, PCA's and the autoencoder's curves, as shares of the sine
        svd, pca, own = (0.1, 0.2, 0.21) if latent == 1 else (0.9, 0.91, 0.93)
        copies = {f"{kind}_0.1": np.tile(SINE * share, (10, 1)) for kind, share in {"svd": svd, "pca": pca}.items()}
        self.curves[name] = {
            "times": SINE,
            "shown": np.array(0),
            "sine": SINE,
            "autoencoder_0.1": np.tile(SINE * own, (SEEDS, 10, 1)),
            **copies,
        }

    def set(self, name: str, metric: str, value: float | None, seeds: int = SEEDS) -> None:
        self.jobs[name]["metrics"][metric]["per_seed"][:seeds] = [value] * seeds

    def judge(self) -> dict[str, Verdict]:
        return {part.name: part for claim in self.claims().values() for part in claim.parts}

    def claims(self) -> dict[str, Claim]:
        for name in self.jobs:
            (self.folder / name).mkdir(exist_ok=True)
            write_arrays(self.folder / name, self.curves[name])
        runs = PaperRuns([{"job": name, **job} for name, job in self.jobs.items()], self.folder)
        return {claim.name: claim for claim in judge_all(runs)}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_in_a_world_like_the_papers_every_claim_holds(world: World) -> None:
    verdicts = world.judge()
    names = ["C1a", "C1b", "C1c", "C2a", "C2b", "C2c", "C3", "C4a", "C4b", "C5", "C6", "C7a", "C7b", "C8a", "C8b"]
    assert {name: verdict.word for name, verdict in verdicts.items()} == dict.fromkeys(names, "holds")
    assert all((verdict.fraction, verdict.seeds) == (1, SEEDS) for verdict in verdicts.values())


CHANGES = {
    "C1a": ("tanh1", "sine/mse_noise_0.1", 0.05 * POWER),
    "C1b": ("relu1", "sine/mse_noise_0.1", 0.3 * POWER),
    "C1c": ("gelu1", "sine/mse_noise_0.1", 0.12 * POWER),
    "C2a": ("identity1", "sine/mse_noise_0.1", 0.05 * POWER),
    "C3": ("sigmoid5", "sine/mse_noise_0.1", 0.95 * POWER),
    "C5": ("relu5", "sine/mean_mse_noise_1.0", 0.005 * POWER),
    "C6": ("identity5", "sine/mean_mse_noise_1.0", 0.2 * POWER),
    "C7a": ("tied2", "linear/excess", 0.002),
    "C7b": ("tied1", "linear/largest_angle", 2.0),
}


@pytest.mark.parametrize("claim", CHANGES)
@pytest.mark.parametrize(
    ("seeds", "expected"),
    [(SEEDS, "does not hold"), (17, "holds in few seeds"), (9, "holds in some seeds"), (3, "holds in most seeds")],
)
def test_a_claim_follows_the_results(world: World, claim: str, seeds: int, expected: str) -> None:
    name, metric, value = CHANGES[claim]
    world.set(name, metric, value, seeds)
    whole = world.claims()[claim[:2]]
    assert whole.word == expected
    verdict = whole.worst
    assert (verdict.name, verdict.word, verdict.fraction) == (claim, expected, pytest.approx(1 - seeds / SEEDS))
    for (low, high), value in ((verdict.interval, verdict.value), (verdict.fraction_interval, verdict.fraction)):
        assert low <= value <= high
    assert len(verdict.values) == SEEDS


@pytest.mark.parametrize(("claim", "worst"), [("C1a", "tanh"), ("C1b", "relu"), ("C3", "sigmoid"), ("C6", "identity")])
def test_a_claim_about_several_models_names_the_worst(world: World, claim: str, worst: str) -> None:
    name, metric, value = CHANGES[claim]
    world.set(name, metric, value, 5)
    assert world.judge()[claim].worst == f"{worst}: 75 % of seeds"


def test_the_theorem_must_hold_for_every_latent(world: World) -> None:
    world.set("tied1", "linear/largest_angle", 1.3, 12)
    world.set("tied2", "linear/largest_angle", 50.0, 1)
    claim = world.claims()["C7"]
    assert [(part.name, part.word) for part in claim.parts] == [("C7a", "holds"), ("C7b", "holds in some seeds")]
    assert (claim.worst.worst, claim.worst.value) == ("latent 1: 40 % of seeds", 1.3)
    assert "1: 1.30 (40 % of seeds), 2: 0.300 (95 % of seeds), 5: 0.300 (100 % of seeds)." in claim.worst.evidence[0]


def test_the_theorem_holds_in_seeds_where_it_does_for_all_latents(world: World) -> None:
    world.set("tied1", "linear/largest_angle", 1.3, 5)
    world.jobs["tied2"]["metrics"]["linear/largest_angle"]["per_seed"][-5:] = [50.0] * 5
    part = world.judge()["C7b"]
    assert (part.fraction, part.word) == (0.5, "holds in some seeds")
    assert max(part.values) == 50
    assert part.worst == "latent 1: 75 % of seeds"


def test_what_we_add_to_a_claim_does_not_count(world: World) -> None:
    world.curves["identity1"]["autoencoder_0.1"] = np.tile(SINE * 0.12, (SEEDS, 10, 1))  # nearer to the SVD's than to PCA's
    claim = world.claims()["C2"]
    assert [part.name for part in claim.parts if part.word == "does not hold"] == ["C2c"]
    assert claim.word == "holds"


DOUBLE_NEGATIVES = r"\b(no|none|never|not|without|nor|neither)\b.*\b(no|none|less|miss\w*|never|not|lack\w*|nor|neither)\b"


@pytest.mark.parametrize("complete", [True, False])
def test_no_sentence_has_two_negatives(world: World, complete: bool) -> None:
    if complete:
        world.add("nobias1", "identity", 1, bias=False)
        world.add("nobias5", "identity", 5, bias=False)
    for metric in ("val/mse_noise_1.0/over_svd", "val/mse/over_svd"):
        world.set("gelu5", metric, 0.9 if complete else 1.2)
    for claim in world.claims().values():
        sentences = [claim.claim]
        for part in claim.parts:
            sentences += [part.claim, part.criterion, part.statistic, *part.evidence]
        for sentence in sentences:
            if "which is not in this sweep" not in sentence:
                assert not re.search(DOUBLE_NEGATIVES, sentence), sentence


def test_claims_about_curves_follow_the_curves(world: World) -> None:
    world.curves["identity1"]["autoencoder_0.1"] = np.tile(SINE * 0.101, (SEEDS, 10, 1))  # the SVD's, nearly
    world.curves["identity5"]["autoencoder_0.1"] = np.tile(SINE * 0.91, (SEEDS, 10, 1))  # exactly PCA's
    verdicts = world.judge()
    assert {name: verdicts[name].word for name in ("C2b", "C2c", "C4a", "C4b")} == {
        "C2b": "does not hold",
        "C2c": "does not hold",
        "C4a": "holds",
        "C4b": "does not hold",
    }


def test_beating_the_svd_takes_only_one(world: World) -> None:
    for activation in ("relu", "sigmoid", "tanh", "leaky_relu", "prelu"):
        world.set(f"{activation}5", "val/mse/over_svd", 1.2)
    verdict = world.judge()["C8b"]
    assert verdict.word == "holds"
    assert "relu: median ratio 1.20, below 1 in 0 % of seeds." in verdict.evidence
    world.set("gelu5", "val/mse/over_svd", 1.1)
    assert world.judge()["C8b"].word == "does not hold"


def test_in_a_seed_that_diverged_no_claim_holds(world: World) -> None:
    world.set("tied5", "linear/largest_angle", None, 5)
    verdict = world.judge()["C7b"]
    assert (verdict.word, verdict.fraction, verdict.value) == ("holds in most seeds", 0.75, 0.3)


def test_the_linear_network_without_bias_is_compared(world: World) -> None:
    assert any("is not in this sweep" in line for line in world.judge()["C2b"].evidence)
    world.add("nobias1", "identity", 1, bias=False)
    world.curves["nobias1"]["autoencoder_0.1"] = np.tile(SINE * 0.1, (SEEDS, 10, 1))
    assert any("nearer to the SVD in 100 % of seeds" in line for line in world.judge()["C2b"].evidence)


def test_a_claim_whose_runs_are_missing_says_so(world: World) -> None:
    del world.jobs["tanh1"]
    verdicts = world.judge()
    assert verdicts["C1"].word == "cannot be judged"
    assert "tanh with a latent of 1" in verdicts["C1"].criterion
    assert verdicts["C2a"].word == "holds"
    assert {claim.word for claim in judge_all(PaperRuns([], world.folder))} == {"cannot be judged"}


def test_networks_that_the_paper_does_not_have_are_not_judged(world: World) -> None:
    expected = world.judge()
    world.add("silu1", "silu", 1)
    world.add("mynet5", "tanh", 5, model="mynet")
    world.add("denoiser", "tanh", 1)
    world.jobs["denoiser"]["noise"]["train_std"] = 0.3
    for name in ("silu1", "mynet5", "denoiser"):
        world.set(name, "sine/mse_noise_0.1", 0.0)
    world.jobs = {name: world.jobs[name] for name in ("silu1", "mynet5", "denoiser", *world.jobs)}
    assert world.judge() == expected


def test_the_fourteen_networks_are_those_with_the_papers_noise(world: World) -> None:
    def runs() -> PaperRuns:
        return PaperRuns([{"job": name, **job} for name, job in world.jobs.items()], world.folder)

    assert runs().missing() == []
    del world.jobs["tanh1"]
    world.jobs["gelu5"]["noise"]["eval_std"] = [0.1]
    world.add("silu3", "silu", 3)
    assert runs().missing() == ["latent 1: tanh", "latent 5: gelu"]
    assert len(runs().networks) == 12


def test_networks_of_different_numbers_of_seeds_are_not_compared(world: World) -> None:
    for summary in world.jobs["tanh1"]["metrics"].values():
        summary["per_seed"] = summary["per_seed"][:3]
    verdicts = world.judge()
    assert "Needs the same number of seeds of every network" in verdicts["C1"].criterion
    assert {verdicts[name].word for name in ("C1", "C3", "C8")} == {"cannot be judged"}
    assert verdicts["C5"].word == "holds"


def test_what_a_run_did_not_keep_is_missing(world: World) -> None:
    world.curves["identity1"] = {"times": SINE, "shown": np.array(0), "sine": SINE}
    verdicts = world.judge()
    assert "autoencoder_0.1 in identity1/reconstructions.npz" in verdicts["C2"].criterion
    assert verdicts["C1a"].word == "holds"


def test_a_seed_that_diverged_wins_nothing(world: World) -> None:
    world.set("gelu1", "sine/mse_noise_0.1", None)
    assert world.judge()["C1c"].evidence == ["The closest is tanh in 100 % of seeds."]


@pytest.mark.parametrize(
    ("own", "said"), [((True, True), "differ in"), ((False, False), "All seeds share"), ((True, False), "some")]
)
def test_the_verdicts_say_which_chance_they_cover(world: World, own: tuple[bool, bool], said: str) -> None:
    for name, job in world.jobs.items():
        job["per_seed"] = own[name.endswith("5")]
    chance = PaperRuns([{"job": name, **job} for name, job in world.jobs.items()], world.folder).chance()
    assert said in chance
    assert ("its own training set" in chance) == all(own)


def test_networks_are_compared_on_the_same_data(world: World) -> None:
    expected = world.judge()
    for number, name in enumerate(list(world.jobs)):
        world.jobs[name]["data_seed"] = 3
        world.add(f"other {name}", world.jobs[name]["activation"] or "identity", world.jobs[name]["latent_dim"])
        world.jobs[f"other {name}"] |= {"data_seed": 4 + number, "model": world.jobs[name]["model"]}
    world.jobs = dict(reversed(world.jobs.items()))
    assert world.judge() == expected


def test_each_seed_is_compared_with_the_references_on_its_own_noise(world: World) -> None:
    shares = np.linspace(0.5, 1.5, SEEDS)[:, None, None]
    for curves in (world.curves["identity1"], world.curves["identity5"]):
        for key in ("autoencoder_0.1", "svd_0.1", "pca_0.1"):
            curves[key] = shares * np.broadcast_to(curves[key], (SEEDS, 10, 100))
    verdicts = world.judge()
    np.testing.assert_allclose(verdicts["C2b"].values, 1.1)  # (0.21 - 0.1) / 0.1
    np.testing.assert_allclose(verdicts["C4a"].values, 0.03 / 0.9)


def test_each_seed_is_compared_with_the_references_of_its_own_training_set(world: World) -> None:
    expected = world.judge()
    for curves in world.curves.values():
        own = np.where(np.arange(SEEDS) < 5, 0.3, 0.9)[:, None] * POWER
        curves |= {"own_svd_draws_mse_0.1": own * np.ones(4), "own_svd_draws_mean_mse_1.0": own * np.ones(4)}
        for name in ("svd", "pca"):
            curves[f"own_{name}_0.1"] = 2 * np.broadcast_to(curves[f"{name}_0.1"], (SEEDS, 10, 100))
    verdicts = world.judge()
    assert (verdicts["C1b"].worst, verdicts["C6"].worst) == ("SVD: 75 % of seeds", "SVD: 0 % of seeds")
    np.testing.assert_allclose(verdicts["C2b"].values, 0.01 / 0.2, rtol=1e-6)  # |0.21 - 2 · 0.1| / (2 · 0.1)
    assert verdicts["C8b"] == expected["C8b"]
