"""Noisy signals, and how a network takes the noise from them, for the tests of `denoise`."""

from pathlib import Path

import numpy as np
import soundfile
from numpy import ndarray

from wavecoder.runs.load import Trained

RATE = 8000
GENERATOR = np.random.default_rng(0)
SINE = np.sin(0.1 * np.arange(5000))
NOISE = GENERATOR.normal(size=5000)
ROWS = np.sin(GENERATOR.normal(size=(12, 1)) * 2 * np.arange(100) * 0.1) + 0.3 * GENERATOR.normal(size=(12, 100))


def write_wav(path: Path, values: ndarray, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, values, RATE, subtype=subtype)
    return path


def by_hand(model: Trained, signal: ndarray, noise: float = 0.0) -> ndarray:
    """Overlapping windows without any of our code."""
    length, hop = model.signal_length, model.signal_length // 2
    hann = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
    starts = sorted({*range(0, len(signal) - length + 1, hop), len(signal) - length})
    sums, weights = np.zeros(len(signal)), np.zeros(len(signal))
    windows = np.stack([signal[s : s + length] for s in starts])
    for start, made in zip(starts, model.reconstruct(windows, noise), strict=True):
        sums[start : start + length] += hann * made
        weights[start : start + length] += hann
    return sums / weights
