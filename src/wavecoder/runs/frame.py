"""The results of a sweep for a notebook."""

from pathlib import Path

import pandas as pd

from wavecoder.runs.pooling import as_rows
from wavecoder.runs.store import read_sweep


def results(sweep: str | Path) -> pd.DataFrame:
    """The results of a sweep as a table, a row for each job, the best `val/mse` first.

    Args:
        sweep: The sweep's folder, for example `outputs/sweeps/paper`.

    Returns:
        Columns `job`, `status`, `error`, the overrides, `network`, `seed`, `engine`, `seconds`, and for every metric its `… mean`
        and `… std` over the job's seeds, and what each reference has there, for example `svd val/mse`; the seeds that `diverged`
        or are `dead`, if there are any.

    Raises:
        FileNotFoundError: There is no such folder.

    Example:
        >>> frame = wavecoder.results("outputs/sweeps/paper")            # doctest: +SKIP
        >>> frame.groupby("activation")["val/mse mean"].median()         # doctest: +SKIP
    """
    return pd.DataFrame(as_rows(read_sweep(Path(sweep))))
