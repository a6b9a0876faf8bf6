"""The examples out of tree keep their contracts, do what they say, and stay short."""

from __future__ import annotations

import ast
import json
import os
import select
import sys
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from joulebench.api import Artifact
from joulebench.meter.live.channels import source_spec
from joulebench.meter.live.sampler import edge_reader
from joulebench.registry.loading import default_registry
from joulebench.session import Session
from joulebench.testing import BackendContract, ProbeContract, RendererContract, Subject, TechniqueContract
from joulebench.testing.models import VOCABULARY, write_tiny_checkpoint
from joulebench.testing.samples import write_sample_session

EXAMPLES: Final = Path(__file__).parents[1] / "plugin_examples"
#: Most lines of an example, imports, docstrings, comments and blank lines left out.
GOAL: Final = 30
#: What one example needs more, and why.
MORE: Final = {"numpyrunner": 8}  # rotary positions and grouped heads take a line each


@pytest.fixture(autouse=True, scope="module")
def path() -> Iterator[None]:
    """The examples' packages, as if they were installed."""
    with pytest.MonkeyPatch.context() as patch:
        for folder in sorted(EXAMPLES.iterdir()):
            patch.syspath_prepend(str(folder))
        yield


# -- length ---------------------------------------------------------------------------------------


def _lines(folder: Path) -> int:
    """Lines of code in the package's files."""
    count = 0
    for file in sorted(folder.glob("joulebench_*/*.py")):
        text = file.read_text(encoding="utf-8")
        skipped: set[int] = set()
        for node in ast.walk(ast.parse(text)):
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if is_text or isinstance(node, (ast.Import, ast.ImportFrom)):
                skipped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        count += sum(
            1
            for number, line in enumerate(text.splitlines(), start=1)
            if line.strip() and not line.strip().startswith("#") and number not in skipped
        )
    return count


