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
CHUNKS = 6

MODELS = {
    "gelu": (),
    "relu": ("activation=relu", "num_seeds=3", "noise.train_std=0.3", "data=fresh"),
    "linear": ("activation=identity", "scheduler=cosine", "optimizer=adamw", "basis=population"),
    "tied": ("experiment=theorem",),
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
    """

    def __init__(self, forks: Forks, folder: Path, model: str, engine: str) -> None:
        chosen = dict.fromkeys((*MODELS[model], *_SMALL, f"engine={engine}"))
        taken = {choice.partition("=")[0] for choice in MODELS[model]}
        skipped = {"model.widths"} if model == "tied" else set()
        self._arguments = [each for each in chosen if each in MODELS[model] or each.partition("=")[0] not in taken | skipped]
        self._forks, self._folder = forks, folder
        self.whole = folder / "whole"
        self.undisturbed = self._train(self.whole)
        assert self.undisturbed.status == 0, self.undisturbed.printed

    @property
    def stops(self) -> list[dict[str, Any]]:
        """Arguments of `kill` for all places at which it can be: before each operation, and at the half of each writing."""
        numbered = list(enumerate(self.undisturbed.operations, 1))
        halves = [{"at": at, "how": "half"} for at, line in numbered if line.startswith("write ")]
        return [{"at": at, "how": "before"} for at, _ in numbered] + halves

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
            started, place = time.monotonic(), Path(folder, f"{model}-{engine}")
            place.mkdir()
            victim = Victim(forks, place, model, engine)
            tries = [*victim.stops, *({"chunk": draw.randint(1, CHUNKS)} for _ in range(STEPS))]
            counts: Counter[str] = Counter()
            for each in tries:
                try:
                    counts[victim.kill(**each)] += 1
                except AssertionError as error:
                    counts["FAILED"] += 1
                    yield f"  {model} {engine} {each}: {' '.join(str(error).split())[:300]}"
            operations = victim.undisturbed.operations
            names = Counter(line.partition(" ")[0] for line in operations)
            yield (
                f"{model} {engine}: {len(operations)} operations {dict(names)}, {len(tries)} kills: {dict(counts)}, "
                f"{time.monotonic() - started:.0f} s"
            )


if __name__ == "__main__":
    chosen = sys.argv[1:]
    for line in everything([(model, engine) for model, engine in KINDS if model in (chosen or MODELS)]):
        print(line, flush=True)
