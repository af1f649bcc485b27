"""Write the report of a sweep, also of one that is not complete: `python src/report.py outputs/sweeps/…`."""

from wavecoder.runs import cli

if __name__ == "__main__":
    cli.report()
