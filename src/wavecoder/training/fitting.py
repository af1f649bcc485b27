"""Whether a run can resume from what a checkpoint holds, found before anything of it is loaded: whoever has written it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lightning as L
    from torch.optim import Optimizer

    from wavecoder.training.data import SignalDataModule
    from wavecoder.training.module import AutoencoderModule


def misfit(
    checkpoint: Mapping[str, Any], module: "AutoencoderModule", datamodule: "SignalDataModule", trainer: "L.Trainer"
) -> str | None:
    """Why a run cannot resume from a checkpoint; None if it can.

    Structures and shapes are compared with those of the run's own objects; what a later or an earlier version has beside them is
    ignored.

    Args:
        checkpoint: The content of its file.
        module: What will be trained.
        datamodule: What it will be trained on.
        trainer: What will train it.
    """
    import torch

    counts, own = {"epoch": 0, "global_step": 0, "pytorch-lightning_version": ""}, module.state_dict()
    if not has_structure(checkpoint, counts) or not isinstance(checkpoint.get("callbacks"), Mapping):
        return "lacks something that a run resumes from"
    weights = checkpoint["state_dict"]
    if not has_structure(weights, own) or weights.keys() != own.keys():
        return "is of a network with other weights"
    names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    if not all(torch.isfinite(weights[name]).all() for name in names):
        return "has weights that are not finite"
    if problem := _misfit_of_optimization(checkpoint, module):
        return problem
    loops: Any = checkpoint.get("loops")
    if not has_structure(loops, {"fit_loop": trainer.fit_loop.state_dict()}):
        return "has no such state of the training's loops as this version resumes from"
    place = {"epoch": 0, "steps": 0, "steps_per_execution": 0}
    loaders = loops["fit_loop"]["state_dict"].get("combined_loader", [])
    steps = datamodule.steps_per_execution
    if not has_structure(loaders, [place] * len(loaders)) or any(each["steps_per_execution"] != steps for each in loaders):
        return "is of another version"
    if not _fits_callbacks(checkpoint["callbacks"], trainer) or not _is_session(checkpoint, module):
        return "has damaged parts"
    return None


def _fits_callbacks(states: Mapping[str, Any], trainer: "L.Trainer") -> bool:
    """Whether the states of callbacks that keep checkpoints are such; others may know what they need in training alone."""
    callbacks: list[L.Callback] = trainer.checkpoint_callbacks  # type: ignore[assignment]
    return has_structure(states, {each.state_key: each.state_dict() for each in callbacks if each.state_key in states})


def _misfit_of_optimization(checkpoint: Mapping[str, Any], module: "AutoencoderModule") -> str | None:
    made = module.configure_optimizers()
    (optimizer,), schedulers = made if isinstance(made, tuple) else ([made], [])
    states = checkpoint.get("optimizer_states")
    if not (isinstance(states, list) and len(states) == 1 and has_structure(states[0], optimizer.state_dict())):
        return "is of another optimiser"
    has_begun = checkpoint["global_step"] > 0 or states[0]["state"]
    if has_begun and not has_structure(states[0]["state"], _state_after_a_step(optimizer, module)):
        return "has not the optimiser's state"
    if not _is_sound(states[0]):
        return "has an optimiser's state that is not finite"
    kept = checkpoint.get("lr_schedulers")
    if not isinstance(kept, list) or len(kept) != len(schedulers):
        return "is of another schedule of the learning rate"
    if not all(has_structure(state, scheduler.state_dict()) for state, scheduler in zip(kept, schedulers, strict=True)):
        return "is of another schedule of the learning rate"
    optimizer.load_state_dict(states[0])  # which looks at what is left: how many parameters there are
    return None


def _state_after_a_step(optimizer: "Optimizer", module: "AutoencoderModule") -> dict[int, Any]:
    """The state that an optimiser has after a step on parameters of the same shapes, by number as in its `state_dict`."""
    import torch
    from torch import nn

    like = [nn.Parameter(torch.zeros_like(parameter)) for group in optimizer.param_groups for parameter in group["params"]]
    trial = module.make_optimizer(like)

    def closure() -> Any:
        for parameter in like:
            parameter.grad = torch.zeros_like(parameter)
        return torch.zeros(())

    closure()
    trial.step(closure)
    state: dict[int, Any] = trial.state_dict()["state"]
    return state


def _is_session(checkpoint: Mapping[str, Any], module: "AutoencoderModule") -> bool:
    """Whether losses, metrics, places in curves and diverged members are such; earlier versions have not all of them."""
    import torch

    session, members = checkpoint.get("session", {}), module.ensemble.num_members
    if not has_structure(session, {key: each for key, each in {"metrics": {}, "should_stop": False}.items() if key in session}):
        return False
    losses, curves = session.get("losses"), session.get("curves") or {"sizes": {}, "is_laid_out": False}
    steps = checkpoint.get("divergence", {"steps": {}})["steps"]
    return (
        (losses is None or (isinstance(losses, torch.Tensor) and losses.dim() == 3 and losses.shape[2] == members))
        and has_structure(curves, {"sizes": {}, "is_laid_out": False})
        and has_structure(curves.get("steps", {}), {})
        and all(isinstance(number, int) for key in ("sizes", "steps") for number in curves.get(key, {}).values())
        and all(isinstance(value, torch.Tensor) for value in session.get("metrics", {}).values())
        and all(isinstance(step, int) and member in range(members) for member, step in steps.items())
    )


def has_structure(value: Any, like: Any) -> bool:
    """Whether a value has the structure of another: its keys, the shapes of its tensors, the kinds of its values.

    Args:
        value: Anything.
        like: What it shall be like. Keys beside those of it are allowed; so is anything where it has None; lists may be longer or
            shorter.

    Example:
        >>> has_structure({"step": 3.0, "more": 1}, {"step": 0}), has_structure({"step": "3"}, {"step": 0})
        (True, False)
    """
    if like is None:
        return True
    if isinstance(like, Mapping):
        return isinstance(value, Mapping) and all(key in value and has_structure(value[key], each) for key, each in like.items())
    if isinstance(like, tuple | list):
        alike = isinstance(value, type(like)) and (isinstance(like, list) or len(value) == len(like))
        return alike and all(has_structure(*pair) for pair in zip(value, like, strict=False))
    if (shape := _shape(like)) is not None:
        return _shape(value) == shape
    return isinstance(value, type(like))


def _shape(value: Any) -> tuple[int, ...] | None:
    """The shape of a tensor, or of a number; None for others."""
    import torch

    if isinstance(value, torch.Tensor):
        return tuple(value.shape)
    return () if isinstance(value, int | float) else None


def _is_sound(value: Any) -> bool:
    """Whether nothing in an optimiser's state is NaN, nor infinite but for sums of squares, which may overflow in a sound run."""
    import torch

    if isinstance(value, Mapping):
        return all(map(_is_sound, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_sound, value))
    if isinstance(value, float):
        value = torch.tensor(value)
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return True
    return bool(value.isfinite().all()) or bool((value >= 0).all())  # False of NaN
