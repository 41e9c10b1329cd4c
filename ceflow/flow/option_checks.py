"""Checks of the options of an objective: numbers, matrices, frozen layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import checked_array, checked_integer, checked_number, on_host
from ..network.activation import parse


def numbers(name: str, value: Any, low: float, high: float) -> float | tuple[float, ...]:
    """A number, or a tuple of numbers; equal numbers stay a tuple."""
    value = on_host(value)
    if _is_one(value):
        return checked_number(name, value.item() if isinstance(value, np.ndarray) else value, low, high)
    array = checked_array(name, value, low, high)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name} must be a number or a list of numbers, got shape {array.shape}")
    return tuple(array.tolist())


def integers(name: str, value: Any, low: int, high: int) -> int | tuple[int, ...] | None:
    if value is None:
        return None
    value = on_host(value)
    if _is_one(value):
        return checked_integer(name, value.item() if isinstance(value, np.ndarray) else value, low, high)
    values = value.tolist() if isinstance(value, np.ndarray) else list(value)
    if not values:
        raise ValueError(f"{name} must not be empty")
    return tuple(checked_integer(name, one, low, high) for one in values)


def _is_one(value: Any) -> bool:
    return not isinstance(value, (list, tuple, np.ndarray)) or (isinstance(value, np.ndarray) and value.ndim == 0)


def activation(value: Any, depth: float) -> str | tuple[str, ...]:
    """One activation for all places between layers, or one for each if they differ."""
    if not isinstance(value, (tuple, list)):
        parse(value)
        return str(value)
    found = tuple(str(item) if isinstance(item, str) else item for item in value)
    if not isinstance(depth, int) or len(found) != depth - 1:
        raise ValueError(f"activation must be a string or one for each of {depth} - 1 places, got {len(found)}")
    kinds = {parse(item) for item in found}
    if len({act for act in kinds if not act.linear}) > 1:
        raise ValueError(f"activation must be of one kind at all nonlinear places, got {found}")
    return found if len(kinds) > 1 else found[0]


def matrix(name: str, value: Any, axes: tuple[int, ...] = (2,)) -> np.ndarray:
    array = np.array(checked_array(name, value, -1e150, 1e150))
    if array.ndim not in axes or not array.size:
        raise ValueError(f"{name} must be a matrix, got shape {array.shape}")
    array.setflags(write=False)
    return array


def semidefinite(kernel: np.ndarray) -> np.ndarray:
    if kernel.shape[0] != kernel.shape[1]:
        raise ValueError(f"kernel must be square, got {kernel.shape}")
    size = np.abs(kernel).max()
    if not size > 0.0:
        raise ValueError("kernel must not be 0: features would not move")
    if np.abs(kernel - kernel.T).max() > 1e-12 * size:
        raise ValueError("kernel must be symmetric")
    least = np.linalg.eigvalsh(kernel)[0]
    if least < -1e-10 * size * len(kernel):
        raise ValueError(f"kernel must be positive semi-definite, its smallest eigenvalue is {least:g}")
    return kernel


def frozen(value: Any, depth: float, bias: bool) -> tuple:
    """Frozen layers: sorted indices, and "b"."""
    if isinstance(value, str) or not isinstance(value, (tuple, list, set, frozenset)):
        raise TypeError(f'frozen must be a tuple of "W", "H", "b" or indices of layers, got {value!r}')
    layers = depth if isinstance(depth, int) else 0
    found: set[int] = set()
    for item in value:
        if item == "b" and not bias:
            raise ValueError('frozen has "b", but bias is False')
        place = {"W": 0, "H": layers - 1, "b": -1}.get(item, item) if isinstance(item, str) else item
        if isinstance(place, str):
            raise ValueError(f'frozen must have "W", "H", "b" or indices of layers, got {item!r}')
        if value and not isinstance(depth, int):
            raise ValueError(f"frozen layers need an integer depth, got depth {depth}")
        found.add(place if item == "b" else checked_integer("frozen", place, 0, layers - 1))
    return tuple(sorted(place for place in found if place >= 0)) + (("b",) if -1 in found else ())