@pytest.mark.parametrize("name", ["lowrank", "metrics", "numpyrunner", "serialmeter"])
def test_an_example_is_short(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    count = _lines(EXAMPLES / name)
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {count} lines without imports and docstrings\n")
    assert count <= GOAL + MORE.get(name, 0)


# -- a backend in numpy ---------------------------------------------------------------------------


class TestNumpyRunner(BackendContract):
    @pytest.fixture
    def plugin(self) -> Any:
        from joulebench_numpyrunner import NumpyBackend

        return NumpyBackend()


def test_the_numpy_transformer_agrees_with_torch(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    import numpy as np
    from joulebench_numpyrunner import NumpyBackend

    model = write_tiny_checkpoint(tmp_path / "model")
    artifact = Artifact("hf", model, "", 0)
    torch = default_registry().backend("torch")
    prompt = [5, 17, 200, 8, 90, 41, 77, 5, 120, 64, VOCABULARY - 1]
    answers = []
    for backend in (NumpyBackend(), torch):
        with backend.open(artifact, "cpu", backend.default_settings()) as session:
            session.reset()
            written = [session.prefill(prompt), *(session.step() for _ in range(20))]
            session.reset()
            answers.append((written, session.logits(prompt), session.score(prompt)))
    assert answers[0][0] == answers[1][0]
    np.testing.assert_allclose(answers[0][1], answers[1][1], atol=2e-3)
    np.testing.assert_allclose(answers[0][2], answers[1][2], atol=2e-3)


# -- a technique by SVD ---------------------------------------------------------------------------


class TestLowRank(TechniqueContract):
    @pytest.fixture
    def plugin(self) -> Any:
        from joulebench_lowrank import LowRank

        return Subject(LowRank(), {"rank": 4})


def test_the_matrices_get_the_rank_that_was_asked_for_and_stay_the_nearest(tmp_path: Path) -> None:
    import numpy as np
    from joulebench_lowrank import LowRank
    from safetensors.numpy import load_file

    before, after = write_tiny_checkpoint(tmp_path / "before"), tmp_path / "after"
    after.mkdir()
    LowRank().apply(before, after, {"rank": 4})
    assert LowRank().evidence(before, after, {}) == {"rank_before": 128, "rank_after": 4}
    old, new = (load_file(item / "model.safetensors") for item in (before, after))
    name = "model.layers.0.mlp.up_proj.weight"
    left_out = np.linalg.svd(old[name], compute_uv=False)[4:]
    error = np.linalg.norm(old[name] - new[name])
    assert error == pytest.approx(np.sqrt((left_out**2).sum()), rel=1e-4)
    assert (old["lm_head.weight"] == new["lm_head.weight"]).all()


# -- a renderer -----------------------------------------------------------------------------------


class TestMetrics(RendererContract):
    @pytest.fixture
    def plugin(self) -> Any:
        from joulebench_metrics import Metrics

        return Metrics()


def test_the_metrics_hold_the_session_s_sums_with_their_provenance(tmp_path: Path) -> None:
    from joulebench_metrics import Metrics

    session = Session(write_sample_session(tmp_path / "session"))
    lines = Metrics().render(session, {}).splitlines()
    joules = sum(row["gross_j"] for row in session.table("energy").to_pylist() if row["phase"] == "total")
    (shown,) = [line for line in lines if line.startswith("joulebench_joules")]
    name, _, value = shown.rpartition(" ")
    assert float(value) == pytest.approx(joules)
    assert 'provenance="simulated"' in name
    assert json.loads(name.partition("cell=")[2].partition(",channel")[0]) == "good a model"
    assert lines[-1] == "# EOF"


# -- a meter on a serial line ---------------------------------------------------------------------


class FakeMeter:
    """A power meter at the other end of a pseudo-terminal: answers ``P?`` with watts."""

    def __init__(self) -> None:
        self._device, self._line = os.openpty()
        tty.setraw(self._line)
        self.path = os.ttyname(self._line)
        self.watts: float | None = 12.5
        self.asked = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        waiting = b""
        while not self._ended.is_set():
            if not select.select([self._device], [], [], 0.05)[0]:
                continue
            waiting += os.read(self._device, 64)
            while b"\n" in waiting:
                question, _, waiting = waiting.partition(b"\n")
                if question == b"P?" and self.watts is not None:
                    self.asked += 1
                    os.write(self._device, f"{self.watts:.3f} W\r\n".encode())

    def close(self) -> None:
        """Unplug it."""
        self._ended.set()
        self._thread.join()
        os.close(self._device)
        os.close(self._line)


@pytest.fixture
def meter() -> Iterator[FakeMeter]:
    made = FakeMeter()
    yield made
    made.close()


class TestSerialMeter(ProbeContract):
    @pytest.fixture
    def plugin(self, meter: FakeMeter) -> Any:
        from joulebench_serialmeter import SerialMeter

        return Subject(SerialMeter(), {"device": meter.path})


def _reading(device: str) -> int | None:
    from joulebench_serialmeter import SerialMeter

    (channel,) = SerialMeter().channels({"device": device})
    return edge_reader([source_spec(0, channel.source, None)])()[0]


def test_the_meter_s_answer_is_its_watts(meter: FakeMeter) -> None:
    assert _reading(meter.path) == 12_500_000
    meter.watts = 0.25
    assert _reading(meter.path) == 250_000


def test_a_meter_that_says_nothing_costs_its_reading(meter: FakeMeter) -> None:
    meter.watts = None
    assert _reading(meter.path) is None


def test_a_meter_that_is_not_there_is_not_available() -> None:
    from joulebench_serialmeter import SerialMeter

    said = SerialMeter().inspect({"device": "/dev/ttyUSB99"})
    assert (said.ok, said.reason) == (False, "no /dev/ttyUSB99")


def test_a_pseudo_terminal_is_no_measurement(meter: FakeMeter) -> None:
    from joulebench_serialmeter import SerialMeter

    assert SerialMeter().channels({"device": meter.path})[0].provenance == "simulated"
    assert SerialMeter().channels({"device": "/dev/ttyUSB0"})[0].provenance == "measured"


def test_a_meter_on_the_network_is_asked_the_same() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(64) == b"P?\n"
                connection.sendall(b"7.5 W\n")
                connection.recv(64)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        assert _reading(f"127.0.0.1:{server.getsockname()[1]}") == 7_500_000
