"""Runs and sweeps: the command line, settings, one job, many jobs, and their results on disk. After Hydra."""
