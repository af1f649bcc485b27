"""`src/report.py`, on a small real sweep with gaps in it."""

import base64
import json
import re
import shlex
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from conftest import FAILS, OWN_NETWORKS, run_script

from wavecoder.paper.report import number

pytestmark = pytest.mark.xdist_group("report")  # one sweep for all


def report(folder: Path) -> subprocess.CompletedProcess[str]:
    return run_script("report.py", folder.parent, str(folder))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four networks, two of the theorem's, a failed job, and one that was interrupted."""
    folder = tmp_path_factory.mktemp("report")
    to = "hydra.sweep.dir=sweep"
    quick = ("-m", to, "debug=quick", "logger=none", "data.train_size=640")
    assert run_script("train.py", folder, *quick, "activation=identity,tanh", "latent=1,5", "num_seeds=3").returncode == 0
    assert run_script("train.py", folder, *quick, "experiment=theorem", "latent.dim=1,2", "num_seeds=3").returncode == 0
    assert run_script("train.py", folder, *quick, "activation=relu", FAILS, environment=OWN_NETWORKS).returncode == 1
    (folder / "sweep" / "activation=gelu,latent=5" / ".hydra").mkdir(parents=True)
    done = report(folder / "sweep")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"The report is {folder / 'sweep' / 'report.html'}\n"
    return folder / "sweep"


