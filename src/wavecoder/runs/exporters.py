"""The formats of `wavecoder export`: what is in each file, and how it is checked against the network."""

import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from wavecoder.ensemble import Ensemble, reconstruction
from wavecoder.rng import generator
from wavecoder.runs.limits import SettingError
from wavecoder.runs.load import Trained
from wavecoder.scaling import Scaling

EXTRA_FILE = "wavecoder.json"
"""The name of what is said of the network in a `.pt2` file."""

_LIMIT = 1e-5  # of the largest value of the reconstructions
_BATCHES = (1, 2, 67)  # sizes of batches that are tried
_EXAMPLE = 3  # signals in the batch that is traced; 1 would be taken for a constant


class Exported(NamedTuple):
    """A network as a file.

    Attributes:
        content: The content of the file.
        checked_with: What has executed it.
        difference: The largest difference from the network's reconstructions, over the largest value of these.
    """

    content: bytes
    checked_with: str
    difference: float


class Reconstructor(nn.Module):
    """From signals in the user's units to reconstructions in the same units: of one network, or the mean of several.

    Args:
        networks: The networks: one, several that are stacked, or a list of such modules.
        scaling: What signals are scaled by before they are given to the networks.
    """

    def __init__(self, networks: nn.Module, scaling: Scaling) -> None:
        super().__init__()
        self.networks = networks
        self.scaling = scaling

    def forward(self, signals: Float[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
        """The reconstruction of each signal."""
        if self.scaling.kind == "none":
            return self._reconstruct(signals)
        scaled = self.scaling.apply(signals)
        return scaled.undo(self._reconstruct(scaled.values))

    def _reconstruct(self, signals: Tensor) -> Tensor:
        if isinstance(self.networks, Ensemble):
            return self.networks(signals).mean(0)
        if isinstance(self.networks, nn.ModuleList):
            return torch.stack([reconstruction(network, signals) for network in self.networks]).mean(0)
        return reconstruction(self.networks, signals)


def to_onnx(model: Trained) -> Exported:
    """A network as ONNX, with what is known of it in its metadata, executed by onnxruntime."""
    import onnxruntime  # type: ignore[import-untyped]

    content = _converted(model, _as_onnx)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    with _reason_in_one_line(model):
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def execute(signals: Tensor) -> np.ndarray:
        (made,) = session.run(None, {"signals": signals.numpy()})
        return np.asarray(made)

    return Exported(content, f"onnxruntime {onnxruntime.__version__}", _difference(model, execute))


def _as_onnx(model: Trained, program: ExportedProgram) -> bytes:
    import onnx

    made = torch.onnx.export(
        *(program, ()),
        dynamo=True,
        verbose=False,
        external_data=False,
        input_names=["signals"],
        output_names=["reconstructions"],
    )
    assert made is not None
    proto: onnx.ModelProto = made.model_proto
    graph = proto.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    # notes of the exporter about the code that it has read; they hold paths of this machine
    del graph.value_info[:]
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    proto.producer_name, proto.producer_version = "wavecoder", version("wavecoder")
    onnx.helper.set_model_props(proto, metadata(model))
    return proto.SerializeToString()


def to_program(model: Trained) -> Exported:
    """A network as a program of `torch.export`, with what is known of it as an extra file, loaded back and executed."""
    content = _converted(model, _as_program)
    with _quiet():
        program = torch.export.load(io.BytesIO(content)).module()

    def execute(signals: Tensor) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(program(signals))

    return Exported(content, f"torch {torch.__version__.partition('+')[0]}", _difference(model, execute))


def _as_program(model: Trained, program: ExportedProgram) -> bytes:
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={EXTRA_FILE: json.dumps(metadata(model), indent=2)})
    return file.getvalue()


EXPORTERS: Mapping[str, Callable[[Trained], Exported]] = {".onnx": to_onnx, ".pt2": to_program}
"""What makes a file, by its suffix.

Raises:
    SettingError: The network cannot be exported, or the file gives other reconstructions.
"""


def metadata(model: Trained) -> dict[str, str]:
    """What an exported file says of its network: texts by name."""
    return {
        "signal_length": str(model.signal_length),
        "latent_dim": str(model.latent_dim),
        "dt": repr(model.dt),
        "scaling": json.dumps(model.scaling.state()),
        "seed": str(model.seed),
        "network": model.label,
        "fingerprint": model.results["config_fingerprint"],
        "wavecoder": version("wavecoder"),
        "torch": torch.__version__,
    }


def _converted(model: Trained, convert: Callable[[Trained, ExportedProgram], bytes]) -> bytes:
    """The content of a file: of all networks at once, or where PyTorch cannot do that, of one after another.

    Raises:
        SettingError: It can do neither.
    """
    ensemble = copy.deepcopy(model.ensemble).float().cpu().eval()
    if ensemble.num_members > 1:
        with _quiet(), suppress(Exception):
            return convert(model, _traced(model, ensemble))
    members = [_member(ensemble, number) for number in range(ensemble.num_members)]
    with _quiet(), _reason_in_one_line(model):
        return convert(model, _traced(model, nn.ModuleList(members) if len(members) > 1 else members[0]))


def _traced(model: Trained, networks: nn.Module) -> ExportedProgram:
    """The operations of networks, for any number of signals."""
    for parameter in networks.parameters():
        parameter.grad = None
        parameter.data = parameter.detach().clone(memory_format=torch.contiguous_format)  # they may be views of one tensor
    example = torch.zeros(_EXAMPLE, model.signal_length)
    module = Reconstructor(networks, model.scaling).eval()
    return torch.export.export(module, (example,), dynamic_shapes=({0: Dim("batch")},), strict=False)


def _member(ensemble: Ensemble, number: int) -> nn.Module:
    """One network of an ensemble by itself."""
    network = copy.deepcopy(ensemble.network)
    if ensemble.num_members > 1:
        for values in (*network.parameters(), *network.buffers()):
            values.data = values.data[number]
    return network


def _difference(model: Trained, execute: Callable[[Tensor], np.ndarray]) -> float:
    """The largest difference between what an exported file gives and the network's reconstructions, over the largest of these.

    Raises:
        SettingError: It is too large.
    """
    key = generator("cpu", 0, "export")
    drawn = [torch.randn(size, model.signal_length, generator=key) for size in _BATCHES]
    drawn[-1][:2] = torch.tensor([[0.0], [1.0]])  # constant signals have a scale of their own
    differences = []
    for values in drawn:
        signals = values * model.scaling.scale + model.scaling.offset
        wanted, made = model.reconstruct(signals).numpy(), execute(signals)
        if not np.isfinite(wanted).all():
            raise SettingError(f"{model.folder}: {model.label} cannot be exported: it diverged in training")
        differences.append(float(np.abs(made - wanted).max() / np.abs(wanted).max()))
    largest = max(differences)
    if not largest <= _LIMIT:
        said = f"differ from the network's by {largest:.1g} of the largest value; must be {_LIMIT:g} at most"
        raise SettingError(f"{model.folder}: {model.label} cannot be exported: its reconstructions {said}")
    return largest


@contextmanager
def _reason_in_one_line(model: Trained) -> Iterator[None]:
    """Turn what PyTorch says of a network that it cannot export into one line.

    Raises:
        SettingError: In place of whatever was raised.
    """
    try:
        yield
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        first = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        if first.startswith("Constraints violated"):
            first = "it does not take batches of any size"
        raise SettingError(f"{model.folder}: {model.label} cannot be exported: {first}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporters print, log and warn of from the user."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable()
        try:
            yield
        finally:
            logging.disable(before)
