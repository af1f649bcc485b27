"""What a run does when it is told to end by SIGTERM."""

import signal
import threading

import lightning as L


class RestoreSigtermHandler(L.Callback):
    """Puts back the handler of SIGTERM that was there before Lightning installed its own.

    Lightning's handler ends the process with status 0, so a run that was told to end would look as if it had succeeded; and it
    would replace submitit's handler, which must survive the SIGTERM that Slurm sends to a job before it preempts it. A run needs
    no warning: it resumes from its last checkpoint.
    """

    def __init__(self) -> None:
        self._before = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():  # others have no handlers, and Lightning installs none there
            signal.signal(signal.SIGTERM, self._before)

    on_test_start = on_train_start
