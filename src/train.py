"""Train autoencoders on sinusoids and compare them with the SVD: `python src/train.py --help`."""

from wavecoder.runs import cli

if __name__ == "__main__":
    cli.train()
