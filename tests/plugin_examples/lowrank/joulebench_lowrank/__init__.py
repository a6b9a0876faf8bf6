"""The technique ``lowrank``: every matrix of the layers gets the rank that is asked for."""

import shutil

from joulebench.api import ArtifactTechnique, Option
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


class LowRank(ArtifactTechnique):
    """Truncated singular value decomposition (Eckart and Young 1936), multiplied out again.

    The matrices stay dense and as large as they were: this shows the loss, not a gain.
    """

    name, summary = "lowrank", "matrices of low rank by SVD; stays dense"
    stage, accepts, produces = "checkpoint", "hf", "hf"
    options = (Option("rank", "int", 16, "rank that each matrix gets", minimum=1),)

    def apply(self, source, output, settings):
        """Write the checkpoint."""
        from joulebench_lowrank.svd import mapped, truncated

        for file in source.iterdir():
            if file.suffix == ".safetensors":
                mapped(file, output / file.name, lambda matrix: truncated(matrix, settings["rank"]))
            else:
                shutil.copyfile(file, output / file.name)

    def evidence(self, before, after, settings):
        """Ranks counted in the files."""
        from joulebench_lowrank.svd import largest_rank

        return {"rank_before": largest_rank(before), "rank_after": largest_rank(after)}


@hookimpl
def joulebench_techniques():
    """The one technique."""
    return [LowRank]
