"""Products with the gaps of a scheme, as functions that compiled code links by address (see `kernels.linking`)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels import in_one_life, njit
from ..kernels.lanes import LANES, load, splat, store
from ..kernels.linking import FLOATS, INTEGER, Linked, call, linked, vector
from ._linear_map import multiply

# Arguments of the functions, with D modes:
# matrix   data of the transform, or unused
#   work     (D + 1) numbers, from the second on m_i s_i / K for margins, k_j p_j for forces; may be overwritten
#   spare    (D + 1) numbers, overwritten
#   out      (D) numbers, the result
#   D
TRANSFORM = (FLOATS, FLOATS, FLOATS, FLOATS, INTEGER)


class Transform(NamedTuple):
    """Linked function with the arguments `TRANSFORM`, its matrix, and optionally a version for vectors of LANES numbers
    (see `kernels.lanes`)."""

    function: Linked
    matrix: NDArray[np.float64]
    by_lanes: Linked | None = None

    @in_one_life
    def rows(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply the transform to every row of x (n, D)."""
        return _rows(self.function.address, self.matrix, x)


class Transforms(NamedTuple):
    """Transforms that a scheme provides to the flow.

    Attributes
    ----------
    margins, forces : Transform
        From ``m_i s_i / K`` to margins, and from ``k_j p_j`` to forces; accurate relative to the sum of the inputs.
    single_forces : Transform
        As `forces`, each with full relative accuracy.
    """

    margins: Transform
    forces: Transform
    single_forces: Transform

    @classmethod
    def dense(cls, gaps: NDArray[np.float64]) -> Transforms:
        """Transforms by the matrix of gaps (D, D); for nonnegative inputs every result has full relative accuracy."""
        transposed = gaps if np.array_equal(gaps, gaps.T) else np.ascontiguousarray(gaps.T)
        transposed.setflags(write=False)
        forces = Transform(_product, gaps, _product_by_lanes)
        return cls(Transform(_product, transposed, _product_by_lanes), forces, forces)


@linked(*TRANSFORM)
def _product(matrix, work, spare, out, modes):
    multiply(vector(matrix, modes * modes), vector(work, modes + 1)[1:], vector(out, modes))
    return 0.0


@linked(*TRANSFORM)
def _product_by_lanes(matrix, work, spare, out, modes):
    matrix, work, out = vector(matrix, modes * modes), vector(work, (modes + 1) * LANES), vector(out, modes * LANES)
    for j in range(modes):
        total = splat(0.0)
        for i in range(modes):
            total = total + matrix[j * modes + i] * load(work, (i + 1) * LANES)
        store(out, j * LANES, total)
    return 0.0


@njit(cache=True)
def _rows(address: int, matrix: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    modes = x.shape[1]
    out, work, spare = np.empty_like(x), np.empty(modes + 1), np.empty(modes + 1)
    for n in range(len(x)):
        for i in range(modes):  # a loop compiles much faster than an assignment to a slice
            work[i + 1] = x[n, i]
        call(address, (matrix, work, spare, out[n], modes))
    return out
