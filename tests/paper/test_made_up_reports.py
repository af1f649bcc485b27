"""Reports of made-up results: networks and references that the paper does not have, several engines, earlier versions."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from wavecoder.paper.report import write_report
from wavecoder.runs import results
from wavecoder.runs.limits import SettingError
from wavecoder.training.files import write_arrays

TIMES = np.arange(50) / 10
SEEDS, COPIES = 3, 4


def write_job(sweep: Path, network: str, latent: int, noise: float = 0.1, lr: str = "0.001", **changes: Any) -> str:
    """A completed job of a network, with everything that a report reads; its folder's name."""
    name = f"{network.replace(' ', '-')}{latent}" + (f",lr={lr}" if lr != "0.001" else "")
    overrides = [f"latent='{latent}'", "+model.width=64", "sweep=mine", f"optimizer.lr={lr}"]
    (sweep / name / ".hydra").mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(overrides), sweep / name / ".hydra" / "overrides.yaml")
    config = {"sweep": "mine", "optimizer": {"_target_": "torch.optim.Adam"}, "loss": {"_target_": "torch.nn.L1Loss"}}
    OmegaConf.save(OmegaConf.create(config), sweep / name / ".hydra" / "config.yaml")
    errors = {"train/mse": 0.2, "val/mse": 0.3, f"val/mse_noise_{noise}": 0.4}
    errors |= {f"sine/mse_noise_{noise}": 0.5, f"sine/mean_mse_noise_{noise}": 0.45}
    references = {"svd": 0.6, "bayes": 0.01, "unheard": 0.7}
    record = {
        "status": "completed",
        "schema": results.SCHEMA,
        "network": network,
        "model": network.split()[0] if "net" in network else "deep",
        "activation": network.split()[-1] if network != "mynet" else None,
        "bias": True,
        "latent_dim": latent,
        "noise": {"eval_std": [0.1, 1.0] if noise == 0.1 else [noise], "train_std": 0.0},
        "seed": 0,
        "data_seed": 0,
        "num_seeds": SEEDS,
        "metrics": {metric: results.summarise([error, error * 1.1, error * 1.2]) for metric, error in errors.items()},
        "references": {each: {metric: error for metric in errors if "noise" in metric} for each, error in references.items()},
        "engine": {"name": "compiled", "reason": "made up"},
        "timing": {"fit_seconds": 60.0, "steps": 10},
        "versions": {"torch": "2.13.0"},
        "config_fingerprint": "0123456789abcdef",
    }
    results.write_results(sweep / name, record | changes)
    copies = np.tile(np.sin(TIMES), (COPIES, 1))
    arrays = {"times": TIMES, "sine": np.sin(TIMES), "shown": 1, "families": np.array(["cos", "sin"])}
    arrays |= {f"noisy_{noise}": copies, f"autoencoder_{noise}": np.stack([copies] * SEEDS), f"svd_{noise}": copies}
    if latent == 1:
        arrays |= {"latent_r": np.linspace(-1, 1, 5), "latent": np.zeros((SEEDS, 2, 5))}
        arrays |= {"decoded_z": np.tile(np.arange(9.0), (SEEDS, 1)), "decoded": np.zeros((SEEDS, 9, 50))}
    write_arrays(sweep / name, arrays)
    return name


def pages_of(sweep: Path) -> tuple[str, str]:
    """The report as HTML, without its pictures, and as Markdown."""
    page = write_report(sweep).read_text()
    return re.sub(r'src(set)?="data:[^"]*"', "", page), (sweep / "report.md").read_text()


def test_networks_and_references_of_ones_own_are_shown_after_the_papers(tmp_path: Path) -> None:
    for network in ("silu", "mynet", "tanh", "othernet gelu", "identity"):
        write_job(tmp_path, network, 1)
    html, text = pages_of(tmp_path)
    table = text[text.index("`val/mse_noise_0.1`") :]
    rows = [line.split(" | ")[0].strip("| ") for line in table.splitlines() if line.startswith("| ")][1:9]
    assert rows == ["identity", "tanh", "mynet", "othernet gelu", "silu", "SVD", "Bayes", "unheard"]
    assert "| / SVD | / Bayes | / unheard |" in table
    assert '<td class="first" data-reference="unheard" data-latent="1" data-value="0.7">' in html
    assert "<li>unheard</li>" in html
    assert "<li>Bayes: The best denoiser of any kind</li>" in html
    picture = (tmp_path / "figures" / "figure_09_latent_1.svg").read_text()
    places = [picture.index(f"<!-- {network} -->") for network in ("identity", "tanh", "mynet", "othernet gelu", "silu", "SVD")]
    assert places == sorted(places)
    for name in ("latent_silu", "latent_mynet", "latent_othernet_gelu"):
        assert (tmp_path / "figures" / f"{name}.svg").exists()
        assert f"(figures/{name}.png)" in text
    assert not re.search(r"[Cc]laims|judged|fourteen", html + text)


