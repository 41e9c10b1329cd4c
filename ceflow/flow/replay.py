"""Sequential tasks with replay, reduced by symmetry to one class per task and one sample per class."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_choice, checked_integer, checked_number
from ._flow import Flow
from .matrix import MatrixFlow
from .objective import Objective
from .replay_field import ReplayField
from .rest import Rest
from .stacked_field import StackedReplayField

if TYPE_CHECKING:
    from ..trajectory import ReplayTrajectory  # noqa: F401  # in quotes

WEIGHTS, HEADS = ("uniform", "balanced"), ("shared", "task")
MOST_TASKS = 100
_BIGGEST = 1e100  # entries of a start


class ReplayState(NamedTuple):
    """State of `ReplayFlow`: ``3 T + (T - 1) (3 T - 1)`` numbers, 11 for two tasks.

    Let E_f be an orthonormal basis of the differences between classes of task f, F the normalized indicators of the
    tasks, Q the basis of their combinations with mean 0 over classes, and R_f and X orthonormal. Then ::

        W = sum_f a_f E_f R_f^T + F Q V X^T,    H = sum_f b_f R_f E_f^T + X Y F^T

    for trained and for unseen samples, with one column of H per class.

    Attributes
    ----------
    modes : (3, T) array
        a, b of trained samples, and b of unseen samples.
    classifier : (T - 1, T - 1) array
        Matrix V.
    features : (2, T - 1, T) array
        Y of trained and of unseen samples.
    """

    modes: NDArray[np.float64]
    classifier: NDArray[np.float64]
    features: NDArray[np.float64]


class ReplayFlow(Flow["ReplayTrajectory"]):
    """Gradient flow of cross-entropy on T tasks of equivalent classes with trained and unseen samples.

    Inputs are clustered, with the kernel ``Theta = r0 + r [same class] + v [same sample]``, ``r0 + r + v = 1``. So
    training on one sample changes the features of all samples. For symmetric starts (see `ReplayState`) the equations
    are an exact reduction of the flow on all samples (`full`), to 11 numbers for two tasks. [ceflow]

    Parameters
    ----------
    classes : (T,) ints
        Number of classes of each task, at least 2; 2 to 100 tasks.
    samples : (T,) numbers
        Number of trained samples per class of each task, possibly fractional; 0 for a task that is not trained.
    kernel : (r0, r)
        Kernel value between classes, and its increment within a class; nonnegative, with sum < 1.
    weights : {"uniform", "balanced"} or (T,) numbers
        Weight of a sample in the loss. "uniform": one over the number of trained samples. "balanced": half of the total
        weight for the last trained task, half for all others together. Or one number for each task.
    weight_decay : float or (float, float)
        lW of the classifier, and lH of the feature layer.
    heads : {"shared", "task"}
        Softmax over all classes, or over the classes of the task of the sample.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.

    Notes
    -----
    Our model [ceflow] of *Asymptotic analysis of shallow and deep forgetting in replay with Neural Collapse*
    (arXiv:2512.07400), of which we read public notes. Time has the unit of reduction "sum": only the weights multiply
    the loss. A start is a `ReplayState`, or a number s: then W and the trained H are s times ``(I - 1 1^T/K)`` in
    orthonormal coordinates, and unseen features are 0.

    Unseen samples have the velocity of their class without the private part v. So do samples of earlier tasks that are
    not in the buffer; their difference from held-out samples decays as ``exp(-lH t)`` from the switch of tasks on.

    Examples
    --------
    >>> flow = cf.ReplayFlow((2, 2), (5, 100), (0.0, 0.5), weight_decay=1e-3)  # 5 samples a class in the buffer
    >>> run = cf.integrate(flow, 0.1, 1e3, rtol=1e-6)
    >>> run.task_margin[-1].round(2)  # smallest margins of each task
    array([[4.01, 6.99],
           [3.27, 6.81]])
    """

    kind = "replay"

    def __init__(
        self,
        classes: ArrayLike,
        samples: ArrayLike,
        kernel: ArrayLike,
        *,
        weights: str | ArrayLike = "uniform",
        weight_decay: float | tuple[float, float] = 0.0,
        heads: str = "shared",
    ) -> None:
        super().__init__(Objective(reduction="sum", weight_decay=weight_decay))
        self.classes_of_tasks = _checked_classes(classes)
        self.tasks, self.classes = len(self.classes_of_tasks), int(self.classes_of_tasks.sum())
        self.samples = _one_each("samples", samples, self.tasks)
        if not np.any(self.samples > 0.0):
            raise ValueError("samples must not all be 0: nothing would be trained")
        self.kernel = checked_array("kernel", kernel, 0.0, 1.0)
        if self.kernel.shape != (2,) or not self.kernel.sum() < 1.0:
            raise ValueError(f"kernel must be (r0, r), nonnegative with sum < 1, got {kernel!r}")
        self.heads = checked_choice("heads", heads, HEADS)
        if isinstance(weights, str):
            checked_choice("weights", weights, WEIGHTS)
            self.weights = _weights(self.samples, self.classes_of_tasks, weights == "balanced")
        else:
            self.weights = np.where(self.samples > 0.0, _one_each("weights", weights, self.tasks), 0.0)
            if not np.any(self.weights > 0.0):
                raise ValueError("weights of tasks with samples must not all be 0")

    @classmethod
    def curriculum(
        cls, classes: ArrayLike, samples: float, kernel: ArrayLike, *, buffer: float = 0, **options: Any
    ) -> tuple[ReplayFlow, ...]:
        """One flow for each task, with `samples` per class of this task and `buffer` per class of earlier tasks.

        Examples
        --------
        >>> flows = cf.ReplayFlow.curriculum((2, 2), 100, (0.0, 0.5), buffer=5)
        >>> [flow.samples.tolist() for flow in flows]
        [[100.0, 0.0], [5.0, 100.0]]
        """
        count = len(_checked_classes(classes))
        samples = checked_number("samples", samples, 1e-6, 1e15)
        buffer = checked_number("buffer", buffer, 0.0, samples)
        each = [[buffer] * i + [samples] + [0.0] * (count - 1 - i) for i in range(count)]
        return tuple(cls(classes, row, kernel, **options) for row in each)

    def __repr__(self) -> str:
        own = (f"{name}={value}" for name, value in self._own.items())
        return f"ReplayFlow({', '.join(own)}, weight_decay={self.weight_decay})"

    @property
    def _own(self) -> dict[str, Any]:
        arrays = {"classes": self.classes_of_tasks, "samples": self.samples, "kernel": self.kernel}
        return {name: array.tolist() for name, array in (arrays | {"weights": self.weights}).items()} | {
            "heads": self.heads
        }

    @property
    def spec(self) -> dict[str, Any]:
        return super().spec | self._own

    @property
    def private(self) -> float:
        """Private part v of the kernel."""
        return 1.0 - float(self.kernel.sum())

    # -- states --------------------------------------------------------------------------------------------------------

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the parts of a state."""
        return (3, self.tasks), (self.tasks - 1, self.tasks - 1), (2, self.tasks - 1, self.tasks)

    @functools.cached_property
    def frame(self) -> NDArray[np.float64]:
        """Q (T, T - 1): combinations of the normalized indicators of tasks whose mean over all classes is 0."""
        return frame(self.classes_of_tasks)

    @functools.cached_property
    def separations(self) -> NDArray[np.float64]:
        """(T, T, T - 1) factors of V Y in the margins of the task of the second index over the task of the first."""
        rows = self.frame / np.sqrt(self.classes_of_tasks)[:, None]
        return (rows[None, :] - rows[:, None]) / np.sqrt(self.classes_of_tasks)[None, :, None]

    def start(self, start: float | ReplayState) -> ReplayState:
        """Check a start and convert it."""
        if not isinstance(start, (tuple, list)):
            size, T = checked_number("start", start, 1e-100, _BIGGEST), self.tasks
            modes = np.repeat([[size], [size], [0.0]], T, axis=1)
            columns = np.stack([size * self.frame.T, np.zeros((T - 1, T))])
            return ReplayState(modes, size * np.eye(T - 1), columns)
        if len(start) != 3:
            raise ValueError(f"start must be a number or the 3 parts of a ReplayState, got {len(start)} parts")
        parts = [checked_array("start", part, -_BIGGEST, _BIGGEST) for part in start]
        for part, shape in zip(parts, self.shapes, strict=True):
            if part.shape != shape:
                raise ValueError(f"start must have parts of shapes {self.shapes}, got {[p.shape for p in parts]}")
        if not any(np.any(part) for part in parts):
            raise ValueError("start must not be 0: nothing would move")
        return ReplayState(*parts)

    def origin(self, start: ReplayState) -> np.ndarray:
        """(N,) coordinates of the start."""
        return np.concatenate([part.ravel() for part in start])

    def state(self, start: ReplayState, y: np.ndarray) -> ReplayState:
        """State from coordinates (..., N), with the same leading axes."""
        return self._split(y)

    def _split(self, y: np.ndarray) -> ReplayState:
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        parts = np.split(np.array(y), ends[:-1], axis=-1)
        return ReplayState(*(p.reshape(*y.shape[:-1], *s) for p, s in zip(parts, self.shapes, strict=True)))

    def margins(self, y: np.ndarray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Margins of trained and of unseen samples at coordinates (..., N).

        The first array (..., 2, T) has margins over other classes of the same task. The second (..., 2, T, T) has
        margins of samples of the task of the last index over classes of the task of the index before; inf for equal
        tasks, and for other heads."""
        modes, V, Y = self._split(y)
        within = modes[..., :1, :] * modes[..., 1:, :]
        between = np.einsum("fgi,...sig->...sfg", self.separations, V[..., None, :, :] @ Y)
        between += (within * (1.0 - 1.0 / self.classes_of_tasks))[..., None, :]
        none = np.eye(self.tasks, dtype=bool) if self.heads == "shared" else True
        return within, np.where(none, np.inf, between)

    # -- motion --------------------------------------------------------------------------------------------------------

    def motion(self, start, y, log_t, rtol, atol=0.0, closed_form=True) -> ReplayField:
        """The vector field."""
        return ReplayField(self)

    def stacked(self, start: ReplayState, members: int) -> StackedReplayField:
        """Field of any number of runs, each with its own clock."""
        return StackedReplayField(self)

    def alike(self, start: ReplayState) -> Any:
        """Key of the starts that one stack can hold: all of them."""
        return self.shapes

    def segment(self, kind: str, start, y: np.ndarray, log_t: float) -> Rest:
        """Closed form "rest" from the state y on."""
        if kind != Rest.kind:
            raise ValueError(f"a replay flow has no closed form {kind!r}")
        return Rest(y, log_t)

    # -- all samples ---------------------------------------------------------------------------------------------------

    def labels(self, columns: ArrayLike) -> NDArray[np.int64]:
        """(N,) class of each sample, for `columns` (T,) samples per class of each task."""
        columns = np.asarray(columns)
        if columns.dtype.kind not in "iu" or columns.shape != (self.tasks,) or columns.min() < 1:
            raise ValueError(f"columns must be ({self.tasks},) integers of at least 1, got {columns!r}")
        return np.repeat(np.arange(self.classes), np.repeat(columns, self.classes_of_tasks))

    def full(self, columns: ArrayLike, **options: Any) -> MatrixFlow:
        """Flow on all samples, with one column of H per sample.

        Parameters
        ----------
        columns : (T,) ints
            Number of columns per class of each task. The first columns of a class are trained, the others are unseen.
            With equal `columns`, a flow of a curriculum can start from the final state of the one before.
        **options
            Options of `ceflow.MatrixFlow`: backend, device, dtype.
        """
        labels, trained = self.labels(columns), self._first(self.samples, columns)
        r0, r = self.kernel
        theta = r0 + r * np.equal.outer(labels, labels) + self.private * np.eye(len(labels))
        if self.heads == "task":
            raise ValueError('full needs heads="shared": MatrixFlow has no heads of tasks')
        weights = np.where(trained, np.repeat(self.weights, self.classes_of_tasks)[labels], 0.0)
        return MatrixFlow(
            labels=labels.tolist(), weights=weights.tolist(), kernel=theta, reduction="sum",
            weight_decay=self.weight_decay, **options,
        )  # fmt: skip

    def lift(
        self,
        start: float | ReplayState,
        columns: ArrayLike,
        *,
        seen: ArrayLike | None = None,
        width: int | None = None,
        rng: Any = 0,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Full matrices W (K, d) and H (d, N) of a state.

        Parameters
        ----------
        start : float or ReplayState
        columns : (T,) ints
            As in `full`.
        seen : (T,) ints, optional
            Number of columns of each class that have the features of trained samples; default the trained ones. Samples
            of later tasks have them too, before they are trained.
        width : int, optional
            Feature dimension d >= K - 1.
        rng : int or numpy Generator
            Seed or generator of the orthonormal coordinates.
        """
        modes, V, Y = self.start(start)
        least = self.classes - 1
        width = least if width is None else checked_integer("width", width, least)
        basis = np.linalg.qr(np.random.default_rng(rng).standard_normal((width, least)))[0]
        X, rest = basis[:, : self.tasks - 1], basis[:, self.tasks - 1 :]
        indicators = np.repeat(np.eye(self.tasks) / np.sqrt(self.classes_of_tasks), self.classes_of_tasks, axis=0)
        W = indicators @ self.frame @ V @ X.T
        H = np.stack([X @ part @ indicators.T for part in Y])
        row = column = 0
        for f, size in enumerate(self.classes_of_tasks):
            R, E = rest[:, column : column + size - 1], frame(np.ones(size))
            W[row : row + size] += modes[0, f] * E @ R.T
            H[:, :, row : row + size] += modes[1:, f, None, None] * (R @ E.T)
            row, column = row + size, column + size - 1
        labels = self.labels(columns)
        trained = self._first(self.samples if seen is None else seen, columns)
        return W, np.where(trained, H[0][:, labels], H[1][:, labels])

    def inputs(self, columns: ArrayLike, dimension: int, rng: Any = 0) -> NDArray[np.float64]:
        """Random inputs X (dimension, N) with private parts ``N(0, v I / dimension)``, so that unseen samples scatter.

        Columns are as in `full`. As the frozen last of three layers, X has the kernel X^T X."""
        labels = self.labels(columns)
        dimension = checked_integer("dimension", dimension, self.classes + 1)
        rng = np.random.default_rng(rng)
        clusters = np.linalg.qr(rng.standard_normal((dimension, self.classes + 1)))[0]
        r0, r = self.kernel
        private = rng.standard_normal((dimension, len(labels))) * math.sqrt(self.private / dimension)
        return math.sqrt(r0) * clusters[:, -1:] + math.sqrt(r) * clusters[:, labels] + private

    def _first(self, count: ArrayLike, columns: ArrayLike) -> NDArray[np.bool_]:
        """(N,) whether a column is among the first `count` columns of its class; count (T,) is per task."""
        labels, count = self.labels(columns), _one_each("samples", count, self.tasks)
        if np.any(count != np.round(count)) or np.any(count > np.asarray(columns)):
            raise ValueError(f"samples must be integers up to the columns {columns!s}, got {count.tolist()}")
        begins = np.searchsorted(labels, labels)
        return np.arange(len(labels)) - begins < np.repeat(count, self.classes_of_tasks)[labels]


def frame(sizes: NDArray) -> NDArray[np.float64]:
    """(T, T - 1) orthonormal columns, orthogonal to the square roots of the sizes: Helmert's contrasts."""
    sizes = np.asarray(sizes, float)
    root, before = np.sqrt(sizes), np.cumsum(sizes)[:-1]
    upper = np.triu(np.outer(root, root[1:])) - np.vstack([np.zeros(len(before)), np.diag(before)])
    return upper / np.sqrt(before * (before + sizes[1:]))


def _checked_classes(classes: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(classes)
    if array.dtype.kind not in "iu":
        raise TypeError(f"classes must be integers, got dtype {array.dtype}")
    if array.ndim != 1 or not 2 <= len(array) <= MOST_TASKS or array.min() < 2 or array.max() > 10**6:
        raise ValueError(f"classes must be of 2 to {MOST_TASKS} tasks, 2 to 10^6 each, got {array.tolist()}")
    return array.astype(np.int64)


def _one_each(name: str, values: ArrayLike, tasks: int) -> NDArray[np.float64]:
    array = checked_array(name, values, 0.0, 1e15)
    if array.shape != (tasks,):
        raise ValueError(f"{name} must have one number for each of {tasks} tasks, got shape {array.shape}")
    return array


def _weights(samples: NDArray, classes: NDArray, balanced: bool) -> NDArray[np.float64]:
    """(T,) weight of a sample of each task."""
    counts = samples * classes
    last = np.arange(len(counts)) == np.flatnonzero(counts)[-1]
    parts = [last, ~last] if balanced and np.any(counts[~last]) else [np.full(len(counts), True)]
    totals = sum(np.where(part, counts[part].sum(), 0.0) for part in parts)
    return np.where(counts > 0.0, 1.0 / (len(parts) * totals), 0.0)
