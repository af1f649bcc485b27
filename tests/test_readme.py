"""Every command and every block of Python on README and docs is run as a reader would run it, or listed as not run.

What makes a command quick is added to it: little data, few seeds, smaller sweeps.
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters_page import code_in_prose
from conftest import composed
from processes import ROOT, run_command
from test_docs import jobs_of

from wavecoder.runs.settings import from_config

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{name}.md" for name in ("runs", "reliability", "paper", "performance", "configuration", "api")),
]
"""The pages whose code is run here, each in a folder of its own."""

ELSEWHERE = {
    "docs/clusters.md": "tests/cluster/test_commands.py",
    "docs/extending.md": "tests/test_extending.py",
    "docs/beyond.md": "tests/test_beyond.py",
    "docs/your-data.md": "tests/test_your_data.py",
    "docs/index.md": "tests/test_readme.py",  # is the README
    "docs/contributing.md": "tests/test_readme.py",
    "docs/changelog.md": "tests/test_site.py",
    "docs/benchmarks.md": "tests/test_site.py",
}
"""Other pages, and which tests look at them."""

RUN = (
    r"((PYTHONPATH=\. )?python src/(train|report)\.py"
    r"|wavecoder (train|evaluate|denoise|export|status|report|cancel|--version))(\s|$)|eval "
)
"""What the beginning of a line that is run looks like."""

NOT_RUN = {
    r"make ": "installs first; .ci/run runs test, lint and docs, and what others run is run here or measures",
    r"\.ci/run|\.venv/bin/pre-commit install": "is what runs these tests; changes the checkout",
    r"python3 -m venv|source |py -m venv|pip install": "the environment is there; tests/test_wheel.py makes one",
    r".*hydra/launcher=(slurm|ray)": "tests/cluster runs them",
    r".*trainer=gpu": "needs a GPU",
    r"tensorboard |wavecoder tensorboard": "tests of TensorBoard start it",
    r"wavecoder(\.results)?$|wavecoder train$": "names a command that is run with its arguments",
    r"pip |git pull|python (benchmarks|tests)/|mypy --strict": "measures for minutes; is make lint",
    r"pytest -m slow": "is what .ci/run does",
    r"python src/train\.py$": "is run with what makes it quick",
}
"""What is not run, by the beginning of its lines, and why."""

PRINTED = (
    r"error |train/mse|val/mse|sine/|─|…|activation  latent|(gelu|tanh|relu) |outputs/|\w+\.json|figures/|reconstructions\.npz"
)
FILES = r"checkpoints/|tb/|train\.log|\.hydra/|conf/|src/|\*\.py|files/|engine/|training/|runs/|paper/|tests/|benchmarks/|docs/"
"""What commands print and write, and where things are."""

QUICK = "debug=quick data.train_size=640 data.val_size=64 logger=none trainer.max_epochs=1"
SMALLER = {
    "num_seeds=8": "num_seeds=2",
    "activation=relu,tanh,gelu latent=1,5": "activation=relu,tanh latent=5",
    "experiment=paper": "experiment=paper activation=identity,tanh latent=5 num_seeds=2 noise.draws=2",
    "experiment=chance": "experiment=chance activation=identity,tanh latent=5 data.seed=0,1 num_seeds=2 noise.draws=2",
    "experiment=theorem": "experiment=theorem latent.dim=1 num_seeds=2",
    "experiment=directions": "experiment=directions optimizer.weight_decay=0 num_seeds=2",
    "experiment=search": "experiment=search hydra.sweeper.n_trials=2",
    "experiment=plane": "experiment=plane data.train_size=3",
    "seed=1,2,3 latent=1,5": "seed=1,2 latent=5",
}


def steps(page: str) -> Iterator[tuple[str, str]]:
    """What a reader does, in order: `python` and a block, or `command` and a line; what is in the text comes last."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for code, line in re.findall(r"^```python\n(.*?)^```|^    ([^\n]*\S[^\n]*)$", text, flags=re.MULTILINE | re.DOTALL):
        yield ("python", code) if code else ("command", line.strip())
    without_blocks = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (("command", line) for line in code_in_prose(without_blocks))


def commands(page: str) -> list[str]:
    """The lines of a page that are run."""
    return [line for kind, line in steps(page) if kind == "command" and is_run(line)]


def is_run(line: str) -> bool:
    return bool(re.match(RUN, line)) and not any(re.match(pattern, line) for pattern in NOT_RUN)


def quick(line: str) -> str:
    """A command with what makes it quick."""
    line = line.partition(" #")[0].rstrip()
    for large, small in SMALLER.items():
        line = re.sub(rf"{re.escape(large)}(?=\s|$)", small, line)
    if not re.search(r"train(\.py)? ", line) or re.search(r"--help|--cfg|-sc ", line):
        return line
    added = [word for word in QUICK.split() if f"{word.partition('=')[0]}=" not in line]
    if "data=file" in line or "experiment=plane" in line:
        added = ["trainer.max_epochs=1", "logger=none"]
    return " ".join([line, *added])


@pytest.mark.parametrize("page", PAGES)
def test_every_line_is_run_or_listed(page: str) -> None:
    for kind, line in steps(page):
        known = is_run(line) or any(re.match(pattern, line) for pattern in (*NOT_RUN, PRINTED, FILES))
        assert kind == "python" or known, line


def test_every_page_has_its_test() -> None:
    there = {str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))} - {"CHANGELOG.md"}
    assert there == {*PAGES, *ELSEWHERE}
    assert all((ROOT / test).exists() for test in ELSEWHERE.values())


@pytest.mark.slow
def test_every_training_composes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the pages have it, in full; those with networks or files of one's own are run below."""
    monkeypatch.chdir(tmp_path)
    found = {line.partition(" #")[0].strip() for page in PAGES for line in commands(page) if re.search(r"train(\.py)? ", line)}
    overrides = [[word for word in shlex.split(line) if re.match(r"[+~]?[\w./]+=|~", word)] for line in found]
    own = ("data=file", "my_networks", "experiment=search", "-sc", "run=")
    checked = 0
    for line, words in zip(found, overrides, strict=True):
        if words and not any(word in line for word in own) and "PYTHONPATH" not in line:
            for job in jobs_of(words)[:1] if " -m " in line else [words]:
                from_config(composed(*job))
                checked += 1
    assert checked > 15


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs(page: str, tmp_path: Path) -> None:
    """In a folder that looks like a checkout, and has no other file that the page does not make."""
    (tmp_path / "src").symlink_to(ROOT / "src")
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done_before: set[str] = set()
    for kind, text in steps(page):
        if kind == "python" and (name := re.match(r"# (\w+\.py)\n", text)):
            (tmp_path / name[1]).write_text(text, encoding="utf-8")
            continue
        if kind == "command" and not is_run(text):
            continue
        words = [sys.executable, "-c", text] if kind == "python" else ["bash", "-c", quick(text)]
        again = text.partition(" #")[0] in done_before
        done_before.add(text.partition(" #")[0])
        done = run_command(tmp_path, *words, environment=environment)
        assert done.returncode == 0, f"{words[-1]}\n{done.stdout}{done.stderr}"
        if again:
            assert "nothing to do" in done.stdout or "0 to run" in done.stdout, done.stdout
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 1_100