def test_a_sweep_without_the_papers_networks_has_a_report_without_claims(tmp_path: Path) -> None:
    for rate in ("0.1", "0.01", "0.002"):
        write_job(tmp_path, "silu", 3, noise=0.3, lr=rate)
    write_job(tmp_path, "gelu", 5, noise=0.3)  # the paper's but for its noise
    html, text = pages_of(tmp_path)
    for page in (html, text):
        assert "New signals with noise 0.3" in page
        assert not re.search(r"[Cc]laims|annot be judged|fourteen|make paper|Gaps", page)
    assert "| loss | torch.nn.L1Loss |" in text
    assert "| optimiser, learning rate | torch.optim.Adam |" in text
    assert "biases" not in text
    names = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert {"noisy_0.3", "reconstructions_latent_3_noise_0.3", "dependence_silu_latent_3", "figure_07_families"} <= names


def test_commands_run_as_they_stand(tmp_path: Path) -> None:
    write_job(tmp_path, "mynet", 5, lr="0.1")
    _, text = pages_of(tmp_path)
    assert "\n    wavecoder train latent=5 +model.width=64 optimizer.lr=0.1 sweep=null\n" in text
    overrides = OmegaConf.create(["experiment=search", "model.widths=[50,25]"])
    OmegaConf.save(overrides, tmp_path / "mynet5,lr=0.1" / ".hydra" / "overrides.yaml")
    _, text = pages_of(tmp_path)  # the experiment names the sweep, which a single run must not have
    assert "\n    wavecoder train experiment=search 'model.widths=[50,25]' sweep=null\n" in text


def test_what_a_sweep_varied_and_its_effect(tmp_path: Path) -> None:
    errors = {"0.1": [0.5, None, 0.7], "0.01": [0.2, 0.3, 0.4]}
    for lr, values in errors.items():
        for network in ("silu", "gelu", "elu"):
            metrics = {"val/mse": results.summarise([np.nan if value is None else value for value in values])}
            name = write_job(tmp_path, network, 3, lr=lr, metrics=metrics)
            file = tmp_path / name / "results.json"
            record = json.loads(file.read_text()) | {"overrides": {"activation": network, "optimizer.lr": lr}}
            results.write_results(tmp_path / name, record)
            (tmp_path / name / "reconstructions.npz").unlink()
    html, text = pages_of(tmp_path)
    assert "- `optimizer.lr`: 0.01, 0.1\n" in text
    found = dict(re.findall(r'data-metric="val/mse" data-choice="([^"]+)" data-value="([^"]+)"', html))
    assert {choice: float(value) for choice, value in found.items()} == {
        "0.01": 0.3,
        "0.1": 0.6,
        "elu": 0.4,
        "gelu": 0.4,
        "silu": 0.4,
    }
    assert "| choice | runs | seeds | no noise | ratio to 0.01 |\n" in text
    assert "| 0.01 | 3 | 9 | 0.300 |  |\n| 0.1 | 3 | 9 (3 diverged) | 0.600 | 2.12 [1.75, 2.50] |\n" in text
    assert text.count("diverged in 1 of 3 seeds") == 3
    assert "not all made together" not in text
    name = write_job(tmp_path, "relu", 3, lr="0.5", metrics={"val/mse": results.summarise([0.1] * 3)})
    (tmp_path / name / "reconstructions.npz").unlink()
    assert "not all made together" in pages_of(tmp_path)[1]


