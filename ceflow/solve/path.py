"""Path of a run, for dense output.

Only the states between the steps are stored. A state within a step is computed by repeating this step, so memory is one
state per step. Segments of a path are `Steps`, or closed forms of a flow. All have a kind, an initial state y and
log_t, and ``sample(log_t)``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._arrays import host
from .implicit import stepper
from .stepping import DEFAULT


class Steps:
    """Integrated segment of a path.

    Attributes
    ----------
    field : callable
        Returns the vector field.
    y : (n + 1, N) array of states at the step ends, on the host or on the device of the flow
    h : (n,) array of step sizes in the clock
    log_t : (n + 1,) array of log times at the step ends
    method : str
        Name of the tableau, see `solve.tableaus`, or of the implicit method.
    end : pair of the last log time, within the last step, and the state (N,) there; if known
    """

    kind = "steps"

    def __init__(self, field: Callable, y: np.ndarray, h: np.ndarray, log_t: np.ndarray, method: str = DEFAULT) -> None:
        self.field, self.y, self.h, self.log_t, self.method = field, y, h, log_t, method
        self.end: tuple[float, np.ndarray] | None = None

    @staticmethod
    def joined(pieces: list[Steps], field: Callable) -> list[Steps]:
        """Join consecutive pieces to one segment, if any; `field` returns its field."""
        if not pieces:
            return []
        first, *others = pieces
        y, h, log_t = first.y, first.h, first.log_t
        if others:
            y = np.concatenate([host(y), *(host(piece.y[1:]) for piece in others)])
            h = np.concatenate([piece.h for piece in pieces])
            log_t = np.concatenate([log_t, *(piece.log_t[1:] for piece in others)])
        whole = Steps(field, y, h, log_t, first.method)
        whole.end = pieces[-1].end
        return [whole]

    def sample(self, log_t: np.ndarray) -> np.ndarray:
        """States (m, N) at the given log times, each within the segment."""
        if self.end is not None and len(log_t) and log_t[-1] == self.end[0]:
            end = self.end[1][None]
            return np.concatenate([self.sample(log_t[:-1]), end]) if len(log_t) > 1 else end
        if np.count_nonzero(log_t[1:] < log_t[:-1]):
            order = np.argsort(log_t)
            out = np.empty((len(log_t), len(self.y[0])))
            out[order] = self.sample(log_t[order])
            return out
        step = self.log_t.searchsorted(log_t, "right") - 1
        if np.count_nonzero(self.log_t[step] == log_t) == len(log_t):
            return host(self.y[step])
        own = stepper(self.field(), self.method)  # a new stepper, so that sampling is thread-safe
        return own.sample(self.y, self.h, self.log_t, log_t)


class Path:
    """Consecutive segments of a run, integrated or in closed form."""

    def __init__(self, segments: list) -> None:
        self.segments = segments

    def sample(self, log_t: np.ndarray) -> np.ndarray:
        """States (m, N) at the log times (m,), -inf for t = 0."""
        log_t = np.atleast_1d(np.asarray(log_t, float))
        begins = np.array([np.ravel(segment.log_t)[0] for segment in self.segments])
        which = np.maximum(np.searchsorted(begins, log_t, side="right") - 1, 0)
        out = np.empty((len(log_t), self.segments[0].y.shape[-1]))
        for i in np.unique(which):
            out[which == i] = self.segments[i].sample(log_t[which == i])
        return out
