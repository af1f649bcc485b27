"""Training with PyTorch Lightning: signals, steps, measurements and figures."""
