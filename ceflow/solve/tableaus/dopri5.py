"""DOPRI5: the explicit pair of order 5(4) by Dormand and Prince with Shampine's interpolant of order 4.

Coefficients from Hairer, Norsett and Wanner, *Solving Ordinary Differential Equations I*, 2nd ed., sections II.5 and
II.6. It is faster than DOP853 at loose tolerances only.
"""

from __future__ import annotations

import numpy as np

from ._tableau import Tableau

_A = np.zeros((7, 7))
_A[1, :1] = [1 / 5]
_A[2, :2] = [3 / 40, 9 / 40]
_A[3, :3] = [44 / 45, -56 / 15, 32 / 9]
_A[4, :4] = [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729]
_A[5, :5] = [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656]
_A[6, :6] = [35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84]
_E = np.array([71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40])
_D = np.array([
    -12715105075 / 11282082432, 0.0, 87487479700 / 32700410799, -10690763975 / 1880347072,
    701980252875 / 199316789632, -1453857185 / 822651844, 69997945 / 29380423,
])  # fmt: skip
_FIRST, _LAST = np.eye(7)[[0, 6]]

DOPRI5 = Tableau(
    name="dopri5",
    order=5,
    error_order=5,
    last=6,
    coefficients=_A,
    estimates=_E[None],
    interpolant=np.array([_A[6], _FIRST - _A[6], 2 * _A[6] - _FIRST - _LAST, _D]),
    samples=0.5 - 0.5 * np.cos(np.pi * np.arange(6) / 5),  # Chebyshev-Lobatto points
)
