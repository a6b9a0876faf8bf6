"""The backend ``numpyrunner``: a llama in numpy, which reads the whole sequence for each token."""

from joulebench.api import Backend, Device
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


class NumpyBackend(Backend):
    """Runs float32 checkpoints of llama type, slowly."""

    name, summary = "numpyrunner", "a llama in numpy alone"
    accepts, capabilities = ("hf",), frozenset({"generate", "score", "logits"})

    def devices(self):
        """The processor."""
        return (Device("cpu"),)

    def open(self, artifact, device, settings):
        """Read the weights."""
        from joulebench_numpyrunner.llama import NumpySession

        return NumpySession(artifact.path)


@hookimpl
def joulebench_backends():
    """The one backend."""
    return [NumpyBackend]
