"""Checks of arguments."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LIMIT = 1e300  # largest input: sums of a few inputs do not overflow


def checked_array(name: str, values: ArrayLike | None, low: float = -LIMIT, high: float = LIMIT) -> NDArray[np.float64]:
    """Convert real numbers from low to high to float64; else raise a TypeError or a ValueError.

    PyTorch tensors may be parameters, on any device, of any floating type. Numbers that float64 cannot represent
    (longer types, integers from 2**53 on) are rounded with a warning.
    """
    try:
        array = values if type(values) is np.ndarray else np.asarray(on_host(values))
    except ValueError as error:
        raise ValueError(f"{name} must be an array, got an irregular nested sequence: {error}") from None
    except (RuntimeError, TypeError) as error:  # sparse, quantized and meta tensors cannot be converted
        raise TypeError(f"{name} must be an array or a dense tensor: {error}") from None
    # short floats unknown to NumPy, such as bfloat16 of JAX, have no kind
    if array.dtype.kind not in "iuf" and not (array.dtype.kind == "V" and np.can_cast(array.dtype, np.float64)):
        raise TypeError(f"{name} must be real, got dtype {array.dtype}")
    if array.itemsize >= 8 and array.dtype != np.float64 and _rounded(array):
        warnings.warn(f"{name} of dtype {array.dtype} is rounded to float64", stacklevel=3)
    array = array.astype(np.float64)  # before the comparison: short floats cannot represent the limits
    inside = (array >= low) & (array <= high)
    if np.count_nonzero(inside) < inside.size:  # which takes a tenth of the time of `all` where there is little
        raise ValueError(f"{name} must be from {low:g} to {high:g}, got {array[~inside][0]}")
    return array


def _rounded(array: NDArray) -> bool:
    """Whether some of the numbers are not exact in float64."""
    floats = array.astype(np.float64)
    return bool(np.any(np.abs(floats) >= 2.0**53 if array.dtype.kind in "iu" else floats != array))


def on_host(values: Any) -> Any:
    """Convert tensors, also in a sequence, to NumPy arrays; return other values unchanged."""
    if isinstance(values, (list, tuple)):
        return [on_host(part) for part in values] if any(hasattr(part, "detach") for part in values) else values
    if not hasattr(values, "detach"):
        return values
    tensor = values.detach().cpu()
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy()


def checked_number(name: str, value: Any, low: float, high: float) -> float:
    """Convert a number from low to high to float; else raise a TypeError or a ValueError."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    try:
        value = float(value)
    except OverflowError:
        raise ValueError(f"{name} must be between {low:g} and {high:g}, got a larger integer than floats") from None
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low:g} and {high:g}, got {value!r}")
    return value


def checked_integer(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """Convert an integer from low to high to int; else raise a TypeError or a ValueError."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    value = int(value)
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"at least {low}" if high is None else f"at most {high}" if low is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be {bounds}, got {value}")
    return value


def checked_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Return a value that is one of the choices; else raise a TypeError or a ValueError."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a name, got {type(value).__name__}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return value


def log_time_unit(classes: int, reduction: str) -> float:
    """Logarithm of the time unit relative to reduction "sum": 0, or log K for "mean"; else raise a ValueError."""
    if reduction not in ("mean", "sum"):
        raise ValueError(f'reduction must be "mean" or "sum", got {reduction!r}')
    return math.log(classes) if reduction == "mean" else 0.0
