"""Vector fields: what a solver integrates. It knows nothing else of a flow.

A field gives the velocity of a state y in a clock tau in which the state moves at a steady rate, and ``phi = log(dt /
dtau)``, of which the solver makes time. Two kinds of field have the same face: `CompiledField`, whose functions are
linked by address into a compiled loop, and any object with these methods on arrays of NumPy or PyTorch:

    size                           N, the numbers of a state
    has_equilibria                 whether there are equilibria at finite distance, where the clock runs like time
    allocate(*shape)               an array for states
    rates(y, dy) -> (phi, a)       writes dy/dtau; a is minus the log odds of what drives the flow, see `solve.clock`
    combine(y, h, w, k, n, out)    out = y + h * (w[:n] @ k[:n])
    norm(error, y, dy, rtol, atol) size of an error in units of the tolerance, at a state y of velocity dy
    event(y, dy, rtol) -> Event    whether the solver should go on

What implicit steps take besides is made of these by differences (`solve.stability`). A field may have `settling`, how
many of its numbers, the first ones, come to rest at an equilibrium, where these are not all; and ``share_that_moves(y)
-> float``, how much is left at y of what forces would do that do not cancel.
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
# and of `LaneFields`, of series of so many coefficients
START = (*OWN, FLOATS, INTEGER, FLOAT)  # state, order, rtol
SERIES = (*OWN, FLOATS, FLOATS, INTEGER)  # state, coefficients of its rates, order


class Event(enum.IntEnum):
    """What a field says of a state."""

    NONE = 0
    CHANGE = 1  # what moves the state has to be looked at again: a closed form may take over, a mode has vanished
    REST = 2  # the state has come to rest
    CROSSING = 3  # a place has been crossed where the field changes: the step is to end there, then as CHANGE


class Functions(NamedTuple):
    """A compiled field as compiled loops see it: addresses of its functions, and what they work on. Where these are
    interpreted, there are functions of Python in place of the addresses."""

    rates: int
    norm: int
    event: int
    data: np.ndarray  # float64
    layout: np.ndarray  # int64
    scratch: np.ndarray  # float64


class LaneFields(NamedTuple):
    """Fields of one kind, one a run, as Taylor series of LANES runs at once, number by number (see `kernels.lanes`).

    A state is n numbers, and after them come their n rates and the clock, three numbers. The series are those of a
    place rho that begins at 0 in each step. The last number of a state is part of the time in the step: ``dt/drho =
    exp(log_unit) (exp(m + bend rho) + its rate)``. The start writes the rates, and of the clock m, and what is not 0
    where the field is to be looked at again. The series, after the start at the same state, writes the coefficients of
    the rates, number by number, and the bend, the third number of the clock.
    """

    start: int
    series: int
    data: np.ndarray  # (m, s) of each field
    lane_layout: np.ndarray
    log_unit: float
    units: np.ndarray  # (m, N): a number of the path is a unit times that of the state
    numbers: int  # n of a state, an even number: N and time, and a zero if need be
    spaces: int  # numbers that start and series work in,
    spaces_a_coefficient: int  # and those besides for each coefficient


@njit(**KERNEL, fastmath={"contract"})
def combine(y, h, w, k, n, out):
    """``out = y + h * (w[:n] @ k[:n])`` (kernel)."""
    if y.size < 8:  # no loop over vectors
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
    """A field of linked functions. The methods call them one by one; a compiled loop takes `functions`. They are
    compiled ones, or interpreted ones, as `ceflow.kernels.compiled` says where the field is made.

    Parameters
    ----------
    size : int
    functions : Functions
    has_equilibria : bool
    matrices : tuple of arrays
        What else the functions reach by address, kept alive.
    settling : int, optional
        How many of the numbers, the first ones, come to rest at an equilibrium; all when left out.
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
        """The CPU time, in microseconds, that an interpreted evaluation is reckoned at, with its share of a step: right
        within a factor of 2 or 3. What is laid out is looped over in Python, most of the data by NumPy."""
        return 30.0 + 5.0 * self.functions.layout.size + 0.6 * self.functions.data.size

    def count(self, evaluations: int) -> None:
        """Counts the work of evaluations, if they were interpreted."""
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
        """Rates at the rows of y, into those of dy, and into the entries of phi and a."""
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
