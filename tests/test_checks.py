"""Checks at the door."""

import numpy as np
import pytest

from ceflow._checks import checked_integer


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3)])
@pytest.mark.parametrize("bounds", [(), (3,), (None, 3), (3, 3)])
def test_integers_of_any_kind(value, bounds):
    found = checked_integer("n", value, *bounds)
    assert found == 3 and type(found) is int


@pytest.mark.parametrize("value", [True, np.bool_(True), 3.0, np.float64(3.0), "3", None, [3]])
def test_what_is_no_integer(value):
    with pytest.raises(TypeError, match="n must be an integer, got "):
        checked_integer("n", value, 0, 9)


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (1, (2,), "n must be at least 2, got 1"),
        (np.int64(4), (None, 3), "n must be at most 3, got 4"),
        (10**400, (0, 9), "n must be from 0 to 9, got 1000"),
        (-1, (0, 9), "n must be from 0 to 9, got -1"),
    ],
)
def test_integers_out_of_bounds(value, bounds, message):
    with pytest.raises(ValueError, match=message):
        checked_integer("n", value, *bounds)
