"""What a run does when it is told to end: by SIGTERM, by SIGUSR2 (as submitit does before a time limit), or by Ctrl-C."""

import logging
import signal
import threading
from collections.abc import Iterable
from types import FrameType

import lightning as L

from wavecoder.training.ending import ENDING, ends_process

log = logging.getLogger(__name__)

KINDS = (*ENDING, signal.SIGINT)
"""The signals, in the order in which they act where a chunk of steps has seen several: first what requeues a job of Slurm."""


class EndedBySignal(BaseException):
    """A run was told to end by a signal that ends a process, and has written its checkpoint.

    Attributes:
        kind: The signal, of which the process must still die.
        step: The optimiser step at which the run ended.
    """

    def __init__(self, kind: signal.Signals, step: int) -> None:
        super().__init__(kind, step)
        self.kind = kind
        self.step = step


class SignalHandlers(L.Callback):
    """Lets a chunk of steps come to its end, and a checkpoint be written, before a signal has the effect that it had before.

    That is for runs that keep a last checkpoint (see `LastCheckpoint`, which calls `defer` and `act`), while they train, in the
    main thread. Of several signals none is lost: they act one after another, in the order of `KINDS`, until one ends the run. A
    second one of the same kind acts at once. In other runs signals act as if there were no such callback.

    Lightning's own handler of SIGTERM is taken away: it ends the process with status 0, so a run that was told to end would look
    as if it had succeeded; and it would replace submitit's handler, which must survive the SIGTERM that Slurm sends to a job
    before it preempts it.

    Attributes:
        received: The signals that have not acted yet.
    """

    def __init__(self) -> None:
        self._before = {kind: signal.getsignal(kind) for kind in KINDS}
        self._deferred: list[signal.Signals] = []
        self.received: set[signal.Signals] = set()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._put_back(signal.SIGTERM)

    on_test_start = on_train_start

    def defer(self) -> None:
        """From now on, signals are noted, and act when `act` is called."""
        if threading.current_thread() is threading.main_thread():  # others have no handlers
            # nor has what is ignored, as Ctrl-C is in the background of a script, or what was not installed from Python
            self._deferred = [kind for kind, before in self._before.items() if before not in (None, signal.SIG_IGN)]
            for kind in self._deferred:
                signal.signal(kind, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number not in self.received:
            self.received.add(signal.Signals(number))
            return
        self.received.discard(signal.Signals(number))
        self._stop_deferring()
        signal.raise_signal(number)
        self.defer()

    def act(self, kinds: Iterable[signal.Signals], step: int) -> None:
        """Let signals that were received have the effects that they had before; return if all of these do.

        Args:
            kinds: The signals. In processes that share a run those that any has received, and all act on the same.
            step: The optimiser step at which the run is.

        Raises:
            EndedBySignal: One ends a process.
            BaseException: What its handler raises, as KeyboardInterrupt.
        """
        acting = sorted(kinds, key=KINDS.index)
        if not acting:
            return
        self.received.difference_update(acting)
        self._stop_deferring()
        for kind in acting:
            if ends_process(self._before[kind]):
                raise EndedBySignal(kind, step)
            if self._before[kind] != signal.default_int_handler:  # which is said where it ends the command
                log.info("%s: checkpoint at step %d", kind.name, step)
            signal.raise_signal(kind)
        self.defer()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.act(self.received, trainer.global_step)  # on what came after the last checkpoint
        self._stop_deferring()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._stop_deferring()
        if self.received:  # or the next job of a sweep would begin
            log.error("%s: %s", type(exception).__name__, exception)
        for kind in sorted(self.received, key=KINDS.index):
            signal.raise_signal(kind)

    def _stop_deferring(self) -> None:
        deferred, self._deferred = self._deferred, []  # or it would undo later what others do with these signals
        self._put_back(*deferred)

    def _put_back(self, *kinds: signal.Signals) -> None:
        if threading.current_thread() is threading.main_thread():
            for kind in kinds:
                signal.signal(kind, self._before[kind])


def find_handlers(trainer: L.Trainer) -> SignalHandlers:
    """The signal handlers of a trainer; where it has none, some that nothing is told to."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, SignalHandlers)), SignalHandlers())
