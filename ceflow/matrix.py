"""The full flow: classifier W and features H as they are, no symmetry assumed, on NumPy or PyTorch."""

from __future__ import annotations

import math

import numpy as np

from ._checks import LIMIT, checked_integer, checked_number, log_time_unit
from .losses import Loss, as_loss, full_residual
from .spectral import SETTLED, Rest, check_factors, options_spec, options_text

BACKENDS = ("numpy", "torch")
DTYPES = ("float64", "float32")


class Arrays:
    """An array library, a device and a precision: where a full flow lives.

    All equations are written once, for the names that NumPy and PyTorch share; here is what differs.
    """

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

    def zeros(self, *shape: int):
        return self.xp.zeros(shape, **self.options)

    def indices(self, n: int):
        return self.xp.arange(n) if self.device is None else self.xp.arange(n, device=self.device)

    def constant(self, weights: np.ndarray):
        """A small array of weights, kept where the flow lives."""
        if self.xp is np and weights.dtype == self.dtype:
            return weights
        key = weights.tobytes()
        if key not in self._constants:
            if len(self._constants) > 1000:
                self._constants.clear()
            self._constants[key] = self.xp.asarray(weights, **self.options)
        return self._constants[key]


def host(array) -> np.ndarray:
    """The array on the host, in float64."""
    return np.asarray(array if isinstance(array, np.ndarray) else array.cpu().numpy(), dtype=float)


def as_like(array, other):
    """An array of the host as one of the library and device of another."""
    if isinstance(other, np.ndarray) or not isinstance(array, np.ndarray):
        return array
    import torch

    return torch.from_numpy(array).to(other)


class MatrixSystem:
    """What the stepper integrates: all factors in one flat array y, in the clock of relative speed |dy| / |y|.

    Factors of a batch share the clock and the time: the clock is the root mean square of their relative speeds, and the
    tolerance holds for each by itself.
    """

    def __init__(self, flow: MatrixFlow, shapes: tuple[tuple[int, ...], ...]) -> None:
        self.flow, self.shapes = flow, shapes
        self.arrays = flow.arrays
        self.xp = self.arrays.xp
        self.classes = shapes[0][-2]
        self.log_unit = log_time_unit(self.classes, flow.reduction)
        self.decay = flow.weight_decay * math.exp(self.log_unit)
        self.settles = flow.loss.pull > 0.0 or self.decay > 0.0
        self.ends = np.cumsum([math.prod(shape) for shape in shapes])
        batch = shapes[0][:-2]
        self.rank = len(shapes) * min(self.classes - 1, *(min(shape[-2:]) for shape in shapes))
        self.tiny = 1e-300 if flow.dtype == "float64" else 1e-36
        self.diagonal = self.arrays.indices(self.classes)
        self.logits = self.arrays.zeros(*batch, self.classes, self.classes)

    def allocate(self, *shape: int):
        """Zeros to keep states in."""
        return self.arrays.zeros(*shape)

    def factors(self, y) -> list:
        """The factors as views of a flat state."""
        begins = [0, *self.ends[:-1]]
        return [y[begin:end].reshape(shape) for begin, end, shape in zip(begins, self.ends, self.shapes, strict=True)]

    def squares(self, y):
        """Squared Frobenius norm of a flat state, one for each member of the batch."""
        if len(self.shapes[0]) == 2:
            return self.xp.dot(y, y)
        return sum(self.xp.einsum("...ij,...ij->...", factor, factor) for factor in self.factors(y))

    def rates(self, y, dy):
        xp, factors, velocities = self.xp, self.factors(y), self.factors(dy)
        after = [factors[-1]]  # products of the last factors
        for factor in factors[-2:0:-1]:
            after.insert(0, xp.matmul(factor, after[0]))
        xp.matmul(factors[0], after[0], out=self.logits)
        log_scale, a = full_residual(self.flow.loss, self.logits, self.diagonal, xp)
        back = self.logits  # (product of the first factors)' G
        for i, velocity in enumerate(velocities):
            if i + 1 < len(velocities):
                xp.matmul(back, after[i].swapaxes(-1, -2), out=velocity)
                back = xp.matmul(
                    factors[i].swapaxes(-1, -2), back, out=velocities[-1] if i + 2 == len(factors) else None
                )
        size = self.squares(y)
        inverse = 1.0 / xp.clip(size, self.tiny, None)
        decay = 0.0
        if self.decay > 0.0:
            high = xp.clip(log_scale, math.log(self.decay), None)
            dy *= xp.exp(log_scale - high)
            decay, log_scale = self.decay * xp.exp(-high), high
        activity = xp.sqrt(self.squares(dy) * inverse) + decay
        if self.flow.loss.pull > 0.0:
            # what the constant part of the residual would do, from the mean square of the layers' singular values
            gain = (size / self.rank) ** (len(factors) / 2 - 1)
            activity = activity + self.flow.loss.pull * gain * xp.exp(-log_scale)
        if self.decay > 0.0:
            dy -= decay * y
        speed = xp.clip(xp.sqrt((activity**2).mean()), self.tiny, None)
        dy /= speed
        return self.log_unit - log_scale - xp.log(speed), a

    def combine(self, y, h: float, w: np.ndarray, k, n: int, out) -> None:
        self.xp.matmul(k[:n].T, self.arrays.constant(w[:n]), out=out)
        out *= h
        out += y

    def norm(self, error, y, dy, rtol: float, atol: float) -> float:
        # the Frobenius norm: it does not depend on the basis, which for features is arbitrary
        level = 0.1 * rtol
        if self.settles:
            level *= min(1.0, max(self.velocity(y, dy), 1e-3))
        return float((self.xp.sqrt(self.squares(error)) / (level * self.xp.sqrt(self.squares(y)) + atol)).max())

    def velocity(self, y, dy) -> float:
        """Largest relative speed in the clock."""
        return float(self.xp.sqrt((self.squares(dy) / self.xp.clip(self.squares(y), self.tiny, None)).max()))

    def rests(self, y, dy, rtol: float) -> bool:
        velocity = self.velocity(y, dy)
        return velocity == 0.0 or (self.settles and velocity <= max(SETTLED * rtol, 1e-14))

    def watch(self, y, dy, rtol: float) -> bool:
        return self.rests(y, dy, rtol)


