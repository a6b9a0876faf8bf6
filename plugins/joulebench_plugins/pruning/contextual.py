"""``contextual-sparsity``: each token uses only the MLP channels that its gate opens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from joulebench.api import BackendSession, Option, RuntimeTechnique, Scalar, Settings

_CAPABILITY: Final = "mlp.contextual"


class ContextualSparsity(RuntimeTechnique):
    """A threshold on \\|act(gate)\\| in each layer, below which a channel counts as zero.

    Lee et al. 2024, "CATS: Contextually-Aware Thresholding for Sparsity in Large Language Models"
    (arXiv 2404.08763); Liu et al. 2023, "Deja Vu" (arXiv 2310.17157) chooses by a trained
    predictor instead, which this does not have.
    """

    name = "contextual-sparsity"
    summary = "leaves out MLP channels by each token's gate; a gain only where rows are picked"
    requires = frozenset({_CAPABILITY})
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "active",
            "share",
            0.5,
            "share of the channels that are active on the calibration text",
            minimum=0.01,
            maximum=1.0,
        ),
        Option(
            "kernel",
            "str",
            "auto",
            "inactive channels are left out for single tokens (gather), or computed and "
            "masked (mask); auto takes the faster one in a trial",
            choices=("auto", "gather", "mask"),
        ),
        Option(
            "calibration",
            "file",
            "builtin:calibration",
            "text for the thresholds; never the one that quality is judged on",
        ),
    )

    def session_options(self, settings: Settings) -> Settings:
        """The share, the way to compute, and the text."""
        return {"mlp_active": settings["active"], "mlp_kernel": settings["kernel"], "mlp_text": settings["calibration"]}

    def evidence(self, session: BackendSession, settings: Settings) -> Mapping[str, Scalar]:
        """Active shares over the layers as the last tokens had them, and how it is computed."""
        return session.observed(_CAPABILITY)
