"""The figures of a report show what its tables say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_jobs import made_up_job
from matplotlib.axes import Axes

from wavecoder.paper.figures import make_figures, median_member
from wavecoder.paper.tables import make_tables
from wavecoder.runs.results import summarise
from wavecoder.training.files import write_arrays

TIMES = np.arange(50) / 5
SINE = np.sin(TIMES)
COPIES = 4
NETWORKS = ("relu", "tanh", "gelu")
FIGURES = {  # the metric of each figure
    "figure_09_latent_1": "sine/mse_noise_0.1",
    "figure_10_latent_1": "sine/mean_mse_noise_0.1",
    "figure_11_latent_5": "sine/mse_noise_0.1",
    "figure_12_latent_5": "sine/mean_mse_noise_0.1",
    "figure_14_latent_5": "sine/mean_mse_noise_1.0",
    "figure_14_copies_latent_5": "sine/mse_noise_1.0",
}


class Sweep:
    """Made-up results of networks whose seeds differ much, with the reconstructions that they belong to."""

    def __init__(self, folder: Path, seeds: int, draws: int, own_noise: bool) -> None:
        self.folder = folder
        self.reconstructions: dict[tuple[str, str], np.ndarray] = {}
        self.jobs: list[dict[str, Any]] = []
        self._random = np.random.default_rng(0)
        for latent in (1, 5):
            svd = {noise: self._draws(seeds if own_noise else 1, draws) for noise in ("0.1", "1.0")}
            for network in NETWORKS:
                self._add(network, latent, svd, {noise: self._draws(seeds, draws) for noise in svd})

    def _draws(self, members: int, draws: int) -> np.ndarray:
        """Reconstructions, `[member, draw, copy, time]`, each with its own error of the mean and of each copy."""
        scale = self._random.uniform(0, 1, (members, 1, 1, 1))
        spread = self._random.uniform(0.05, 1, (members, 1, 1, 1))
        return SINE * scale + spread * self._random.normal(size=(members, draws, COPIES, len(TIMES)))

    def _add(self, network: str, latent: int, references: dict[str, np.ndarray], networks: dict[str, np.ndarray]) -> None:
        name = f"{network}{latent}"
        seeds, draws = networks["0.1"].shape[:2]
        errors: dict[str, Any] = {"val/mse": self._random.uniform(size=seeds).tolist()}
        of_svd: dict[str, float] = {}
        arrays: dict[str, Any] = {"times": TIMES, "sine": SINE, "shown": 0}
        for noise, made in networks.items():
            svd = references[noise]
            for metric, of in (("mse", lambda each: each), ("mean_mse", lambda each: each.mean(2, keepdims=True))):
                errors[f"sine/{metric}_noise_{noise}"] = np.square(of(made) - SINE).mean((1, 2, 3)).tolist()
                of_svd[f"sine/{metric}_noise_{noise}"] = float(np.square(of(svd) - SINE).mean())
            first = svd[:, 0] if len(svd) > 1 else svd[0, 0]
            arrays |= {f"noisy_{noise}": first, f"svd_{noise}": first}
            arrays[f"autoencoder_{noise}"] = self.reconstructions[name, noise] = made[:, 0]
        (self.folder / name).mkdir()
        write_arrays(self.folder / name, arrays)
        self.jobs.append(
            made_up_job(
                name,
                network,
                latent_dim=latent,
                num_seeds=seeds,
                noise={"eval_std": [0.1, 1.0], "train_std": 0.0, "draws": draws},
                overrides={"activation": network, "latent": str(latent)},
                metrics={metric: summarise(values) for metric, values in errors.items()},
                references={"svd": of_svd},
            )
        )

    def job(self, name: str) -> dict[str, Any]:
        return next(job for job in self.jobs if job["job"] == name)


def heading_of(axis: Axes) -> tuple[str, str, str]:
    """The model of a panel, the error in its heading, and the error in parentheses, if there is one."""
    model, error = axis.get_title().split("\n")
    first, _, rest = error.partition(" (")
    return model, first.split()[-1], rest.rstrip(")")


def drawn_in(axis: Axes, copies: bool) -> np.ndarray:
    """The curves of a panel but for the truth: the copies, or else the mean."""
    *curves, mean, _ = axis.lines
    return np.array([line.get_ydata() for line in (curves if copies else [mean])])


@pytest.mark.parametrize(("seeds", "draws", "own_noise"), [(1, 1, False), (5, 1, False), (5, 3, True), (6, 3, False)])
def test_figures_show_the_error_of_the_table(tmp_path: Path, seeds: int, draws: int, own_noise: bool) -> None:
    sweep = Sweep(tmp_path, seeds, draws, own_noise)
    tables = {table["metric"]: dict(table["rows"]) for table in make_tables(sweep.jobs)}
    figures = {name: figure for name, figure in make_figures(sweep.jobs, [], tmp_path) if name in FIGURES}
    assert figures.keys() == FIGURES.keys()
    for name, metric in FIGURES.items():
        copies, latent, noise = "mean" not in metric, 1 if "latent_1" in name else 5, metric[-3:]
        panels = [axis for axis in figures[name].axes if axis.get_visible()]
        assert [heading_of(axis)[0] for axis in panels] == [*NETWORKS, "SVD"]
        for axis in panels:
            model, error, here = heading_of(axis)
            cell = tables[metric][model][latent]
            drawn = drawn_in(axis, copies)
            own = float(np.square(drawn - SINE).mean())
            if model == "SVD":
                assert error == f"{cell['median']:#.3g}"
            else:
                assert error == f"{cell['median']:#.3g}"
                made = sweep.reconstructions[f"{model}{latent}", noise]
                shown = made if copies else made.mean(1, keepdims=True)
                errors = np.square(shown - SINE).mean((1, 2))
                nearest = np.abs(np.log(errors / cell["median"])).argmin()
                np.testing.assert_allclose(drawn, shown[nearest], atol=1e-6)
            if draws == 1 and (seeds % 2 or model == "SVD"):
                assert (error, here) == (f"{own:#.3g}", "")  # what is drawn has the error of the table
            else:
                assert (here or error) == f"{own:#.3g}"
        noted = " ".join(" ".join(text.get_text() for text in figures[name].texts).split())
        assert ("seed nearest to it" in noted) == (seeds > 1)
        assert (f"means over {draws} draws" in noted) == (draws > 1)


def test_a_seed_that_diverged_is_shown_last(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, 3, 1, False)
    summary = sweep.job("gelu5")["metrics"]["sine/mean_mse_noise_1.0"]
    values = summary["per_seed"]
    summary["per_seed"] = [None, *values[1:]]
    figure = dict(make_figures(sweep.jobs, [], tmp_path))["figure_14_latent_5"]
    assert heading_of(figure.axes[2])[1] == f"{max(values[1:]):#.3g}"
    assert median_member(np.array([np.nan, 2.0, 1.0, np.nan])) == 1


def test_of_jobs_that_differ_in_the_data_seed_alone_one_is_drawn(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, 2, 1, False)
    names = [name for name, _ in make_figures(sweep.jobs, [], tmp_path)]
    others = [
        job | {"job": f"other {job['job']}", "data_seed": 8, "overrides": job["overrides"] | {"data.seed": "8"}}
        for job in sweep.jobs
    ]
    ours = [job | {"data_seed": 7, "overrides": job["overrides"] | {"data.seed": "7"}} for job in sweep.jobs]
    for job in sweep.jobs:
        (tmp_path / f"other {job['job']}").symlink_to(tmp_path / job["job"])
    figures = dict(make_figures([*others, *ours], [], tmp_path))
    assert list(figures) == names
    assert any("data.seed=7" in text.get_text() for text in figures["figure_09_latent_1"].texts)
    assert len([axis for axis in figures["figure_09_latent_1"].axes if axis.get_visible()]) == len(NETWORKS) + 1
