"""Train autoencoders on sinusoids and see how they stand against the SVD: `python src/train.py --help`."""

from omegaconf import DictConfig

from wavecoder import commandline, jobs


def train(config: DictConfig) -> float:
    """One run, or what is left of it."""
    from wavecoder.training import train  # torch and Lightning take seconds to import

    return jobs.run_job(config, train)


if __name__ == "__main__":
    commandline.main(train, config_name="train")