class MatrixFlow:
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
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
        log_time_unit(2, reduction)
        self.backend, self.dtype, self.reduction = backend, dtype, reduction
        self.device = _checked_device(backend, device)
        self.loss = as_loss(loss)
        self.depth = int(checked_number("depth", checked_integer("depth", depth), 2, 1000))
        self.weight_decay = checked_number("weight_decay", weight_decay, 0.0, LIMIT)
        self._arrays: Arrays | None = None

    def __repr__(self) -> str:
        device = f", device={self.device!r}" if self.device else ""
        return f"MatrixFlow(backend={self.backend!r}{device}, dtype={self.dtype!r}{options_text(self, self.depth)})"

    @property
    def spec(self) -> dict:
        """All that makes this flow again, in terms of JSON."""
        own = {"backend": self.backend, "device": self.device, "dtype": self.dtype, "depth": self.depth}
        return {"flow": "matrix"} | own | options_spec(self)

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
        return tuple(check_factors(start, self.depth))

    def origin(self, start: tuple[np.ndarray, ...]) -> np.ndarray:
        """Coordinates of the start."""
        return np.concatenate([factor.ravel() for factor in start])

    def rest(self, y: np.ndarray, log_t: float) -> Rest:
        """The state y, at rest."""
        return Rest(y, log_t)

    def mover(self, start: tuple[np.ndarray, ...], y: np.ndarray, log_t: float, rtol: float, closed_form: bool = True):
        """What carries the state on from y: a system for the stepper, or Rest at the origin."""
        if not np.any(y):
            return self.rest(y, log_t)
        if self.dtype == "float32":
            if rtol < 1e-5:
                raise ValueError(f"rtol must be at least 1e-5 in float32, got {rtol:g}")
            if self.backend == "torch" and self.arrays.xp.get_float32_matmul_precision() != "highest":
                raise ValueError(
                    "PyTorch is set to TF32 matrix products, of 3 digits: set_float32_matmul_precision('highest')"
                )
        return MatrixSystem(self, tuple(factor.shape for factor in start))


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
    least = {"classes": 2, "width": 1, "depth": 2, "batch": 1}
    for name, value in (("classes", classes), ("width", width), ("depth", depth), ("batch", batch)):
        if (name != "batch" or batch is not None) and checked_integer(name, value) < least[name]:
            raise ValueError(f"{name} must be at least {least[name]}, got {value}")
    if not (0.0 < scale <= 1e300):
        raise ValueError(f"scale must be positive and finite, got {scale!r}")
    rng = np.random.default_rng(rng)
    shapes = [(classes, width), *[(width, width)] * (depth - 2), (width, classes)]
    lead = () if batch is None else (batch,)
    return tuple(rng.standard_normal(lead + shape) * (scale / math.sqrt(width)) for shape in shapes)