class Cells(HTMLParser):
    """Every table cell that says where its number comes from, and all sources of pictures, styles and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[dict[str, str]] = []
        self.sources: list[str] = []
        self._metric = ""
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.sources += [given[name] for name in ("src", "href") if name in given]
        self._metric = given.get("data-metric", self._metric)
        self._inside = tag == "td" and "data-value" in given
        if self._inside:
            self.cells.append({"data-metric": self._metric, "text": ""} | given)

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1]["text"] += data


@pytest.fixture(scope="module")
def page(sweep: Path) -> Cells:
    return Cells((sweep / "report.html").read_text())


def test_the_numbers_are_those_of_the_results(sweep: Path, page: Cells) -> None:
    records: dict[str, Any] = {path.parent.name: json.loads(path.read_text()) for path in sweep.glob("*/results.json")}
    completed = {name: record for name, record in records.items() if record["status"] == "completed"}
    assert len(completed) == 6
    seen = set()
    for cell in page.cells:
        metric = cell["data-metric"]
        if "data-job" in cell:
            expected = completed[cell["data-job"]]["metrics"][metric]["median"]
        else:
            alike = [record for record in completed.values() if record["latent_dim"] == int(cell["data-latent"])]
            expected = next(
                record["references"][cell["data-reference"]][metric] for record in alike if record["noise"]["eval_std"]
            )
        assert float(cell["data-value"]) == expected
        assert cell["text"].split(" (")[0] == number(expected)
        seen.add((cell.get("data-job", cell.get("data-reference")), metric))
    for name, record in completed.items():
        wanted = [metric for metric in record["metrics"] if "over" not in metric and metric != "train/mse"]
        wanted = [metric for metric in wanted if metric.startswith("linear")] if "subspace" in record else wanted
        assert {(name, metric) for metric in wanted} <= seen
    assert {("bayes", "val/mse_noise_0.1"), ("wiener", "sine/mse_noise_1.0"), ("svd", "val/mse")} <= seen


def test_nothing_in_any_table_is_better_than_bayes(sweep: Path) -> None:
    for path in sweep.glob("*/results.json"):
        record = json.loads(path.read_text())
        for metric, floor in record.get("references", {}).get("bayes", {}).items():
            if metric.startswith("val/"):  # on one sine, unlike on average over new signals, luck may be better
                others = [errors[metric] for name, errors in record["references"].items() if name != "bayes"]
                assert floor < min(*others, *record["metrics"][metric]["per_seed"])


def test_gaps_are_named(sweep: Path) -> None:
    html, text = (sweep / "report.html").read_text(), (sweep / "report.md").read_text()
    for page in (html, text):
        assert re.search(r"activation=relu,[^`<]*FailsWhenTrained[^`<]*(</code>|`): failed: RuntimeError: out of order", page)
        assert re.search(r"activation=gelu,latent=5(</code>|`): unfinished", page)
        assert (
            "missing: latent 1: relu, sigmoid, leaky_relu, prelu, gelu; latent 5: relu, sigmoid, leaky_relu, prelu, gelu." in page
        )
        assert "Needs relu with a latent of 1, which is not in this sweep." in page
        assert "Cannot be judged" in page
    assert "<strong>C7a</strong>" in html


def test_the_page_is_self_contained(sweep: Path, page: Cells) -> None:
    outside = [source for source in page.sources if not source.startswith(("data:", "#"))]
    assert outside == []
    assert "http" not in re.sub(r'src="data:[^"]*"', "", (sweep / "report.html").read_text())
    pictures = [source for source in page.sources if source.startswith("data:")]
    assert len(pictures) >= 12
    for picture in pictures:
        assert b"<svg" in base64.b64decode(picture.partition(",")[2])


def test_every_figure_is_there_as_png_and_svg(sweep: Path) -> None:
    names = {path.stem for path in (sweep / "figures").glob("*.png")}
    numbers = {"06_samples", "07_families", "08_noise_0.1", "09_latent_1", "10_latent_1", "11_latent_5", "12_latent_5"}
    numbers |= {"13_noise_1", "14_latent_5", "14_copies_latent_5"}
    assert names == {f"figure_{each}" for each in numbers} | {"latent_identity", "latent_tanh", "theorem"}
    assert {path.stem for path in (sweep / "figures").glob("*.svg")} == names
    text = (sweep / "report.md").read_text()
    assert all(f"figures/{name}.png" in text for name in names)


@pytest.mark.slow
def test_a_sweep_over_one_setting_is_drawn_against_it(tmp_path: Path) -> None:
    quick = ("-m", "hydra.sweep.dir=sweep", "debug=quick", "logger=none", "experiment=rate", "optimizer.lr=1e-2,1e-3,1e-4")
    assert run_script("train.py", tmp_path, *quick, "data.train_size=128").returncode == 0
    for file in (tmp_path / "sweep").glob("*/.hydra/config.yaml"):  # as experiment=overfitting has it
        epochs = "max_epochs: ${epochs:40,${data.train_size},${data.batch_size}}"
        file.write_text(file.read_text().replace("max_epochs: 2", epochs))
    done = report(tmp_path / "sweep")
    assert (done.returncode, done.stderr) == (0, "")
    picture = (tmp_path / "sweep" / "figures" / "dependence_gelu_latent_5.svg").read_text()
    order = [picture.index(f"<!-- {choice} -->") for choice in ("0.0001", "0.001", "0.01")]
    assert order == sorted(order)
    assert "<!-- optimizer.lr -->" in picture
    assert "<td>epochs</td><td>20</td>" in (tmp_path / "sweep" / "report.html").read_text()


@pytest.mark.slow
def test_a_command_of_the_report_runs_the_same_again(sweep: Path, tmp_path: Path) -> None:
    commands = [line.strip() for line in (sweep / "report.md").read_text().splitlines() if "python src/train.py" in line]
    assert len(commands) == 6
    command = next(each for each in commands if "activation=tanh latent=5" in each)
    done = run_script("train.py", tmp_path, *shlex.split(command)[2:], "hydra.run.dir=again")
    assert done.returncode == 0
    again = json.loads((tmp_path / "again" / "results.json").read_text())
    [file] = sweep.glob("activation=tanh*latent=5*/results.json")
    assert again["config_fingerprint"] == json.loads(file.read_text())["config_fingerprint"]


@pytest.mark.parametrize("content", [None, "empty"])
def test_no_sweep_is_one_line(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "nothing"
    if content:
        folder.mkdir()
    done = report(folder)
    assert (done.returncode, done.stdout) == (2, "")
    problem = "there are no jobs of a sweep in it" if content else "there is no such folder"
    assert done.stderr == f"error: {folder}: {problem}\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0123456, "0.0123"),
        (1.0, "1.00"),
        (31.94, "31.9"),
        (5653.2, "5653"),
        (1.02e-4, "1.02·10⁻⁴"),
        (None, "–"),
        (123456.0, "1.23·10⁵"),
    ],
)
def test_numbers_as_people_write_them(value: float | None, expected: str) -> None:
    assert number(value) == expected
