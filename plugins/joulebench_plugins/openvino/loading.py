"""Reads a graph, compiles it for a device, and says plainly why that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from joulebench.api import Settings
from joulebench.backendkit import asked_elsewhere
from joulebench.errors import ModelError, UnavailableError
from joulebench_plugins.openvino.feeding import FedModel
from joulebench_plugins.openvino.graph import take_inventory
from joulebench_plugins.openvino.irfolder import context_of, graph_file, read_configuration
from joulebench_plugins.openvino.library import openvino
from joulebench_plugins.openvino.numbertypes import ASKED, LIBRARY
from joulebench_plugins.openvino.pieces import exact_piece
from joulebench_plugins.openvino.positions import INPUTS, keep_positions
from joulebench_plugins.openvino.session import OpenVinoSession

#: Neighbours along a row that share a scale when activations are rounded; 0 rounds none.
_ACTIVATION_GROUPS: Final = {"float32": "0", "int8": "32"}


def open_session(path: Path, device: str, settings: Settings) -> OpenVinoSession:
    """A session on a graph, or on the one in a folder; raises ModelError if it is unfit."""
    core = openvino.Core()
    name = device.upper()
    if name.partition(".")[0] not in {known.partition(".")[0] for known in core.available_devices}:
        raise UnavailableError(f"OpenVINO finds no device '{device}' here: {', '.join(core.available_devices)}")
    file = graph_file(path)
    model = read_graph(core, file)
    config = read_configuration(file)
    head = keep_positions(model)
    inventory = take_inventory(model, head)
    compiled = _compiled(core, model, name, settings, file)
    piece = _exact_piece(file) if inventory.recurrent else None
    return OpenVinoSession(compiled, inventory, context=context_of(config), piece=piece, settings=settings)


def _exact_piece(file: Path) -> int:
    """Tokens that the graph reads at once without saying something else; 1 where trying it fails."""
    answer = asked_elsewhere(
        f"from joulebench_plugins.openvino.loading import tried_piece; print(tried_piece({str(file)!r}))"
    )
    return answer if isinstance(answer, int) else 1


def tried_piece(file: str) -> int:
    """Try it, in a process of its own."""
    core = openvino.Core()
    model = read_graph(core, Path(file))
    keep_positions(model)
    exact = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    return exact_piece(FedModel(core.compile_model(model, "CPU", exact)))


def file_fault(path: str) -> dict[str, str | None]:
    """Why a user's own graph cannot be opened, under ``fault``; ``None`` where it can."""
    try:
        read_graph(openvino.Core(), graph_file(Path(path)))
    except ModelError as error:
        return {"fault": error.what if error.hint is None else f"{error.what} ({error.hint})"}
    return {"fault": None}


def read_graph(core: Any, file: Path) -> Any:
    """The graph of a decoder that keeps its own cache. Raises :class:`ModelError`."""
    try:
        model = core.read_model(str(file))
    except RuntimeError as error:  # all of openvino's errors are
        raise ModelError(f"OpenVINO cannot read it: {_last_line(error)}", where=str(file)) from error
    if fault := graph_fault(model):
        raise ModelError(fault[0], where=str(file), hint=fault[1])
    return model


def graph_fault(model: Any) -> tuple[str, str] | None:
    """Why a graph is no decoder that this backend can feed, and what to do; ``None`` where it is one."""
    names = {port.get_any_name() for port in model.inputs}
    cached = sorted(name for name in names if name.startswith(("past_key_values", "cache", "input.cache")))
    if cached and not model.get_variables():
        return (
            f"takes its KV cache from outside ({len(cached)} inputs such as {cached[0]})",
            "export it again with a state of its own (optimum-intel: without --disable-stateful)",
        )
    if not model.get_variables():
        return "keeps no KV cache: it is no decoder", "give the graph of a causal language model"
    if "input_ids" not in names:
        return f"has no input 'input_ids', but {', '.join(sorted(names))}", "give a graph that reads token ids"
    unknown = sorted(names - INPUTS)
    if unknown:
        return f"has inputs that are not known: {', '.join(unknown)}", "give a text-only decoder"
    return None


def _compiled(core: Any, model: Any, device: str, settings: Settings, file: Path) -> Any:
    properties = {"PERFORMANCE_HINT": str(settings["performance_hint"]).upper()}
    for option, key in (("precision", "INFERENCE_PRECISION_HINT"), ("kv_type", "KV_CACHE_PRECISION")):
        if settings[option] != LIBRARY:
            properties[key] = ASKED[str(settings[option])]
    if device == "CPU":
        properties["INFERENCE_NUM_THREADS"] = str(settings["threads"])
        properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _ACTIVATION_GROUPS[str(settings["activations"])]
    try:
        return core.compile_model(model, device, properties)
    except RuntimeError as error:
        if "bad_alloc" in str(error):
            raise MemoryError(f"not enough memory to compile {file}") from error
        raise ModelError(f"OpenVINO cannot compile it for {device}: {_last_line(error)}", where=str(file)) from error


def _last_line(error: Exception) -> str:
    """What openvino's message ends with: before that stand places in its own source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
