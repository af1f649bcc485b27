"""Denoise a sine with an exported network, with NumPy and onnxruntime alone: `python docs/onnx_without_torch.py model.onnx`."""

import json
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
for name, value in sorted(about.items()):
    print(f"{name}: {value}")

length, dt, scaling = int(about["signal_length"]), float(about["dt"]), json.loads(about["scaling"])
sine = scaling["offset"] + scaling["scale"] * np.sin(dt * np.arange(length))  # in the units of the training signals
noise = 0.1 * scaling["scale"] * np.random.default_rng(0).standard_normal((10, length))
noisy = (sine + noise).astype(np.float32)  # [batch, time]: any number of signals

(denoised,) = session.run(None, {"signals": noisy})
print(f"mean squared error of ten noisy sines: {np.mean((noisy - sine) ** 2):.3g}")
print(f"of their reconstructions: {np.mean((denoised - sine) ** 2):.3g}")
print(f"of the mean of these: {np.mean((denoised.mean(0) - sine) ** 2):.3g}")