@pytest.mark.parametrize("own", [True, False])
def test_what_seeds_differ_in(tmp_path: Path, own: bool) -> None:
    write_job(tmp_path, "silu", 3, per_seed=own, basis="population" if own else "fitted")
    for page in pages_of(tmp_path):
        assert ("Seeds differ in training set, noise, initial weights and order of batches;" in page) == own
        assert ("share training set and noise: intervals over seeds do not cover" in page) != own
        assert ("use the exact moments of the population" in page) == own
        assert ("are fitted to the training signals" in page) != own


def test_several_engines_are_named(tmp_path: Path) -> None:
    for network in ("tanh", "gelu"):
        write_job(tmp_path, network, 5)
    assert all("different engines" not in page for page in pages_of(tmp_path))
    write_job(tmp_path, "silu", 5, engine={"name": "pytorch", "reason": "made up"})
    for page in pages_of(tmp_path):
        assert "different engines" in page
        assert "2 by the compiled engine and 1 by the pytorch engine" in page


def test_jobs_of_earlier_versions_are_named(tmp_path: Path) -> None:
    write_job(tmp_path, "tanh", 5, schema=1)
    with pytest.raises(SettingError, match=r"no job can be read: .*schema 1") as caught:
        write_report(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()
    write_job(tmp_path, "silu", 5)
    for page in pages_of(tmp_path):
        assert "Gaps" in page
        assert re.search(r"tanh5(</code></a>|`): outdated: .*schema 1", page)


def test_runs_without_noise_references_or_figures_have_a_report(tmp_path: Path) -> None:
    for network in ("tanh", "mynet"):
        name = write_job(tmp_path, network, 5, references={}, noise=0.3)
        (tmp_path / name / "reconstructions.npz").unlink()
    write_arrays(tmp_path / "tanh5", {"times": TIMES, "shown": 0})  # as with noise=none
    html, text = pages_of(tmp_path)
    assert "New signals, clean" in text
    assert 'id="figures"' not in html


def test_signals_of_another_length_are_not_drawn_together(tmp_path: Path) -> None:
    write_job(tmp_path, "mynet", 5)
    name = write_job(tmp_path, "silu", 5)
    half = {"times": TIMES[:25], "sine": np.sin(TIMES[:25]), "shown": 0, "noisy_0.1": np.zeros((COPIES, 25))}
    write_arrays(tmp_path / name, half | {"autoencoder_0.1": np.zeros((SEEDS, COPIES, 25))})
    write_report(tmp_path)
    picture = (tmp_path / "figures" / "figure_12_latent_5.svg").read_text()
    assert "<!-- mynet -->" in picture
    assert "<!-- silu -->" not in picture


def test_a_record_that_lacks_something_is_a_gap(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        overrides = {"activation": "tanh", "data.seed": str(number)}
        name = write_job(tmp_path, "tanh", 5, lr=f"0.{number}", per_seed=False, data_seed=number, overrides=overrides)
    curves = {name: results.summarise([0.1] * SEEDS) for name in ("linear/excess", "linear/largest_angle", "val/mse")}
    subspace = {"steps": [1]} | {name: [[0.1] * SEEDS] for name in ("linear/excess", "linear/largest_angle")}
    linear = write_job(tmp_path, "linear_tied net", 2, model="linear_tied", metrics=curves, subspace=subspace)
    record = json.loads((tmp_path / name / "results.json").read_text())
    del record["data_seed"]
    results.write_results(tmp_path / name, record)
    for page in pages_of(tmp_path):
        assert "results.json lacks data_seed: the job is left out of what needs that" in page
        assert "results.json lacks linear/direction_angle, linear/gram_error: the job is left out of what needs that" in page
        assert "on each of 2 training sets" in page
    assert sum(message.startswith(f"{tmp_path / job}: ") for job in (name, linear) for message in caplog.messages) == 2


def test_a_damaged_file_of_reconstructions_is_a_gap(tmp_path: Path) -> None:
    names = [write_job(tmp_path, network, 5) for network in ("tanh", "gelu")]
    file = tmp_path / names[0] / "reconstructions.npz"
    file.write_bytes(file.read_bytes()[:300])
    html, text = pages_of(tmp_path)
    assert f"- `{names[0]}`: reconstructions.npz is damaged" in text
    assert html.count("is damaged") == 1
    assert "<!-- gelu -->" in (tmp_path / "figures" / "figure_11_latent_5.svg").read_text()
