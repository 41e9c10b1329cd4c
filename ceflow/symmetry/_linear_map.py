"""Linear maps as functions that compiled code links by address (see `kernels.linking`)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels import KERNEL, compiled, compiling, njit
from ..kernels.linking import FLOATS, INTEGER, Linked, call, linked, vector

# Arguments of the functions:
# matrix   data of the function
# x        input, which may be overwritten, and so may the number before it
# spare    work space, one more than the numbers of inputs and outputs together
# out      output
# numbers of inputs and outputs
LINEAR_MAP = (FLOATS, FLOATS, FLOATS, FLOATS, INTEGER, INTEGER)


class LinearMap(NamedTuple):
    """Linked function with the arguments `LINEAR_MAP`, its data, and its shape."""

    function: Linked
    matrix: NDArray[np.float64]
    inputs: int
    outputs: int

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply the map to every row of x (..., inputs); returns (..., outputs)."""
        rows = np.ascontiguousarray(x, float).reshape(-1, self.inputs)
        out = np.empty((len(rows), self.outputs))
        work = np.empty(self.inputs + 1)
        with compiling(getattr(self.matrix, "compiled", compiled())):
            _rows(self.function.address, self.matrix, rows, out, work, np.empty(self.inputs + self.outputs + 1))
        return out.reshape(*np.shape(x)[:-1], self.outputs)


def dense_map(matrix: NDArray[np.float64]) -> LinearMap:
    """Linear map of a matrix (outputs, inputs)."""
    matrix = np.ascontiguousarray(matrix)
    matrix.setflags(write=False)
    return LinearMap(_product, matrix, matrix.shape[1], matrix.shape[0])


@njit(**KERNEL, fastmath={"reassoc", "contract"})  # allows reordered sums, to vectorize
def multiply(matrix, x, out):
    for i in range(out.size):
        total = 0.0
        for j in range(x.size):
            total += matrix[i * x.size + j] * x[j]
        out[i] = total


@multiply.vectorized
def _multiplied(matrix, x, out):
    np.dot(matrix.reshape(out.size, x.size), x, out=out)


@linked(*LINEAR_MAP)
def _product(matrix, x, spare, out, inputs, outputs):
    multiply(vector(matrix, inputs * outputs), vector(x, inputs), vector(out, outputs))
    return 0.0


@njit(**KERNEL)
def _rows(address, matrix, rows, out, work, spare):
    for n in range(len(rows)):
        for i in range(rows.shape[1]):
            work[i + 1] = rows[n, i]
        call(address, (matrix, work[1:], spare, out[n], rows.shape[1], out.shape[1]))
