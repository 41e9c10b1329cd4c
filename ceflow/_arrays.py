"""Array libraries: the names that NumPy and PyTorch share, and here what differs."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy


class Arrays:
    """An array library, a device and a precision: where a flow of full matrices lives."""

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
        """An array of the host, where the flow lives: integers as they are, all else in its precision."""
        if array.dtype.kind == "i":
            return array if self.device is None else self.xp.asarray(np.array(array), device=self.device)
        return self.xp.asarray(np.array(array, float), **self.options)

    def constant(self, weights: np.ndarray) -> Any:
        """A small array of weights, kept where the flow lives."""
        if self.xp is np and weights.dtype == self.dtype:
            return weights
        key = weights.tobytes()
        found = self._constants.get(key)
        if found is None:  # another thread may clear them at any time
            if len(self._constants) > 1000:
                self._constants.clear()
            found = self._constants[key] = self.xp.asarray(weights, **self.options)
        return found

    @property
    def memory_errors(self) -> tuple[type[Exception], ...]:
        """What is raised where memory does not suffice."""
        return (MemoryError,) if self.xp is np else (MemoryError, self.xp.OutOfMemoryError)


def host(array: Any) -> np.ndarray:
    """The array on the host, in float64."""
    return np.asarray(array if isinstance(array, np.ndarray) else array.cpu().numpy(), dtype=float)


def svd(matrices: np.ndarray, **options: Any) -> Any:
    """`numpy.linalg.svd`, also where the fast driver of LAPACK gives up, as it may on deficient ranks."""
    try:
        return np.linalg.svd(matrices, **options)
    except np.linalg.LinAlgError:  # one of a stack is enough
        slow = np.vectorize(
            lambda matrix: scipy.linalg.svd(matrix, lapack_driver="gesvd", **options),
            signature="(m,n)->(k)" if options.get("compute_uv") is False else "(m,n)->(m,p),(k),(q,n)",
        )
        return slow(matrices)


def as_like(array: Any, other: Any) -> Any:
    """An array of the host as one of the library and device of another."""
    if isinstance(other, np.ndarray) or not isinstance(array, np.ndarray):
        return array
    import torch

    return torch.from_numpy(array).to(other)
