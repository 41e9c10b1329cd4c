"""The path of a run, kept so that any moment of it can be had again.

Only the states between the steps are kept. A moment within a step is found by redoing that one step, so a path costs
one state a step, however fine it is sampled later.
"""

from __future__ import annotations

import numpy as np

from ..matrix import as_like, host
from ..spectral import SpectralSystem
from .stepper import Workspace, sample, sample_compiled


class Steps:
    """A stretch of the path that was integrated.

    Attributes
    ----------
    y : (n + 1, N) array of states at the knots, or a list of them where they still are on a device
    h : (n,) array of step sizes in the clock
    log_t : (n + 1,) array of log times at the knots
    end : pair of the log time where the run ends, within the last step, and the state (N,) there; if it is known
    """

    kind = "steps"

    def __init__(self, mover, y: np.ndarray | list, h: np.ndarray, log_t: np.ndarray) -> None:
        self.mover, self.y, self.h, self.log_t = mover, y, h, log_t
        self.end: tuple[float, np.ndarray] | None = None

    def sample(self, log_t: np.ndarray) -> np.ndarray:
        """States (m, N) at the given log times, each within the stretch."""
        out = np.empty((len(log_t), len(self.y[0])))
        if self.end is not None and len(log_t) and log_t[-1] == self.end[0]:
            out[-1] = self.end[1]
            if len(log_t) > 1:
                out[:-1] = self.sample(log_t[:-1])
            return out
        step = np.searchsorted(self.log_t, log_t, side="right") - 1
        exact = self.log_t[step] == log_t
        if isinstance(self.y, np.ndarray):
            out[exact] = self.y[step[exact]]
        else:
            for row in np.flatnonzero(exact):
                out[row] = host(self.y[step[row]])
        if exact.all():
            return out
        system = self.mover()  # scratch space of its own: sampling from several threads is safe
        work = Workspace.of(system, out.shape[1])
        call = sample_compiled if isinstance(system, SpectralSystem) else sample
        for i in np.unique(step[~exact]):
            rows = np.flatnonzero((step == i) & ~exact)
            found = system.allocate(len(rows), out.shape[1])
            work.y[:] = as_like(self.y[i], work.y)
            call(system, work, self.h[i], self.log_t[i], self.log_t[i + 1], log_t[rows], found)
            out[rows] = host(found)
        return out


class Path:
    """The stretches of a run, one after another: integrated, or followed in closed form."""

    def __init__(self, stretches: list) -> None:
        self.stretches = stretches

    def sample(self, log_t: np.ndarray) -> np.ndarray:
        """States (m, N) at the log times (m,), -inf for t = 0."""
        log_t = np.atleast_1d(np.asarray(log_t, float))
        begins = np.array([np.ravel(stretch.log_t)[0] for stretch in self.stretches])
        which = np.maximum(np.searchsorted(begins, log_t, side="right") - 1, 0)
        out = np.empty((len(log_t), self.stretches[0].y.shape[-1]))
        for i in np.unique(which):
            out[which == i] = self.stretches[i].sample(log_t[which == i])
        return out
