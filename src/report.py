"""Write the report of a sweep, also of one that is not complete: `python src/report.py outputs/sweeps/…`."""

from wavecoder.runs import commands

if __name__ == "__main__":
    commands.report()
