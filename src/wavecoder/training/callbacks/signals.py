"""What a run does when it is told to end: by SIGTERM, by SIGUSR2 (as submitit does before a time limit), or by Ctrl-C."""

import logging
import signal
import threading
from types import FrameType

import lightning as L

log = logging.getLogger(__name__)

_KINDS = [signal.SIGTERM, signal.SIGINT, *([signal.SIGUSR2] if hasattr(signal, "SIGUSR2") else [])]


class EndedBySignal(BaseException):
    """A run was told to end by a signal that ends a process, and has written its checkpoint.

    Attributes:
        kind: The signal, which the process must still receive: its handler is the one that was there before.
        step: The optimiser step at which the run ended.
    """

    def __init__(self, kind: signal.Signals, step: int) -> None:
        super().__init__(kind, step)
        self.kind = kind
        self.step = step


class SignalHandlers(L.Callback):
    """Lets a chunk of steps come to its end, and a checkpoint be written, before a signal has the effect that it had before.

    That is for runs that keep a last checkpoint (see `LastCheckpoint`, which calls `defer` and `act`), while they train, in the
    main thread. A second signal of the same kind acts at once. In other runs signals act as if there were no such callback.

    Lightning's own handler of SIGTERM is taken away: it ends the process with status 0, so a run that was told to end would look
    as if it had succeeded; and it would replace submitit's handler, which must survive the SIGTERM that Slurm sends to a job
    before it preempts it.

    Attributes:
        received: A signal that has not acted yet.
    """

    def __init__(self) -> None:
        self._before = {kind: signal.getsignal(kind) for kind in _KINDS}
        self._deferred: list[signal.Signals] = []
        self.received: signal.Signals | None = None

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
        if self.received == number:
            self.received = None
            self._stop_deferring()
            signal.raise_signal(number)
        self.received = signal.Signals(number)

    def act(self, step: int) -> None:
        """Let the signal that was received, if there is one, have the effect that it had before; return if that does.

        Args:
            step: The optimiser step at which the run is.

        Raises:
            EndedBySignal: The signal ends a process.
            BaseException: What its handler raises, as KeyboardInterrupt.
        """
        kind, self.received = self.received, None
        if kind is None:
            return
        self._stop_deferring()
        if self._before[kind] == signal.SIG_DFL:
            raise EndedBySignal(kind, step)
        if self._before[kind] != signal.default_int_handler:  # which is said where it ends the command
            log.info("%s: checkpoint at step %d", kind.name, step)
        signal.raise_signal(kind)
        self.defer()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.act(trainer.global_step)  # on one that came after the last checkpoint
        self._stop_deferring()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._stop_deferring()

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
