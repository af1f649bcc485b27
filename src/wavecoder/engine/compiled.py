"""The compiled engine: fully connected autoencoders on CPUs, several times faster than autograd.

With Adam or AdamW one call of compiled.c does many steps, those of a member one after another on one thread. With
other optimisers it computes losses and gradients, and torch's optimiser does the step.
"""

import ctypes
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from wavecoder.engine import bindings as c
from wavecoder.engine.base import Chunk, Engine, Errors, Problem, Signals
from wavecoder.engine.bindings import ACTIVATIONS, LOSSES, MAX_LAYERS, instruction_set, library
from wavecoder.ensemble import has_hooks
from wavecoder.networks import DeepAutoencoder
from wavecoder.signals import Sinusoids

Part = tuple[int, int, c.Signals, list[Tensor]]  # of a chunk: steps, batch size, signals, and the tensors that hold them

_BLOCK = 64  # signals evaluated at a time, so that their activations stay in the cache


def unsupported_reason(problem: Problem) -> str | None:
    """Why the compiled engine does not apply to a problem; None if it does.

    The engine compares exact types with those that it knows, and declines all others, so nothing has to be registered here.
    """
    if problem.device.type != "cpu":
        return f"the compiled engine runs on CPUs, not on {problem.device.type}"
    if problem.precision != "32-true":
        return f"the compiled engine computes in 32 bits, not in {problem.precision}"
    if problem.torch_compile:
        return "engine.torch_compile=true is for the PyTorch engine"
    if problem.accumulate > 1:
        return "the compiled engine does not accumulate gradients"
    unknown = _unknown_layer(problem.ensemble.network) or _unknown_loss(problem.loss)
    if unknown is not None:
        return f"the compiled engine does not know {unknown}"
    if not all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in problem.ensemble.parameters()):
        return "the compiled engine trains all parameters, in 32 bits"
    return None if library() else f"the compiled engine was not built for this CPU ({instruction_set()})"


def _unknown_layer(network: nn.Module) -> str | None:
    if type(network) is not DeepAutoencoder:
        return type(network).__name__
    for part in (network.encoder, network.decoder):
        if type(part) is not nn.Sequential:
            return type(part).__name__
    layers = [*network.encoder, *network.decoder]
    parts = [id(part) for layer in layers for part in (layer, *layer.parameters())]
    if len(set(parts)) < len(parts):
        return "layers that are used more than once"
    if sum(type(layer) is nn.Linear for layer in layers) > MAX_LAYERS:
        return f"networks of more than {MAX_LAYERS} layers"
    after_linear = False
    for layer in layers:
        is_linear = type(layer) is nn.Linear and {name for name, _ in layer.named_parameters()} <= {"weight", "bias"}
        if not is_linear and not (after_linear and _is_known_activation(layer)):
            return type(layer).__name__ if list(layer.children()) else str(layer)  # one line
        after_linear = is_linear
    sizes = [(layer.in_features, layer.out_features) for layer in layers if isinstance(layer, nn.Linear)]
    if not after_linear or any(a[1] != b[0] for a, b in zip(sizes, [*sizes[1:], sizes[0]], strict=True)):
        return "layers in this order"
    # beside the layers and their parameters there are the network, its encoder and its decoder
    if len(list(network.modules())) + len(list(network.parameters())) != len(parts) + 3:
        return "modules or parameters outside its layers"
    if any(has_hooks(parameter) for parameter in network.parameters()):
        return "hooks"
    return next(filter(None, map(_alteration, network.modules())), None)


def _alteration(module: nn.Module) -> str | None:
    """What a module of a known class has that its class does not."""
    if any(getattr(module, f"_{kind}_hooks") for kind in ("forward", "forward_pre", "backward", "backward_pre")):
        return "hooks"
    if any(name == "training_loss" or callable(getattr(type(module), name, None)) for name in vars(module)):
        return "methods that were replaced"
    return None


def _is_known_activation(layer: nn.Module) -> bool:
    if isinstance(layer, nn.GELU):
        return type(layer) is nn.GELU and layer.approximate == "none"
    if isinstance(layer, nn.PReLU):
        return type(layer) is nn.PReLU and layer.num_parameters == 1
    return type(layer) in ACTIVATIONS


def _unknown_loss(loss: Any) -> str | None:
    if not isinstance(loss, nn.Module):  # how a function is printed differs from run to run
        return f"the loss {getattr(loss, '__qualname__', type(loss).__qualname__)}"
    if type(loss) not in LOSSES:
        return f"the loss {type(loss).__name__ if list(loss.children()) else loss}"  # one line
    known = {"reduction": "mean", "delta": 1.0}
    if other := [f"{name}={getattr(loss, name)}" for name, value in known.items() if getattr(loss, name, value) != value]:
        return f"the loss {type(loss).__name__}({', '.join(other)})"
    return _alteration(loss)


