"""The full flow of classifier W and features H, without symmetry, on NumPy or PyTorch."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import Arrays
from .._checks import checked_array, checked_choice, checked_integer, checked_number
from ..losses import Loss, as_loss
from ..network.factors import check_factors, check_sizes, inputs
from ..terms import Term
from ._flow import Flow
from .matrix_field import MatrixField
from .objective import Objective
from .rest import Rest
from .stacked_field import StackedField
from .terms import Terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..trajectory import MatrixTrajectory  # noqa: F401  # in quotes
    from ._options import Reduction

BACKENDS = ("numpy", "torch")
DTYPES = ("float64", "float32")
SMALLEST = {"float64": 1e-151, "float32": 1e-18}  # for the largest entry of a start: its square must not underflow


class MatrixFlow(Flow["MatrixTrajectory"]):
    """Gradient flow on full matrices W (K, d) and H (d, N), with one column of H per class or per sample.

    ``dW/dt = G H^T`` and ``dH/dt = W^T G``. For cross-entropy, one column per class and reduction "sum", the residual
    is ``G = I - softmax(W H)``.

    Parameters
    ----------
    backend : {"numpy", "torch"}
        Array library. PyTorch is optional and imported only for "torch".
    device : str, optional
        Device of PyTorch: "cpu" (default), "cuda", "cuda:1". The state stays on the device; sampled rows are copied
        back.
    dtype : {"float64", "float32"}
        Precision. float32 gives a relative accuracy of about 1e-5, so rtol must be at least 1e-5. A float32 flow raises
        an error if TF32 matrix products are enabled in PyTorch (their accuracy is about 1e-3).
    loss, depth, reduction, samples, labels, weights, logit_adjustment, logit_scale, weight_decay, bias, bias_decay
        See `Objective`; depth is an integer. A flow with L layers starts from L factors, whose product is the logits.
    frozen, targets, kernel, activation, terms
        See `Objective`.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or the device is not available.
    ImportError
        If backend is "torch" and PyTorch is not installed.

    Notes
    -----
    Any width d >= 1 and any start are allowed. Errors are relative to the Frobenius norm of all factors and the bias:
    the absolute error of every singular value is ``rtol`` times the largest one.

    A batch of starts shares all options, on both backends.

    The vector field with "relu" is discontinuous where a relu input is 0. The solution can slide along this set if
    velocities point to it from both sides. `MatrixFlow` does not solve for sliding, as `SpectralFlow` does: steps
    become very small, and the run may stop. "softplus:BETA" is smooth.

    Examples
    --------
    >>> W, H = cf.random_init(classes=3, width=3, scale=0.1, rng=0)
    >>> flow = cf.MatrixFlow(labels=[0, 0, 1, 2], weight_decay=0.01)  # class 0 has two samples
    >>> run = cf.integrate(flow, (W, H[:, [0, 0, 1, 2]]), 1e3, rtol=1e-6)
    >>> run.logits[-1].round(3)
    array([[ 3.042,  3.042, -1.604, -1.604],
           [-1.521, -1.521,  2.902, -1.298],
           [-1.521, -1.521, -1.298,  2.902]])
    """

    kind = "matrix"

    def __init__(
        self,
        *,
        backend: Literal["numpy", "torch"] = "numpy",
        device: str | None = None,
        dtype: Literal["float64", "float32"] = "float64",
        loss: str | Loss = "cross_entropy",
        depth: int = 2,
        reduction: Reduction = "mean",
        weight_decay: float | Sequence[float] = 0.0,
        samples: int | Sequence[int] | None = None,
        labels: ArrayLike | None = None,
        weights: float | ArrayLike = 1.0,
        logit_adjustment: float | ArrayLike = 0.0,
        logit_scale: float | ArrayLike = 1.0,
        bias: bool = False,
        bias_decay: float = 0.0,
        frozen: Sequence[str | int] = (),
        targets: str | ArrayLike = "centred",
        kernel: ArrayLike | None = None,
        activation: str | tuple[str, ...] = "linear",
        terms: tuple[Term, ...] = (),
    ) -> None:
        checked_choice("backend", backend, BACKENDS)
        checked_choice("dtype", dtype, DTYPES)
        objective = Objective(
            as_loss(loss), checked_integer("depth", depth, 2, 1000), reduction, samples, labels, weights,
            logit_adjustment, logit_scale, weight_decay, bias, bias_decay, frozen, targets, kernel, activation, terms,
        )  # fmt: skip
        super().__init__(objective)
        self.backend, self.dtype = backend, dtype
        self.device = _checked_device(backend, device)
        self._arrays: Arrays | None = None

    def __repr__(self) -> str:
        device = f", device={self.device!r}" if self.device else ""
        return f"MatrixFlow(backend={self.backend!r}{device}, dtype={self.dtype!r}{self.objective.text})"

    @property
    def spec(self) -> dict:
        return super().spec | {"backend": self.backend, "device": self.device, "dtype": self.dtype}

    if TYPE_CHECKING:

        @property
        def depth(self) -> int: ...

    @property
    def memory_errors(self) -> tuple[type[Exception], ...]:
        return self.arrays.memory_errors

    @property
    def arrays(self) -> Arrays:
        """Array library and device; created at first use."""
        if self._arrays is None:
            self._arrays = Arrays(self.backend, self.device, self.dtype)
        return self._arrays

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_arrays": None}

    def start(self, start: Any) -> tuple[np.ndarray, ...]:
        """Check a start: (W, H), or one factor per layer, followed by the bias (K,) if the flow has one (default 0).

        All may have the leading axis of a batch.
        """
        objective = self.objective
        if not isinstance(start, (tuple, list)):
            raise TypeError(
                f"the start of a MatrixFlow must be (W, H), matrices (K, d) and (d, K), or {self.depth} factors, got "
                f"{type(start).__name__}"
            )
        given = list(start)
        if not objective.bias and len(given) == self.depth + 1:
            raise ValueError(f"the start must have {self.depth} factors and no bias, got {len(given)} arrays")
        bias = [given.pop()] if len(given) == self.depth + 1 else []
        least = 1 if objective.regression else 2
        factors = check_factors(given, self.depth, columns=objective.columns, least=least)
        check_sizes(factors, SMALLEST[self.dtype])
        objective.check_classes(factors[0].shape[-2])
        batch = objective.targets.shape[:-2] if objective.regression else ()
        if batch and factors[0].shape[:-2] != batch:
            raise ValueError(f"targets are those of a batch of {batch[0]} starts, got W of shape {factors[0].shape}")
        if objective.kernel is not None:
            self._check_range(factors[-1])
        Terms(objective, factors[0].shape[-2]).check_start(factors[0], inputs(factors, objective.acts)[0][0])
        if not objective.bias:
            return tuple(factors)
        shape = factors[0].shape[:-1]
        b = checked_array("b", bias[0], -1e150, 1e150) if bias else np.zeros(shape)
        if b.shape != shape:
            raise ValueError(f"the bias b must have shape {shape} like a column of W, got {b.shape}")
        return (*factors, b)

    def _check_range(self, H: np.ndarray) -> None:
        """Raise a ValueError unless H = W_1 X for a layer W_1 and inputs X with Theta = X'X."""
        kernel = self.objective.kernel
        values, vectors = np.linalg.eigh(kernel)
        null = vectors[:, values <= 1e-12 * values[-1]]
        if null.size and np.abs(H @ null).max() > 1e-8 * np.abs(H).max():
            raise ValueError(
                "rows of H must be in the range of the kernel, because H = W_1 X with X'X = kernel; H @ kernel is"
            )

    def origin(self, start: tuple[np.ndarray, ...]) -> np.ndarray:
        """Coordinates of the start."""
        return np.concatenate([factor.ravel() for factor in start])

    def state(self, start: tuple[np.ndarray, ...], y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Factors and bias at the coordinates y."""
        return tuple(part[0] for part in self.parts(start, y[None]))

    def parts(self, start: tuple[np.ndarray, ...], y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Factors (n, ...), and the bias (n, ..., K) if there is one, at coordinates (n, N)."""
        ends = np.cumsum([part.size for part in start])
        return tuple(
            y[:, end - part.size : end].reshape(len(y), *part.shape) for end, part in zip(ends, start, strict=True)
        )

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
        """Vector field at y, or Rest at an equilibrium at 0."""
        if not np.any(y) and self._rests_at_origin(start):
            return self.segment(Rest.kind, start, y, log_t)
        if self.dtype == "float32":
            if rtol < 1e-5:
                raise ValueError(f"rtol must be at least 1e-5 in float32, got {rtol:g}")
            if self.backend == "torch" and self.arrays.xp.get_float32_matmul_precision() != "highest":
                raise ValueError(
                    "PyTorch has TF32 matrix products (3 digits) enabled: call set_float32_matmul_precision('highest')"
                )
        return self._field(start)

    def _field(self, start: tuple[np.ndarray, ...]) -> MatrixField:
        return MatrixField(self, self._shapes(start))

    def stacked(self, start: tuple[np.ndarray, ...], members: int) -> StackedField:
        """Field of up to `members` runs from starts of these shapes, each with its own clock."""
        return StackedField(members, self, self._shapes(start))

    def alike(self, start: tuple[np.ndarray, ...]) -> Any:
        """Key of the starts that one stack can hold; None for a batch, which cannot be in a stack."""
        return self._shapes(start) if start[0].ndim == 2 else None

    def _shapes(self, start: tuple[np.ndarray, ...]) -> tuple[tuple[int, ...], ...]:
        shapes = [part.shape for part in start]
        if self.objective.bias:
            shapes[-1] += (1,)
        return tuple(shapes)

    def _rests_at_origin(self, start: tuple[np.ndarray, ...]) -> bool:
        """Whether 0 is an equilibrium. Raise a ValueError if it is not: the relative speed at 0 is undefined."""
        if not self.objective.bias and all(act.value(0.0) == 0.0 for act in self.objective.acts):
            return True
        field = self._field(start)
        parts, velocities = (field.parts(field.allocate(field.size)) for _ in range(2))
        field.pull_back(parts, velocities)
        if any(bool((velocity != 0.0).any()) for velocity in velocities):
            raise ValueError("a start of zeros has no relative speed, and is no equilibrium here: add a small value")
        return True


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
            f"device {device!r} is not available: PyTorch {torch.__version__} finds no CUDA GPU; "
            f'device="cpu" works everywhere'
        )
    if kind not in ("cpu", "cuda"):
        raise ValueError(f'device must be "cpu" or "cuda" (or "cuda:1"), got {device!r}')
    return str(device)


