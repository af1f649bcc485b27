"""The figures of a report: the paper's, and ours, as far as there are runs to draw them from."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy import ndarray

from wavecoder import plots
from wavecoder.families import FAMILIES
from wavecoder.paper.claims import Job, values_of
from wavecoder.paper.judging import Values
from wavecoder.paper.tables import as_in_the_paper, labels_of
from wavecoder.reconstructions import Panel, draw_reconstructions
from wavecoder.references import REFERENCES
from wavecoder.runs.results import varied
from wavecoder.subspace import LABELS
from wavecoder.training.files import of_member, read_arrays

Arrays = Mapping[str, ndarray]
Named = Iterator[tuple[str, Figure]]
"""Figures, each after the name of its file."""

_NOISY = {"0.1": "figure_08_noise_0.1", "1.0": "figure_13_noise_1"}  # by the standard deviation of the noise
_RECONSTRUCTIONS = {  # by latent, noise, and whether every copy is shown or only their mean
    (1, "0.1", True): "figure_09_latent_1",
    (1, "0.1", False): "figure_10_latent_1",
    (5, "0.1", True): "figure_11_latent_5",
    (5, "0.1", False): "figure_12_latent_5",
    (5, "1.0", False): "figure_14_latent_5",
    (5, "1.0", True): "figure_14_copies_latent_5",
}


_TINY = 1e-30  # an error that is hardly one
_NO_SETTINGS = {"activation", "model", "latent", "latent.dim", "sweep", "seed", "data.seed"}
"""What a sweep varies that errors are not drawn against: the network, the size of its latent, and chance."""


def make_figures(networks: Sequence[Job], linear: Sequence[Job], folder: Path) -> Named:
    """All figures of a report, each after the name of its file.

    Args:
        networks: Completed jobs, in the order in which figures show them.
        linear: Completed jobs of linear networks that were compared with the subspace of the SVD.
        folder: The sweep's folder.
    """
    networks = _of_one_data_seed(as_in_the_paper(networks))
    labels = labels_of(networks)
    read = {job["job"]: read_arrays(folder / job["job"], job["num_seeds"]) for job in networks}
    arrays = {name: found for name, found in read.items() if found is not None}
    yield from _signals(list(arrays.values()))
    yield from _reconstructions([job for job in networks if "sine" in arrays.get(job["job"], {})], labels, arrays)
    for job in networks:
        found, label = arrays.get(job["job"], {}), labels[job["job"]]
        if "signals" in found:  # of a file
            series = {"autoencoder": found["autoencoder_signals"][found["shown"]]}
            series |= {REFERENCES["svd"].label: found["svd_signals"]} if "svd_signals" in found else {}
            title = f"{label}: validation signals{_shown(job)}"
            yield (
                f"signals_{_file_name(label)}",
                plots.examples(found["times"], found["signals"], series, found["scale"], title),
            )
        if "latent" in found:
            yield f"latent_{_file_name(label)}", _latent(found, f"{label}: the latent{_shown(job)}")
    yield from _convergence([job for job in linear if job["model"] == "linear_tied"])
    yield from _dependence(networks)


def _of_one_data_seed(networks: Sequence[Job]) -> list[Job]:
    """Those jobs that have the smallest `data.seed` of all that differ in it alone."""
    smallest: dict[object, int] = {}
    keys = [tuple(sorted((key, value) for key, value in job["overrides"].items() if key != "data.seed")) for job in networks]
    for key, job in zip(keys, networks, strict=True):
        smallest[key] = min(smallest.get(key, job.get("data_seed", 0)), job.get("data_seed", 0))
    return [job for key, job in zip(keys, networks, strict=True) if job.get("data_seed", 0) == smallest[key]]


def _file_name(label: str) -> str:
    return re.sub(r"[^\w.+=,-]+", "_", label)


def _shown(job: Job) -> str:
    """Which seed figures show that are not about one error of the test sine."""
    return " (the seed with the median val/mse)" if job["num_seeds"] > 1 else ""


def _signals(arrays: Sequence[Arrays]) -> Named:
    """The test sine, the families of signals, and noisy copies of the sine."""
    for first in [each for each in arrays if "sine" in each][:1]:
        times = first["times"]
        yield "figure_06_samples", plots.sampled_signal(times, first["sine"])
        families = [name for name in first["families"].tolist() if name in FAMILIES] if "families" in first else []
        parameters = {name: FAMILIES[name] for name in families}
        drawn = {name: a * np.sin(multiple * times + phase) for name, (a, multiple, phase) in parameters.items()}
        if drawn:
            yield "figure_07_families", plots.families(times, drawn, 1.0)
    noisy = {key: each for each in reversed(arrays) for key in each if key.startswith("noisy_")}
    for key, each in sorted(noisy.items()):
        noise = key.removeprefix("noisy_")
        panel = {f"sin(t) with noise {float(noise):g}": Panel(of_member(each[key], 0))}
        yield _NOISY.get(noise, key), draw_reconstructions(each["times"], each["sine"], panel, "Noisy copies of the sine")


def _reconstructions(networks: Sequence[Job], labels: Mapping[str, str], arrays: Mapping[str, Arrays]) -> Named:
    """The noisy sine reconstructed by all networks and the SVD: the paper's figures, and one for every other latent and noise."""
    measured = {
        (job["latent_dim"], key.removeprefix("autoencoder_"))
        for job in networks
        for key in arrays[job["job"]]
        if key.startswith("autoencoder_")
    }
    papers = {latent for latent, _, _ in _RECONSTRUCTIONS}
    others = sorted((latent, noise) for latent, noise in measured if latent not in papers or noise not in _NOISY)
    names = {(*each, False): "reconstructions_latent_{}_noise_{}".format(*each) for each in others}
    for (latent, noise, copies), name in (_RECONSTRUCTIONS | names).items():
        if (latent, noise) not in measured:
            continue
        key = f"autoencoder_{noise}"
        jobs = [job for job in networks if job["latent_dim"] == latent and key in arrays[job["job"]]]
        first = arrays[jobs[0]["job"]]
        jobs = [job for job in jobs if np.array_equal(arrays[job["job"]]["sine"], first["sine"])]
        metric = f"sine/{'mse' if copies else 'mean_mse'}_noise_{noise}"
        panels = {labels[job["job"]]: _panel(job, arrays[job["job"]][key], first["sine"], metric) for job in jobs}
        if f"svd_{noise}" in first:
            panels[REFERENCES["svd"].label] = _reference_panel(jobs[0], "svd", first[f"svd_{noise}"], first["sine"], metric)
        count = first[key].shape[1]
        what = f"Reconstructions of the {count} copies" if copies else f"Means of the {count} reconstructions"
        title = f"{what}: latent {latent}, noise {float(noise):g}"
        yield name, draw_reconstructions(first["times"], first["sine"], panels, title, copies, _note(jobs, copies))