def _layout(values: Tensor) -> tuple[list[int], torch.dtype, bool, str]:
    """What compiled.c takes for granted of a tensor: its shape, its type, whether it is contiguous, and where it is."""
    return list(values.shape), values.dtype, values.is_contiguous(), values.device.type


def made_ahead(parts: Iterator[Part]) -> Iterator[Part]:
    """The same, each made by a thread of its own while the one before it is used."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, parts, None)
        while (part := following.result()) is not None:
            following = thread.submit(next, parts, None)
            yield part


class CompiledEngine(Engine):
    """Steps of all members in compiled.c, members shared among the threads.

    The arguments are those of `Engine`, for a problem without `unsupported_reason`. The optimiser's state lives in torch's own
    tensors, so that checkpoints do not depend on the engine.
    """

    def __init__(self, problem: Problem, *arguments: Any, **others: Any) -> None:
        super().__init__(problem, *arguments, **others)
        found = library()
        assert found is not None
        self._functions = found.functions
        self._layers = self._described(problem.ensemble.network)
        members, size = self.flat.shape
        self._networks, self._network = (c.Networks(count, size, len(self._layers), self._layers) for count in (members, 1))
        self._loss = LOSSES.index(type(problem.loss))
        self._work = torch.empty(0)
        clipped = problem.clip_value is not None or problem.clip_norm is not None
        self._whole_chunks = problem.processes == 1 and not clipped and self._is_plain_adam()

    @classmethod
    def steps_per_execution(cls, num_members: int) -> int:
        return max(1, min(100, 6_400 // num_members))

    def _described(self, network: nn.Module) -> ctypes.Array[c.Layer]:
        places, place = {}, 0
        for name, parameter in network.named_parameters():
            places[name] = place
            place += parameter.numel() // len(self.flat)
        layers: list[c.Layer] = []
        for name, module in network.named_modules():
            if isinstance(module, nn.Linear):
                bias = places.get(f"{name}.bias", -1)
                layers.append(c.Layer(module.in_features, module.out_features, 0, places[f"{name}.weight"], bias, -1, 0.0))
            elif type(module) in ACTIVATIONS:
                layers[-1].activation = ACTIVATIONS.index(type(module))
                layers[-1].slope = places.get(f"{name}.weight", -1)
                layers[-1].fixed_slope = getattr(module, "negative_slope", 0.0)
        return (c.Layer * len(layers))(*layers)

    def _is_plain_adam(self) -> bool:
        (group,) = self.optimizer.param_groups
        plain = type(self.optimizer) in (torch.optim.Adam, torch.optim.AdamW)
        return plain and not (group["amsgrad"] or group["maximize"] or isinstance(group["lr"], Tensor))

    def _threads_and_work(self, batch: int) -> tuple[int, Tensor]:
        threads = min(self.problem.threads, len(self.flat))
        needed = threads * self._functions.workspace(self._networks, batch)
        if len(self._work) < needed:
            self._work = torch.empty(needed)
        return threads, self._work

    def _check(self, members: int, length: int, inputs: Tensor | None = None, targets: Tensor | None = None) -> None:
        """Refuse signals that do not fit, before compiled.c reads beyond them.

        Raises:
            ValueError: They are of another number of members, another length, or two shapes.
        """
        same = inputs is None or targets is None or inputs.shape == targets.shape
        if (members, length) != (len(self.flat), self._layers[0].inputs) or not same:
            wanted = f"{len(self.flat)} members and signals of {self._layers[0].inputs} values"
            raise ValueError(f"{members} members and signals of {length} values do not fit networks of {wanted}")

    def execute(self, chunk: Chunk) -> Float[Tensor, "step member"]:
        if not self._whole_chunks:
            return super().execute(chunk)
        parts = self._parts(chunk)
        if self.problem.threads > 1 and chunk.sinusoids is None:  # which compiled.c renders itself
            parts = made_ahead(parts)
        return torch.cat([self._train(*part) for part in parts])

    def _parts(self, chunk: Chunk) -> Iterator[Part]:
        if isinstance(chunk.sinusoids, Sinusoids):  # rendered by compiled.c
            tensors = [values.float().contiguous() for values in (*chunk.sinusoids.parameters, chunk.times)]
            steps, members, batch = tensors[0].shape
            self._check(members, len(chunk.times))
            yield steps, batch, c.Signals(*(values.data_ptr() for values in tensors), None, None), tensors
            return
        for inputs, targets in chunk.blocks():
            self._check(inputs.shape[1], inputs.shape[3], inputs, targets)
            columns = [inputs.float().mT.contiguous()]
            columns.append(columns[0] if targets is inputs else targets.float().mT.contiguous())
            yield len(inputs), inputs.shape[2], c.Signals(None, None, None, None, *(each.data_ptr() for each in columns)), columns

    def _train(self, steps: int, batch: int, signals: c.Signals, tensors: list[Tensor]) -> Float[Tensor, "step member"]:
        first, second = self._moments()
        losses = torch.empty(steps, len(self.flat))
        threads, work = self._threads_and_work(batch)
        adam, pointers = self._adam_steps(steps), (values.data_ptr() for values in (self.flat, first, second, losses))
        chunk = c.Chunk(ctypes.pointer(self._networks), signals, steps, batch, self._loss, adam.ctypes.data, *pointers)
        self._functions.train(chunk, work.data_ptr(), threads)
        return losses

    def _moments(self) -> tuple[Tensor, Tensor]:
        """The optimiser's running means of the gradient and of its square, in torch's own state.

        Raises:
            ValueError: They are not like the parameters, so compiled.c would read and write beyond them.
        """
        state = self.optimizer.state[self.flat]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        for name in ("exp_avg", "exp_avg_sq"):
            if (found := _layout(state[name])) != (wanted := _layout(self.flat)):
                raise ValueError(f"the optimiser's {name} is {found}, and must be like the parameters, {wanted}")
        return state["exp_avg"], state["exp_avg_sq"]

    def _adam_steps(self, steps: int) -> Float[np.ndarray, "step 7"]:
        """The coefficients of the next steps, as torch.optim computes them, in the order of `struct adam`."""
        state, (group,) = self.optimizer.state[self.flat], self.optimizer.param_groups
        rate, beta1, beta2, epsilon, weight_decay = np.array(self._scheduled(steps)).T
        step = np.arange(1, steps + 1) + int(state["step"])
        state["step"] += steps
        decoupled = isinstance(self.optimizer, torch.optim.AdamW) or group.get("decoupled_weight_decay", False)
        decay, penalty = (1 - rate * weight_decay, 0 * rate) if decoupled else (1 + 0 * rate, weight_decay)
        coefficients = (rate / (1 - beta1**step), 1 / np.sqrt(1 - beta2**step), beta1, beta2, epsilon, decay, penalty)
        return np.stack(coefficients, axis=1).astype(np.float32)

    def _scheduled(self, steps: int) -> list[tuple[float, ...]]:
        """The optimiser's settings in each of the next steps; the schedule changes them after each."""
        (group,) = self.optimizer.param_groups

        def now() -> tuple[float, ...]:
            return tuple(map(float, (group["lr"], *group["betas"], group["eps"], group["weight_decay"])))

        if self.scheduler is None:
            return [now()] * steps
        settings = []
        with warnings.catch_warnings():  # the steps that it misses follow in compiled.c
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            for _ in range(steps):
                settings.append(now())
                self.scheduler.step()
        return settings

    def loss_and_gradient(self, inputs: Signals, targets: Signals, epoch: int, step: int) -> Float[Tensor, " member"]:
        members, batch, length = inputs.shape
        self._check(members, length, inputs, targets)
        columns = [values.float().mT.contiguous() for values in (inputs, targets)]  # sinusoids are rendered so
        losses = torch.empty(members)
        threads, work = self._threads_and_work(batch)
        pointers = (values.data_ptr() for values in (self.flat, self.gradient, *columns, losses, work))
        self._functions.loss_and_gradients(self._networks, batch, self._loss, *pointers, threads)
        return losses

    def reconstruct(self, signals: Float[Tensor, "*member batch time"]) -> Float[Tensor, "member batch time"]:
        outputs = torch.empty(len(self.flat), signals.shape[-1], signals.shape[-2])
        self._evaluate(signals, None, outputs=outputs)
        return outputs.mT

    def squared_errors(self, inputs: Float[Tensor, "*member batch time"], targets: Float[Tensor, "*member batch time"]) -> Errors:
        errors = torch.empty(len(self.flat), dtype=torch.float64)
        self._evaluate(inputs, targets, errors=errors)
        return errors / targets.shape[-1]

    def _evaluate(
        self,
        inputs: Float[Tensor, "*member batch time"],
        targets: Float[Tensor, "*member batch time"] | None,
        **results: Float[Tensor, "..."],
    ) -> None:
        shared = inputs.dim() == 2
        self._check(len(self.flat) if shared else len(inputs), inputs.shape[-1], inputs, targets)
        columns = [values.float().mT.contiguous() for values in (inputs, targets) if values is not None]
        threads, work = self._threads_and_work(_BLOCK)
        flat, count = self.flat.detach(), inputs.shape[-2]
        # compiled.c gives all members the same signals, so those with their own are evaluated one by one
        parts = [(self._networks, ...)] if shared else [(self._network, member) for member in range(len(flat))]
        for networks, part in parts:
            addresses = (values[part].data_ptr() for values in (flat, *columns))
            pointers = {name: values[part].data_ptr() for name, values in results.items()}
            evaluation = c.Evaluation(ctypes.pointer(networks), count, _BLOCK, *addresses, **pointers)
            self._functions.evaluate(evaluation, work.data_ptr(), threads if shared else 1)
