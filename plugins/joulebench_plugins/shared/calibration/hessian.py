"""The inverse Hessian of a matrix's products with its inputs, as GPTQ and SparseGPT use it."""

from __future__ import annotations

import torch

from joulebench.errors import ArtifactError


def inverse_factor(gram: torch.Tensor, damping: float) -> torch.Tensor:
    """The upper Cholesky factor of the inverse of the damped Hessian.

    ``gram`` is XᵀX over all tokens, (inputs, inputs); ``damping`` times the mean of its diagonal is
    added to that. An input that is always 0 is taken for one that goes with no other. Raises
    :class:`ArtifactError` where the Hessian has no inverse in float32.
    """
    hessian = gram.clone()
    diagonal = hessian.diagonal()
    diagonal[diagonal == 0] = 1
    diagonal += damping * diagonal.mean()
    try:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
        return torch.linalg.cholesky(inverse, upper=True)
    except torch.linalg.LinAlgError:
        raise ArtifactError(
            "the Hessian of the calibration's inputs cannot be inverted",
            hint="set a larger damping, or read more sequences",
        ) from None
