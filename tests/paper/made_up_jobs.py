"""Jobs of a sweep that were never run, as `store.read_sweep` gives them, for tests of what is made of results."""

from typing import Any


def made_up_job(name: str, network: str, **fields: Any) -> dict[str, Any]:
    """A complete job of one of the paper's networks with a latent of 5, unless the fields say otherwise."""
    papers = {"model": "deep", "activation": network, "bias": True, "latent_dim": 5}
    return {"job": name, "status": "completed", "network": network} | papers | fields
