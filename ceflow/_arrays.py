"""Array libraries: an interface to the differences between NumPy and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy


class Arrays:
    """Array library, device and precision of a flow of full matrices."""

    xp: Any  # NumPy or PyTorch
    dtype: Any
    device: Any
    options: dict[str, Any]

    def __init__(self, backend: str, device: str | None, dtype: str) -> None:
        if backend == "torch":
            import torch

            self.xp, self.dtype = torch, getattr(torch, dtype)
            self.device = torch.device("cpu" if device is None else device)
            self.options = {"dtype": self.dtype, "device": self.device}
        else:
            self.xp, self.dtype, self.device = np, np.dtype(dtype), None
            self.options = {"dtype": self.dtype}
        self._constants: dict[bytes, object] = {}

    def zeros(self, *shape: int) -> Any:
        return self.xp.zeros(shape, **self.options)

    def indices(self, n: int) -> Any:
        return self.xp.arange(n) if self.device is None else self.xp.arange(n, device=self.device)

    def asarray(self, array: np.ndarray) -> Any:
        """Copy an array to the device; integers keep their type, other numbers get the precision of the flow."""
        if array.dtype.kind == "i":
            return array if self.device is None else self.xp.asarray(np.array(array), device=self.device)
        return self.xp.asarray(np.array(array, float), **self.options)

    def constant(self, weights: np.ndarray) -> Any:
        """Cached copy of a small array of weights on the device."""
        if self.xp is np and weights.dtype == self.dtype:
            return weights
        key = weights.tobytes()
        found = self._constants.get(key)
        if found is None:  # another thread may clear the cache at any time
            if len(self._constants) > 1000:
                self._constants.clear()
            found = self._constants[key] = self.xp.asarray(weights, **self.options)
        return found

    @property
    def memory_errors(self) -> tuple[type[Exception], ...]:
        """Exceptions raised when memory runs out."""
        return (MemoryError,) if self.xp is np else (MemoryError, self.xp.OutOfMemoryError)


def host(array: Any) -> np.ndarray:
    """Copy of an array on the host, in float64."""
    return np.asarray(array if isinstance(array, np.ndarray) else array.cpu().numpy(), dtype=float)


def svd(matrices: np.ndarray, **options: Any) -> Any:
    """`numpy.linalg.svd`, with a slower LAPACK driver if the fast one fails (possible for deficient rank)."""
    try:
        return np.linalg.svd(matrices, **options)
    except np.linalg.LinAlgError:  # raised if one matrix of a stack fails
        slow = np.vectorize(
            lambda matrix: scipy.linalg.svd(matrix, lapack_driver="gesvd", **options),
            signature="(m,n)->(k)" if options.get("compute_uv") is False else "(m,n)->(m,p),(k),(q,n)",
        )
        return slow(matrices)


def log_sum(logarithms: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """``log(sum(weights exp(x)))`` over the last axis; SciPy's function is slow to import."""
    weights = np.ones(1) if weights is None else weights
    logarithms = np.where(np.greater(weights, 0.0), logarithms, -np.inf)
    largest = np.finfo(float).max
    with np.errstate(divide="ignore", over="ignore"):  # infinite logarithms
        most = np.clip(logarithms.max(axis=-1), -largest, largest)
        return np.log((weights * np.exp(logarithms - most[..., None])).sum(axis=-1)) + most


def as_like(array: Any, other: Any) -> Any:
    """Convert a host array to the library and device of another array."""
    if isinstance(other, np.ndarray) or not isinstance(array, np.ndarray):
        return array
    import torch

    return torch.from_numpy(array).to(other)
