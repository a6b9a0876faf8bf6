"""Values against declared options, and where in the file a fault is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.api import Option, OptionType
from joulebench.errors import ProfileError
from joulebench.profile.position import line_of, locate
from joulebench.profile.values import check_value, complete, parse_bytes, parse_share

TEXT = """\
version = 1   # the first line

[protocol]
seed = 3
[backend."x.y"]
threads = 2
[a.b]
c.d = 1
[[include]]
backend = "z"
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("version",), 1),
        (("protocol",), 3),
        (("protocol", "seed"), 4),
        (("backend", "x.y", "threads"), 6),
        (("a", "b", "c", "d"), 8),
        (("include", "backend"), 10),
        (("nowhere",), None),
        (("protocol", "threads"), None),
    ],
)
def test_a_key_is_found_at_its_line(path: tuple[str, ...], line: int | None) -> None:
    assert line_of(TEXT, path) == line


def test_a_key_without_a_line_of_its_own_is_placed_at_its_table() -> None:
    assert locate("f", TEXT, ("protocol", "absent")) == "f:3: protocol.absent"


def test_a_key_that_an_override_has_set_is_placed_there() -> None:
    assert locate("f", TEXT, ("protocol", "seed"), ["protocol.seed = x"]) == "--set protocol.seed"
    assert locate("f", TEXT, ("protocol", "seed"), ["protocol={}"]) == "--set protocol.seed"
    assert locate("f", TEXT, ("protocol", "seed"), ["proto=1"]) == "f:4: protocol.seed"


@pytest.mark.parametrize(
    ("text", "size"), [("4GiB", 4 << 30), ("4 GB", 4 * 10**9), ("1.5 KiB", 1536), ("7", 7), (7, 7), (" 2 B ", 2)]
)
def test_sizes_are_read_with_decimal_and_binary_units(text: object, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("bad", ["", "GB", "...GB", "1.2.3 GB", "4 gb", "-1", True, None, [], "9" * 400])
def test_what_is_no_size_is_none(bad: object) -> None:
    assert parse_bytes(bad) is None


@pytest.mark.parametrize(("text", "share"), [("2%", 0.02), (" 50 %", 0.5), (0.02, 0.02), (1, 1.0)])
def test_shares_are_read_as_percent_or_number(text: object, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("bad", ["2", "x%", "nan%", "inf%", True, None])
def test_what_is_no_share_is_none(bad: object) -> None:
    assert parse_share(bad) is None


@pytest.mark.parametrize("kind", ["int", "float", "share", "bytes"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), True, "x", [], {}])
def test_no_number_is_not_finite_and_no_truth_value_is_a_number(kind: OptionType, value: object) -> None:
    with pytest.raises(ProfileError, match="must be"):
        check_value(Option("x", kind, None, ""), value, "here")


def test_a_whole_number_too_large_for_a_float_is_refused_where_a_float_is_meant() -> None:
    with pytest.raises(ProfileError, match="must be a number"):
        check_value(Option("x", "float", None, ""), 10**400, "here")


@given(st.integers(-(2**63), 2**63))
def test_a_number_passes_exactly_within_its_bounds(value: int) -> None:
    option = Option("x", "int", None, "", minimum=-5, maximum=7)
    if -5 <= value <= 7:
        assert check_value(option, value, "here") == value
    else:
        with pytest.raises(ProfileError, match=r"the (minimum|maximum)"):
            check_value(option, value, "here")


def test_a_value_outside_of_the_choices_is_refused_with_the_nearest() -> None:
    option = Option("dtype", "str", None, "", choices=("float32", "int8"))
    with pytest.raises(ProfileError, match="did you mean 'float32'"):
        check_value(option, "flaot32", "here")


def test_an_option_without_default_is_left_out_when_it_is_not_given() -> None:
    options = (Option("a", "int", None, ""), Option("b", "int", 4, ""))
    assert complete(options, {}, str) == {"b": 4}
    assert complete(options, {"a": 1}, str) == {"a": 1, "b": 4}
