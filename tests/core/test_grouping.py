"""Which cells take turns together where memory does not hold all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from joulebench.runs.packing import fitting

Cell = tuple[str, str, float]  # backend, technique, bytes


def groups(cells: list[Cell], room: float) -> list[list[str]]:
    groups = fitting(cells, lambda item: item[2], lambda item: item[0], room)
    return [[f"{backend} {technique}" for backend, technique, _ in group] for group in groups]


#: In the order of a plan: techniques before backends.
CELLS = [(backend, technique, 1.0) for technique in ("none", "a", "b") for backend in ("x", "y")]


def test_all_cells_take_turns_where_they_fit() -> None:
    assert groups(CELLS, 6.0) == [["x none", "y none", "x a", "y a", "x b", "y b"]]


def test_cells_of_one_backend_stay_with_their_uncompressed_cell() -> None:
    assert groups(CELLS, 5.0) == [["x none", "x a", "x b"], ["y none", "y a", "y b"]]


def test_small_backends_share_a_group() -> None:
    cells = [*CELLS, ("z", "none", 1.0), ("z", "a", 1.0)]
    assert groups(cells, 5.0) == [["x none", "x a", "x b"], ["y none", "y a", "y b", "z none", "z a"]]


def test_a_backend_that_does_not_fit_is_cut() -> None:
    assert groups(CELLS, 2.0) == [["x none", "x a"], ["x b"], ["y none", "y a"], ["y b"]]


def test_every_group_but_the_anchors_own_leaves_room_for_it() -> None:
    groups = fitting(CELLS, lambda item: item[2], lambda item: item[0], 4.0, anchor=CELLS[1])
    assert [[f"{backend} {technique}" for backend, technique, _ in group] for group in groups] == [
        ["y none", "y a", "y b"],
        ["x none", "x a", "x b"],
    ]
    groups = fitting(CELLS, lambda item: item[2], lambda item: item[0], 3.0, anchor=CELLS[0])
    assert [len(group) for group in groups] == [3, 2, 1]


def test_nothing_makes_no_group() -> None:
    assert fitting([], lambda _: 1.0, lambda _: 0, 1.0) == []


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.text(max_size=2), st.floats(0.1, 9.0))), st.floats(0.5, 20.0))
def test_every_cell_is_in_one_group_and_a_group_of_several_fits(cells: list[Cell], room: float) -> None:
    groups = fitting(cells, lambda item: item[2], lambda item: item[0], room)
    assert sorted(cell for group in groups for cell in group) == sorted(cells)
    for group in groups:
        assert len(group) == 1 or sum(cell[2] for cell in group) <= room * (1 + 1e-9)
