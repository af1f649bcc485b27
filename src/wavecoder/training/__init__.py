"""Training with PyTorch Lightning: signals, steps, measurements and what is drawn at the end."""
