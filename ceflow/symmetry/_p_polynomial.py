"""Eigenmatrices of distance-regular graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def p_polynomial(theta: NDArray[Any], b: NDArray[Any], c: NDArray[Any]) -> NDArray[Any]:
    """Exact eigenmatrix from the eigenvalues of relation 1 and the intersection numbers of a distance-regular graph.

    The recurrence ``A_1 A_j = b_{j-1} A_{j-1} + (b_0 - b_j - c_j) A_j + c_{j+1} A_{j+1}`` (Bannai & Ito, III.1), on
    (D + 1,) arrays of Python integers.
    """
    p = [np.ones_like(theta), theta]
    for j in range(1, len(theta) - 1):
        p.append(((theta - b[0] + b[j] + c[j]) * p[j] - b[j - 1] * p[j - 1]) // c[j + 1])
    return np.stack(p, axis=1)
