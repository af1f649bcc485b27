"""Kills runs at every operation on their files, and at random steps; resumed, they must end as if nothing had happened.

    python tests/kills/matrix.py              # everything: five models, both engines
    python tests/kills/matrix.py tied         # one model

Each try starts a run in an empty folder, kills it, and runs the same command again.
"""

import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # for same_end, as in pytest

from kills.forks import KILLED, Done, Forks, Stop, compile_library
from same_end import assert_same_end, temporary

_SMALL = (
    "data.train_size=32",
    "data.val_size=16",
    "data.batch_size=8",
    "trainer.max_epochs=3",
    "noise=none",
    "engine.steps_per_execution=2",
    "callbacks.last.every_steps=1",
    "~callbacks.figures",
    "latent=2",
    "model.widths=[8]",
)
"""Three epochs of two chunks, of two steps each."""
_MORE_STEPS = ("data.train_size=160", "engine.steps_per_execution=1", "callbacks.last.every_steps=7", "logger=none")
CHUNKS = 60  # of a run of more steps

MODELS = {
    "gelu": (),
    "relu": ("activation=relu", "num_seeds=3", "noise.train_std=0.3", "data=fresh"),
    "linear": ("activation=identity", "scheduler=cosine", "optimizer=adamw", "basis=population"),
    "tied": ("model=linear_tied", "scheduler=cosine", "num_seeds=2"),
    "prelu": ("activation=prelu", "scheduler=cosine", "noise=low"),
}
KINDS = [
    *((model, engine) for model in ("gelu", "relu", "linear") for engine in ("compiled", "pytorch")),
    *((model, "pytorch") for model in ("tied", "prelu")),  # which the compiled engine does not know
]
"""Models and engines."""
STEPS = 20  # random ones at which each run is killed


class Victim:
    """One kind of run, killed again and again.

    Args:
        forks: What runs it.
        folder: An empty one for its files.
        model: A name of `MODELS`.
        engine: Of the engine.
        more_steps: Whether it has more steps, and checkpoints of only some of them.
    """

    def __init__(self, forks: Forks, folder: Path, model: str, engine: str, more_steps: bool = False) -> None:
        first = (*MODELS[model], *(_MORE_STEPS if more_steps else ()))
        left_out = {choice.partition("=")[0] for choice in first} | ({"model.widths"} if model == "tied" else set())
        self._arguments = [*first, *(each for each in _SMALL if each.partition("=")[0] not in left_out), f"engine={engine}"]
        self._forks, self._folder = forks, folder
        folder.mkdir(exist_ok=True)
        self.whole = folder / "whole"
        self.undisturbed = self._train(self.whole)
        assert self.undisturbed.status == 0, self.undisturbed.printed

    @property
    def stops(self) -> list[dict[str, Any]]:
        """Arguments of `kill` for all places at which it can be: before each operation, and at the half of each writing.

        Left out is what follows an operation that changes no file, for then the files are those of the place before: fsync, and
        making or opening what is there.
        """
        operations, places = self.undisturbed.operations, [{"at": 1, "how": "before"}]
        for at, line in enumerate(operations, 1):
            name = line.partition(" ")[0]
            if name == "write":
                places.append({"at": at, "how": "half"})
            changes_nothing = name == "fsync" or (name in ("mkdir", "open") and line in operations[: at - 1])
            if at < len(operations) and not changes_nothing:
                places.append({"at": at + 1, "how": "before"})
        return places

    def kill(self, at: int = 0, how: str = "before", chunk: int = 0) -> str:
        """Kill a new run, run its command again, and say in a word what became of it.

        Raises:
            AssertionError: It ended otherwise than the undisturbed run.
        """
        run = self._folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        killed = self._train(run, Stop(run, at, how, chunk))
        assert killed.status in (0, KILLED), killed.printed
        again = self._train(run)
        assert again.status == 0, again.printed
        assert_same_end(run, self.whole)
        assert temporary(run) == [], temporary(run)
        if killed.status == 0:
            return "not reached"  # the number of writings differs a little from run to run
        words = {"resumes from": "resumed", "complete already": "complete"}
        return next((word for said, word in words.items() if said in again.printed), "from the start")

    def _train(self, run: Path, stop: Stop | None = None) -> Done:
        return self._forks.train([*self._arguments, f"hydra.run.dir={run}"], self._folder, stop or Stop(run))


def everything(kinds: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Kill at every operation, and at random steps; a line for each model and engine, and for each try that failed."""
    seed = random.randrange(10**6)
    yield f"seed of the random steps: {seed}"
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, Forks(compile_library(Path(folder)), Path(folder)) as forks:
        for model, engine in kinds:
            started = time.monotonic()
            short, long = (Victim(forks, Path(folder, f"{model}-{engine}-{more}"), model, engine, more) for more in (False, True))
            tries = [(short, stop) for stop in short.stops]
            tries += [(long, {"chunk": number}) for number in draw.sample(range(1, CHUNKS), STEPS)]
            counts: Counter[str] = Counter()
            for victim, stop in tries:
                try:
                    counts[victim.kill(**stop)] += 1
                except AssertionError as error:
                    counts["FAILED"] += 1
                    yield f"  {model} {engine} {stop}: {' '.join(str(error).split())[:300]}"
            operations = short.undisturbed.operations
            names = Counter(line.partition(" ")[0] for line in operations)
            yield (
                f"{model} {engine}: {len(operations)} operations {dict(names)}, {len(tries)} kills: {dict(counts)}, "
                f"{time.monotonic() - started:.0f} s"
            )


if __name__ == "__main__":
    chosen = sys.argv[1:]
    for line in everything([(model, engine) for model, engine in KINDS if model in (chosen or MODELS)]):
        print(line, flush=True)
