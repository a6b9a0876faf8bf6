"""``kv-quantize``: keys and values in fewer bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from joulebench.api import BackendSession, Option, OptionValue, RuntimeTechnique, Scalar, Settings

_CAPABILITY: Final = "kv.quantized"


class KvQuantize(RuntimeTechnique):
    """Keeps every position, each key and value in 8, 5, 4 or 2 bits.

    How is the backend's matter: groups with float16 scales after KIVI (Liu et al. 2024, arXiv
    2402.02750) on one, a runtime's own types on another. A backend that has no type of so many
    bits is skipped with that reason.
    """

    name = "kv-quantize"
    summary = "KV cache in fewer bits: smaller; slower where it is unpacked at each token"
    requires = frozenset({_CAPABILITY})
    options: ClassVar[tuple[Option, ...]] = (
        Option("bits", "int", 8, "bits of each key and value", choices=(8, 5, 4, 2)),
        Option("group", "int", None, "numbers that share a scale; the backend's value when not set", minimum=8),
        Option(
            "residual", "int", None, "last positions in full precision; the backend's value when not set", minimum=0
        ),
    )

    def session_options(self, settings: Settings) -> Settings:
        """Bits always; the rest where it is set, since not every backend can choose it."""
        options: dict[str, OptionValue] = {"kv_bits": settings["bits"]}
        for name in ("group", "residual"):
            if name in settings:
                options[f"kv_{name}"] = settings[name]
        return options

    def evidence(self, session: BackendSession, settings: Settings) -> Mapping[str, Scalar]:
        """Bytes of the cache: of a full one, claimed, allocated and used; its number types."""
        return session.observed(_CAPABILITY)
