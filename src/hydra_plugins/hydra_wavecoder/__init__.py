"""Hydra finds the sweeper here: it takes plugins from packages of `hydra_plugins` alone."""