def _panel(job: Job, reconstructions: Float[ndarray, "member copy time"], sine: Float[ndarray, " time"], metric: str) -> Panel:
    """The table's median error, and the member whose reconstructions that are drawn have the error nearest to it.

    The member with the median error itself may be off by several times on the copies drawn: tables have means over draws.
    """
    means = reconstructions.mean(1)
    errors = values_of(job, metric)
    middle = np.median(np.nan_to_num(errors, nan=np.inf))
    if not np.isfinite(middle):
        shown = median_member(errors)
        return Panel(reconstructions[shown], float(errors[shown]), means)
    drawn = np.square((means[:, None] if "mean_mse" in metric else reconstructions) - sine).mean((1, 2))
    away = np.abs(np.log(np.maximum(drawn, _TINY) / max(middle, _TINY)))
    return Panel(reconstructions[int(np.nan_to_num(away, nan=np.inf).argmin())], float(middle), means)


def median_member(errors: Values) -> int:
    """The position of the median error, the smaller of the two in the middle; those that diverged come last."""
    return int(np.nan_to_num(errors, nan=np.inf).argsort()[(len(errors) - 1) // 2])


def _reference_panel(
    job: Job, name: str, reconstructions: Float[ndarray, "..."], sine: Float[ndarray, " time"], metric: str
) -> Panel:
    """What a reference makes of those copies on which its error is nearest to that of the tables, a mean over all members."""
    every = reconstructions if reconstructions.ndim == 3 else reconstructions[None]
    error = job["references"].get(name, {}).get(metric)
    if error is None:
        return Panel(every[0])
    shown = every.mean(1, keepdims=True) if "mean_mse" in metric else every
    drawn = np.square(shown - sine).mean((1, 2))
    return Panel(every[np.abs(drawn - error).argmin()], error)


def _note(jobs: Sequence[Job], copies: bool) -> str:
    """Which seed and which noise a figure shows."""
    seeds, draws = (max(each) for each in ([job["num_seeds"] for job in jobs], [job["noise"].get("draws", 1) for job in jobs]))
    error = "error of each copy" if copies else "error of the mean"
    notes = []
    if seeds > 1:
        notes.append(f"Headings give the table's median {error}; shown is the seed nearest to it, in parentheses its own.")
        if draws > 1:
            notes.append(f"Tables have means over {draws} draws of noise, shown is the first.")
    elif draws > 1:
        notes.append(f"Errors are means over {draws} draws of noise; shown is the first, with its error in parentheses.")
    notes += [
        f"Their training set is that of data.seed={seed}." for seed in {job["overrides"].get("data.seed") for job in jobs} if seed
    ]
    return " ".join(notes)


def _latent(arrays: Arrays, title: str) -> Figure:
    """The latent: of signals of a file, or a one-dimensional one of sinusoids."""
    shown = int(arrays["shown"])
    if "families" not in arrays:
        return plots.latent_points(arrays["latent"][shown], arrays.get("labels"), title)
    return plots.latent_curves(arrays, shown, title)


def _convergence(tied: Sequence[Job]) -> Named:
    """How tied linear autoencoders converge to the SVD, one curve for each size of the latent."""
    names = ("linear/excess", "linear/largest_angle", "linear/gram_error")
    tied = [job for job in tied if all(name in job["subspace"] for name in names)]
    if not tied:
        return
    steps = tied[0]["subspace"]["steps"]
    alike = [job for job in tied if job["subspace"]["steps"] == steps]
    curves = {
        LABELS[name]: {f"latent {job['latent_dim']}": np.median(np.array(job["subspace"][name], float), axis=1) for job in alike}
        for name in names
    }
    title = "How tied linear autoencoders converge to the SVD, medians over seeds"
    yield "theorem", plots.convergence(steps, curves, title)


def _dependence(networks: Sequence[Job]) -> Named:
    """Errors against the settings that the sweep varied, other than the network and the size of its latent."""
    for network, latent in dict.fromkeys((job["network"], job["latent_dim"]) for job in networks):
        jobs = [job for job in networks if (job["network"], job["latent_dim"]) == (network, latent)]
        keys = sorted(set(varied(jobs)) - _NO_SETTINGS)
        if len(jobs) < 3 or not keys:
            continue
        choices = {job["job"]: ", ".join(job["overrides"][key] for key in keys if key in job["overrides"]) for job in jobs}
        jobs.sort(key=lambda job: _natural(choices[job["job"]]))
        measured = [metric for metric in jobs[0]["metrics"] if all(metric in job["metrics"] for job in jobs)]
        noisy = [metric for metric in measured if re.fullmatch(r"val/mse_noise_[^/]+", metric)]
        metrics = [metric for metric in ("train/mse", "val/mse", *noisy[:1]) if metric in measured]
        series = {metric: [values_of(job, metric) for job in jobs] for metric in metrics}
        svd = jobs[0]["references"].get("svd", {})
        lines = {"SVD, val/mse": svd["val/mse"]} if "val/mse" in svd else {}
        names, title = [choices[job["job"]] for job in jobs], f"{network} autoencoder, latent {latent}"
        figure = plots.dependence(", ".join(keys), names, series, lines, title)
        yield f"dependence_{_file_name(network)}_latent_{latent}", figure


def _natural(choice: str) -> tuple[bool, float, str]:
    """A key that sorts numbers by value, and after them other choices by length and name."""
    first = choice.split(",")[0]
    try:
        return (False, float(first), choice)
    except ValueError:
        return (True, float(len(choice)), choice)
