"""How much better the mean of all seeds' reconstructions denoises than the best seed: a table for runs of many seeds.

for choice in "activation=gelu latent=5" "activation=tanh latent=1"; do
    wavecoder train experiment=paper $choice hydra.run.dir="outputs/runs/mean_of_seeds/${choice// /_}"
done
python benchmarks/mean_of_seeds.py outputs/runs/mean_of_seeds/*
"""

import statistics
import sys

import torch

import wavecoder
from wavecoder.rng import generator

SIGNALS, COPIES = 10_000, 1_000


def main() -> None:
    """Print the mean squared errors, per value of a signal, on new noisy signals and on noisy copies of sin(t)."""
    print("| network | signals | noise | best seed | median seed | mean of all | / best | SVD | Wiener | Bayes |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for folder in sys.argv[1:]:
        each = wavecoder.load(folder, seed="all")
        data, best = each.settings.data, each.seeds.index(wavecoder.load(folder, seed="best").seed)
        source = wavecoder.SinusoidSource(
            data.families,
            data.sigma,
            data.signal_length,
            data.dt,
            val_size=SIGNALS,
            test_frequency=data.test_frequency,
            seed=2**31,
        )
        clean = {
            "validation": source.validation_set("cpu").evaluate(source.times("cpu")),
            "sine": source.test_signal("cpu").repeat(COPIES, 1),
        }
        for name, signals in clean.items():
            for noise in (0.1, 1.0):
                noisy = wavecoder.add_noise(signals, noise, generator("cpu", 2**31, name, noise))
                made = each.reconstruct(noisy)
                errors = (made - signals).square().mean((1, 2)).tolist()
                mean = error_of(made.mean(0), signals)
                others = [error_of(each.references[key].reconstruct(noisy, noise), signals) for key in ("svd", "wiener", "bayes")]
                network = f"{each.label}, latent {each.latent_dim}, {len(each.seeds)} seeds"
                numbers = (errors[best], statistics.median(errors), mean, mean / errors[best], *others)
                print(f"| {network} | {name} | {noise} | {' | '.join(f'{number:.3g}' for number in numbers)} |")


def error_of(made: torch.Tensor, signals: torch.Tensor) -> float:
    """The mean squared error per value."""
    return (made - signals).square().mean().item()


if __name__ == "__main__":
    main()
