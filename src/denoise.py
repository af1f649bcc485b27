"""Clean signals in a file with a trained run: `python src/denoise.py outputs/runs/… noisy.wav clean.wav`."""

from wavecoder.runs import commands

if __name__ == "__main__":
    commands.denoise()
