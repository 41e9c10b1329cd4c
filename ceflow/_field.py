"""Vector fields: the interface between a flow and a solver.

A field gives the velocity of a state y with respect to a clock tau in which the state moves at a steady rate, and ``phi
= log(dt / dtau)``, from which the solver computes time. There are two kinds of field: `CompiledField`, whose functions
are linked by address into a compiled loop, and any object with these methods on arrays of NumPy or PyTorch:

    size                           N, the length of a state
    has_equilibria                 whether there are finite equilibria, where the clock is proportional to time
    allocate(*shape)               an array for states
    rates(y, dy) -> (phi, a)       writes dy/dtau; a is minus the log odds of error, see `solve.clock`
    combine(y, h, w, k, n, out)    out = y + h * (w[:n] @ k[:n])
    norm(error, y, dy, rtol, atol) size of an error in units of the tolerance, at a state y of velocity dy
    event(y, dy, rtol) -> Event    whether the solver continues

Implicit steps approximate derivatives by differences (`solve.stability`). A field may have `settling`, the number of
leading components that converge at an equilibrium (default all), and ``share_that_moves(y) -> float``, the size of the
net force at y relative to the sum of its parts.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

import numpy as np

from .kernels import KERNEL, compiled, njit
from .kernels.compilation import process
from .kernels.linking import FLOAT, FLOATS, INTEGER, INTEGERS, call

# Arguments of the linked functions of a compiled field: its data, its layout and its scratch space first.
OWN = (FLOATS, INTEGERS, FLOATS)
RATES = (*OWN, FLOATS, FLOATS, FLOATS)  # y, dy, a (written) -> phi
NORM = (*OWN, FLOATS, FLOATS, FLOATS, FLOAT, FLOAT)  # error, y, dy, rtol, atol -> size
EVENT = (*OWN, FLOATS, FLOATS, FLOAT)  # y, dy, rtol -> Event
# and of `LaneFields`, for series with `order` coefficients
START = (*OWN, FLOATS, INTEGER, FLOAT)  # state, order, rtol
SERIES = (*OWN, FLOATS, FLOATS, INTEGER)  # state, coefficients of its rates, order


class Event(enum.IntEnum):
    """Event reported by a field at a state."""

    NONE = 0
    CHANGE = 1  # the field must be chosen again: a closed form may apply, or a mode has vanished
    REST = 2  # the state is at rest
    CROSSING = 3  # the field changes at a point within the step: end the step there, then as CHANGE


class Functions(NamedTuple):
    """A compiled field as seen by compiled loops: addresses of its functions, and their data.

    In interpreted mode the addresses are replaced by Python functions."""

    rates: int
    norm: int
    event: int
    data: np.ndarray  # float64
    layout: np.ndarray  # int64
    scratch: np.ndarray  # float64


class LaneFields(NamedTuple):
    """Fields of one kind, one per run, as Taylor series of LANES runs at once (see `kernels.lanes`).

    A state has n numbers, followed by their n rates and three numbers of the clock. Series are in a variable rho that
    is 0 at the start of each step. The last number of a state is a part of the time: ``dt/drho = exp(log_unit) (exp(m +
    bend rho) + its rate)``. `start` writes the rates, the clock's m, and a flag that is nonzero if the field must be
    chosen again. `series`, called after `start` at the same state, writes the coefficients of the rates, and bend, the
    third number of the clock.
    """

    start: int
    series: int
    data: np.ndarray  # (m, s) of each field
    lane_layout: np.ndarray
    log_unit: float
    units: np.ndarray  # (m, N): units of the state in the path
    numbers: int  # n of a state: N and time
    spaces: int  # work space of start and series,
    spaces_a_coefficient: int  # and more for each coefficient


@njit(**KERNEL, fastmath={"contract"})
def combine(y, h, w, k, n, out):
    """``out = y + h * (w[:n] @ k[:n])`` (kernel)."""
    if y.size < 8:  # too short for a vectorized loop
        for i in range(y.size):
            total = 0.0
            for j in range(n):
                total += w[j] * k[j, i]
            out[i] = y[i] + h * total
        return
    for start in range(0, y.size, 1024):  # blocks that stay in the first-level cache
        block = out[start : start + 1024]
        source = y[start : start + 1024]
        for i in range(block.size):  # a loop compiles much faster than an assignment to a slice
            block[i] = source[i]
        for j in range(n):
            weight = h * w[j]
            if weight != 0.0:
                stage = k[j, start : start + 1024]
                for i in range(block.size):
                    block[i] += weight * stage[i]


@combine.vectorized
def _combine(y, h, w, k, n, out):
    np.dot(w[:n], k[:n], out=out)
    out *= h
    out += y


# Not of `Functions`: where Python calls, a look at the types of a tuple takes longer than all of this.
@njit(**KERNEL)
def _rates(rates, data, layout, scratch, y, dy, a):
    return call(rates, (data, layout, scratch, y, dy, a))


@njit(**KERNEL)
def _rates_of_rows(f, y, dy, phi, a):
    for i in range(len(y)):
        phi[i] = call(f.rates, (f.data, f.layout, f.scratch, y[i], dy[i], a[i:]))


@njit(**KERNEL)
def _norm(norm, data, layout, scratch, error, y, dy, rtol, atol):
    return call(norm, (data, layout, scratch, error, y, dy, rtol, atol))


@njit(**KERNEL)
def _event(event, data, layout, scratch, y, dy, rtol):
    return call(event, (data, layout, scratch, y, dy, rtol))


class CompiledField:
    """Field of linked functions. The methods call them one by one; a compiled loop uses `functions`.

    `ceflow.kernels.compiled` determines, when the field is made, whether they are compiled or interpreted.

    Parameters
    ----------
    size : int
    functions : Functions
    has_equilibria : bool
    matrices : tuple of arrays
        Arrays that the functions access by address, kept alive.
    settling : int, optional
        Number of leading components that converge at an equilibrium; default all.
    """

    def __init__(
        self, size: int, functions: Functions, has_equilibria: bool, matrices: tuple[np.ndarray, ...] = (),
        settling: int | None = None,
    ) -> None:  # fmt: skip
        self.size, self.functions, self.has_equilibria, self._matrices = size, functions, has_equilibria, matrices
        self.settling = size if settling is None else settling
        self.compiled = compiled()
        self._a = np.empty(1)

    @property
    def work(self) -> float:
        """Estimated CPU time in microseconds of an interpreted evaluation and its share of a step, within a factor of
        3.

        Entries of the layout are looped over in Python, most of the data by NumPy."""
        return 30.0 + 5.0 * self.functions.layout.size + 0.6 * self.functions.data.size

    def count(self, evaluations: int) -> None:
        """Add the work of interpreted evaluations to the count."""
        if not self.compiled:
            process.work += evaluations * self.work

    def allocate(self, *shape: int) -> np.ndarray:
        return np.empty(shape)

    def rates(self, y, dy) -> tuple[float, float]:
        self.count(1)
        f = self.functions
        phi = _rates.of(self.compiled)(f.rates, f.data, f.layout, f.scratch, y, dy, self._a)
        return phi, float(self._a[0])

    def rates_of_rows(self, y, dy, phi, a) -> None:
        """Write the rates at the rows of y to dy, phi and a."""
        self.count(len(y))
        _rates_of_rows.of(self.compiled)(self.functions, y, dy, phi, a)

    def combine(self, y, h, w, k, n, out) -> None:
        combine.of(self.compiled)(y, h, w, k, n, out)

    def norm(self, error, y, dy, rtol: float, atol: float) -> float:
        f = self.functions
        return _norm.of(self.compiled)(f.norm, f.data, f.layout, f.scratch, error, y, dy, rtol, atol)

    def event(self, y, dy, rtol: float) -> Event:
        f = self.functions
        return Event(int(_event.of(self.compiled)(f.event, f.data, f.layout, f.scratch, y, dy, rtol)))
