"""The full flow: classifier W and features H as they are, no symmetry assumed, on NumPy or PyTorch."""

from __future__ import annotations

import math

import numpy as np

from .._arrays import Arrays
from .._checks import checked_choice, checked_integer, checked_number
from ..losses import Loss
from ..network.factors import check_factors, check_sizes
from ._flow import Flow
from .matrix_field import MatrixField
from .rest import Rest

BACKENDS = ("numpy", "torch")
DTYPES = ("float64", "float32")
SMALLEST = {"float64": 1e-151, "float32": 1e-18}  # largest entry of a start: its square must not underflow


class MatrixFlow(Flow):
    """Gradient flow on all of W (K, d) and H (d, K): dW/dt = G H^T, dH/dt = W^T G, with G = I - softmax(W H) for
    cross-entropy.

    Parameters
    ----------
    backend : {"numpy", "torch"}
        Array library. PyTorch is an optional extra, imported only when asked for.
    device : str, optional
        Where PyTorch computes: "cpu" (the default), "cuda", "cuda:1". The state stays there; what is sampled comes
        back.
    dtype : {"float64", "float32"}
        Precision. In float32 expect about 1e-5 (so rtol must be 1e-5 or more); with TF32 matrix products switched on
        in PyTorch (they are off by default) about 1e-3: then a flow in float32 refuses to run.
    loss, depth, reduction, weight_decay
        As in `SpectralFlow`; depth is an integer. A flow of L layers starts from L factors whose product is the logits.

    Raises
    ------
    ValueError, TypeError
        If an argument is not acceptable, or the device is not there.
    ImportError
        If backend is "torch" and PyTorch is not installed.

    Notes
    -----
    Any widths d >= 1, any start. Error control is relative to the Frobenius norm of all factors: a singular value that
    is much smaller than the largest one is right to ``rtol`` times the largest.
    """

    kind = "matrix"

    def __init__(
        self,
        *,
        backend: str = "numpy",
        device: str | None = None,
        dtype: str = "float64",
        loss: str | Loss = "cross_entropy",
        depth: int = 2,
        reduction: str = "mean",
        weight_decay: float = 0.0,
    ) -> None:
        checked_choice("backend", backend, BACKENDS)
        checked_choice("dtype", dtype, DTYPES)
        super().__init__(loss, reduction, weight_decay)
        self.backend, self.dtype = backend, dtype
        self.device = _checked_device(backend, device)
        self.depth = checked_integer("depth", depth, 2, 1000)
        self._arrays: Arrays | None = None

    def __repr__(self) -> str:
        device = f", device={self.device!r}" if self.device else ""
        return f"MatrixFlow(backend={self.backend!r}{device}, dtype={self.dtype!r}{self._options_text})"

    @property
    def spec(self) -> dict:
        return super().spec | {"backend": self.backend, "device": self.device, "dtype": self.dtype}

    @property
    def memory_errors(self) -> tuple[type[Exception], ...]:
        return self.arrays.memory_errors

    @property
    def arrays(self) -> Arrays:
        """Where the flow lives; made when first needed."""
        if self._arrays is None:
            self._arrays = Arrays(self.backend, self.device, self.dtype)
        return self._arrays

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_arrays": None}

    def start(self, start: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """Checks where a run starts: a pair (W, H), or as many factors as there are layers.

        All may have the same leading axis, that of a batch.
        """
        if not isinstance(start, (tuple, list)):
            raise TypeError(
                f"a MatrixFlow starts from a pair (W, H) of matrices (K, d) and (d, K), or {self.depth} factors, got "
                f"{type(start).__name__}"
            )
        factors = tuple(check_factors(start, self.depth))
        check_sizes(factors, SMALLEST[self.dtype])
        return factors

    def origin(self, start: tuple[np.ndarray, ...]) -> np.ndarray:
        """Coordinates of the start."""
        return np.concatenate([factor.ravel() for factor in start])

    def segment(self, kind: str, start: tuple[np.ndarray, ...], y: np.ndarray, log_t: float):
        """The closed form of the kind "rest", which holds from the state y on."""
        if kind != Rest.kind:
            raise ValueError(f"a full flow has no closed form {kind!r}")
        return Rest(y, log_t)

    def motion(
        self,
        start: tuple[np.ndarray, ...],
        y: np.ndarray,
        log_t: float,
        rtol: float,
        atol: float = 0.0,
        closed_form: bool = True,
    ):
        """What carries the state on from y: a vector field, or Rest at the origin."""
        if not np.any(y):
            return self.segment(Rest.kind, start, y, log_t)
        if self.dtype == "float32":
            if rtol < 1e-5:
                raise ValueError(f"rtol must be at least 1e-5 in float32, got {rtol:g}")
            if self.backend == "torch" and self.arrays.xp.get_float32_matmul_precision() != "highest":
                raise ValueError(
                    "PyTorch is set to TF32 matrix products, of 3 digits: set_float32_matmul_precision('highest')"
                )
        return MatrixField(self, tuple(factor.shape for factor in start))


def _checked_device(backend: str, device: str | None) -> str | None:
    if backend == "numpy":
        if device not in (None, "cpu"):
            raise ValueError(f'device must be "cpu" with the numpy backend, got {device!r}')
        return None
    try:
        import torch
    except ImportError:
        raise ImportError('backend="torch" needs PyTorch: pip install torch') from None
    device = "cpu" if device is None else device
    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError):
        raise ValueError(f'device must be "cpu" or "cuda" (or "cuda:1"), got {device!r}') from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device {device!r} is not there: PyTorch {torch.__version__} finds no CUDA GPU; "
            f'device="cpu" works everywhere'
        )
    if kind not in ("cpu", "cuda"):
        raise ValueError(f'device must be "cpu" or "cuda" (or "cuda:1"), got {device!r}')
    return str(device)


def random_init(
    *,
    classes: int,
    width: int,
    scale: float = 1e-3,
    depth: int = 2,
    batch: int | None = None,
    rng: np.random.Generator | int | None = 0,
) -> tuple[np.ndarray, ...]:
    """A small random initialization: entries of W (K, d) and H (d, K) independent Gaussians of deviation scale/sqrt(d).

    Parameters
    ----------
    classes, width : int
        K and d.
    scale : float
    depth : int
        Number of factors; those between W and H are (d, d).
    batch : int, optional
        Makes so many at once, along a leading axis.
    rng : int or numpy Generator

    Raises
    ------
    ValueError, TypeError
        Unless classes >= 2, width >= 1, depth >= 2, batch >= 1 and scale > 0 is finite.
    """
    classes, width = checked_integer("classes", classes, 2), checked_integer("width", width, 1)
    depth, lead = checked_integer("depth", depth, 2), () if batch is None else (checked_integer("batch", batch, 1),)
    if not 0.0 < checked_number("scale", scale, 0.0, 1e300):
        raise ValueError(f"scale must be positive and finite, got {scale!r}")
    rng = np.random.default_rng(rng)
    shapes = [(classes, width), *[(width, width)] * (depth - 2), (width, classes)]
    return tuple(rng.standard_normal(lead + shape) * (scale / math.sqrt(width)) for shape in shapes)