class RandomStart(tuple[np.ndarray, ...]):
    """Factors (W, ..., H) of a random initialization.

    Attributes
    ----------
    seed : int or None
        Seed that reproduces them by ``random_init(..., rng=seed)``; None if a Generator was given.
    """

    seed: int | None

    def __new__(cls, factors: Iterable[np.ndarray], seed: int | None = None) -> RandomStart:
        start = super().__new__(cls, factors)
        start.seed = seed
        return start


def random_init(
    *,
    classes: int,
    width: int,
    scale: float = 1e-3,
    depth: int = 2,
    batch: int | None = None,
    rng: np.random.Generator | int | None = None,
) -> RandomStart:
    """Random Gaussian initialization: independent entries of W (K, d) and H (d, K) with deviation scale/sqrt(d).

    Parameters
    ----------
    classes, width : int
        K and d.
    scale : float
    depth : int
        Number of factors; those between W and H are (d, d).
    batch : int, optional
        Number of starts, as a leading axis.
    rng : int or numpy Generator, optional
        By default a new random seed, which the result records as `seed`.

    Returns
    -------
    RandomStart
        The factors, a tuple, with the attribute ``seed``.

    Raises
    ------
    ValueError, TypeError
        Unless classes >= 2, width >= 1, depth >= 2, batch >= 1 and scale > 0 is finite.

    Examples
    --------
    >>> W, H = start = cf.random_init(classes=4, width=8, scale=0.1, rng=0)
    >>> W.shape, H.shape
    ((4, 8), (8, 4))
    >>> again = cf.random_init(classes=4, width=8, scale=0.1, rng=start.seed)
    >>> np.array_equal(again[0], W)
    True
    """
    classes, width = checked_integer("classes", classes, 2), checked_integer("width", width, 1)
    depth, lead = checked_integer("depth", depth, 2), () if batch is None else (checked_integer("batch", batch, 1),)
    if not 0.0 < checked_number("scale", scale, 0.0, 1e300):
        raise ValueError(f"scale must be positive and finite, got {scale!r}")
    seed = secrets.randbits(32) if rng is None else rng
    rng = np.random.default_rng(seed)
    shapes = [(classes, width), *[(width, width)] * (depth - 2), (width, classes)]
    factors = [rng.standard_normal(lead + shape) * (scale / math.sqrt(width)) for shape in shapes]
    return RandomStart(factors, None if isinstance(seed, np.random.Generator) else seed)
