"""Autoencoders trained on sinusoids, always compared with the SVD and with the best that is possible."""
