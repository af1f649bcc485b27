"""The commands of docs/clusters.md, taken out of the page itself, and how tests type them.

What makes a command quick is added to it: little data, few epochs, smaller sweeps.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from processes import JOB, ROOT, run_command
from run_files import completed, records

PAGE = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")


def code_lines(page: str) -> list[str]:
    """The lines of all fenced and indented code blocks; those that end in a backslash are joined with the next."""
    lines, fenced = [], False
    for line in page.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            lines.append(line.strip())
    return "\n".join(lines).replace("\\\n", "").splitlines()


def code_in_prose(page: str) -> list[str]:
    """What stands between backticks in the text and may be a command: a word in small letters, a space and more."""
    prose = re.sub(r"^(    .*|```.*)$", "", page, flags=re.MULTILINE)
    spans = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose))
    return [span for span in spans if re.match(r"[a-z]+ ", span)]


def commands(line: str) -> list[list[str]]:
    """The words of every command `wavecoder …` in a line, also of one that is handed to another shell."""
    if "wavecoder " not in line:
        return []
    words = [word for word in shlex.split(line, comments=True) if word != "…"]
    nested = [found for word in words if " " in word for found in commands(word)]
    return nested or ([words[words.index("wavecoder") + 1 :]] if "wavecoder" in words else [])


LINES = list(dict.fromkeys(line.removeprefix("$ ") for line in (*code_lines(PAGE), *code_in_prose(PAGE))))

RUN = {
    "a sweep on Slurm": r"wavecoder train -m (?!.*(trainer=gpu|detach=true)).*hydra/launcher=slurm",
    "a sweep on GPUs": r"wavecoder train -m .*trainer=gpu",
    "a detached sweep": r"wavecoder train -m .*detach=true",
    "its status": r"wavecoder status ",
    "its tasks": r"squeue ",
    "its end": r"wavecoder cancel ",
    "a question to Slurm": r"(sacctmgr|scontrol|sinfo) ",
    "a run over nodes": r"(srun|salloc) .*trainer=slurm",
    "a script": r"sbatch --nodes",
    "runs as tasks": r"srun --ntasks",
    "a sweep on Ray": r"wavecoder train -m .*hydra/launcher=ray$",
    "a Ray cluster": r"ray (start --|status|stop)|wavecoder train -m .*init\.address=",
    "Ray's token": r"ray get-auth-token ",
    "a sweep with joblib": r"wavecoder train -m .*hydra/launcher=joblib$",
    "a report": r"wavecoder report ",
    "a notebook": r"frame",
    "curves": r"wavecoder tensorboard ",
    "a script for another scheduler": r"#PBS |cd \$PBS_O_WORKDIR |wavecoder train -m .*hydra/launcher=joblib .*n_jobs=",
    "a search": r"wavecoder train (-m experiment=search$|.*experiment=best)",
}
"""What is run, by the test that runs it: a pattern for the beginning of its lines."""

NOT_RUN = {
    r"module |git clone |pip install ": "the environment of the tests is installed; tests/test_wheel.py installs another",
    r"ssh ": "there is no second machine to log in to",
    r"kubectl ": "there is no Kubernetes cluster; tests/test_docs.py compares the manifest with KubeRay's fields",
    r"python benchmarks/": "measures for minutes",
    r"ray start$": "names a command that is run with its options",
    r"\d+ complete, |submitted \d|tasks that wait, |\d+ (of \d+ )?jobs|cancelled \d|checking [\d,]+ jobs": "printed",
    r"(running|queued|lost) +activation=|lost: |the best so far: |no longer in the queue|sbatch refuses": "printed",
    r"outputs/|activation=gelu,latent=5/|results\.json|checkpoints/|\.lock|train\.log|summary\.csv": "files that a sweep leaves",
    r"sweep\.db|\.tasks/|multirun\.yaml": "files that a sweep leaves",
}
"""What is not run, a pattern for the beginning of its lines, and why."""

SMALLER = {
    "activation=relu,tanh,gelu latent=1,5": "activation=relu,tanh latent=5",
    "latent=1,2,3,5": "latent=1,2",
    "--ntasks=4": "--ntasks=2",
    "num_seeds=32": "num_seeds=2",
    "num_seeds=256": "num_seeds=2",
    "range(0,10000)": "range(0,4)",
    "range(0,32)": "range(0,2)",
    "jobs_per_task=50": "jobs_per_task=2",
    "n_jobs=32": "n_jobs=2",
    "experiment=search": "experiment=search hydra.sweeper.n_trials=2",
    "FIRST": "127.0.0.1",
}
ENDLESS = "trainer.max_epochs=1000000 trainer.check_val_every_n_epoch=1000000"
QUICK = [choice for choice in JOB if not choice.startswith(("num_seeds", "callbacks"))]

HERE = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
"""The environment in which the page's commands are typed."""


def of(kind: str) -> list[str]:
    return [line for line in LINES if re.match(RUN[kind], line)]


def quick(line: str) -> str:
    """A line of the page with what makes it quick, as far as it makes no choice of its own."""
    for large, small in SMALLER.items():
        line = line.replace(large, small)
    chosen = {word.partition("=")[0] for word in line.split()}
    added = [choice for choice in QUICK if choice.partition("=")[0] not in chosen]
    added += [] if "callbacks=lean" in line else ["~callbacks.figures"]
    return re.sub(r"wavecoder train( -m| --config-dir \S+)?", rf"\g<0> {' '.join(added)}", line)


def run(folder: Path, line: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Type a line in a folder; its exit status must be 0."""
    done = run_command(folder, "bash", "-c", quick(line), environment=environment or HERE)
    assert done.returncode == 0, f"{quick(line)}\n{done.stdout}{done.stderr}"
    return done


def assert_complete(done: subprocess.CompletedProcess[str], folder: Path) -> None:
    """A sweep has begun with nothing and completed all its jobs."""
    assert done.stderr == ""
    (sweep,) = (folder / "outputs" / "sweeps").iterdir()
    planned = re.search(r"^0 complete, (\d+) to run in outputs/sweeps/\w+$", done.stdout, flags=re.MULTILINE)
    assert len(completed(sweep)) == len(records(sweep)) == (int(planned[1]) if planned else 2)  # a search plans none


def runs_in(folder: Path) -> list[dict[str, Any]]:
    """The records of the runs in a folder."""
    return [json.loads(file.read_text()) for file in (folder / "outputs" / "runs").rglob("results.json")]
