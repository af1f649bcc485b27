"""Measure trained runs again: `python src/evaluate.py outputs/runs/…`."""

from wavecoder.runs import commands

if __name__ == "__main__":
    commands.evaluate()
