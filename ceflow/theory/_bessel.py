"""Riccati equation of one mode with decaying imbalance, solved by modified Bessel functions of any order and argument.

``dP/dt = 2 r P - P^2/2 + D^2/2`` with ``D(t) = D_0 exp(-2 l t)``. P = 2 w'/w makes it linear: ``w = exp(r t) (I_nu(z) +
C K_nu(z))``, nu = r/(2 l), z = |D|/(4 l). So P is a weighted mean of two solutions, P_I < 0 for w = exp(r t) I and P_K
> 0 for w = exp(r t) K, and the weights depend on K/I only. Each of these three is computed without overflow and without
cancellation for all t, l and D. Methods in the order of decreasing z:

    nu or z large    expansions uniform in both (DLMF 10.41); for l = 0 they are the elementary solution
    else             series of I, recurrence of K_(nu+1) / K_nu
    z tiny           D is below rounding: a logistic curve
"""

from __future__ import annotations

import functools

import numpy as np
import scipy
from numpy.typing import NDArray

Array = NDArray[np.float64]

TERMS = 13  # terms of the expansions; the next term is below rounding
LARGE = 50.0  # smallest order for the expansions at any argument ...
FAR = 55.0  # ... and smallest argument at lower orders
TINY = 1e-17  # argument below which D is negligible
TINY_SQUARE = 1e-300  # P that counts as 0, an equilibrium


def advance(P: Array, D: Array, r: Array, decay: float, t: Array) -> Array:
    """P at time t of the solution with P and D at time 0. All (N,); r > 0 without decay."""
    P, D, passed = P.copy(), np.abs(D), np.zeros_like(t)
    always = (r >= 2.0 * decay * LARGE) & (D > 0.0)

    def until(argument: float) -> Array:
        """Time at which z equals an argument."""
        with np.errstate(divide="ignore", invalid="ignore"):
            time = np.maximum(np.log(D) - np.log(4.0 * decay * argument), 0.0) / (2.0 * decay)
        return np.where(always, np.inf, time if decay > 0.0 else 0.0)

    stages = ((_uniform, until(FAR)), (_series, until(TINY)), (_logistic, np.full_like(t, np.inf)))
    for solution, end in stages:
        span = np.minimum(t, end) - passed
        moves = (span > 0.0) & (P > TINY_SQUARE)
        P[moves] = solution(P[moves], D[moves], r[moves], decay, span[moves])
        D, passed = D * np.exp(-2.0 * decay * np.maximum(span, 0.0)), np.maximum(passed, np.minimum(t, end))
    return P


def _logistic(P: Array, D: Array, r: Array, decay: float, t: Array) -> Array:
    still = r == 0.0
    reach = np.where(still, t, -np.expm1(-2.0 * r * t) / np.where(still, 1.0, 2.0 * r))
    return P / (np.exp(-2.0 * r * t) + 0.5 * P * reach)


def _mean(P: Array, first: tuple[Array, Array], last: tuple[Array, Array], log_growth: Array) -> Array:
    """P from (P_I, P_K) at both ends and the logarithm of the growth of K/I."""
    over, under = P - first[0], (first[1] - P) * np.exp(-log_growth)
    return (over * last[1] + under * last[0]) / (over + under)


# -- large order or argument ------------------------------------------------------------------------------------------


@functools.cache
def _polynomials() -> tuple[Array, Array]:
    """Coefficients, in powers of p^2, of u_k(p) / p^k and of (u_k/2 + p u_k') / p^k, which give v_k (DLMF 10.41.10)."""
    from fractions import Fraction

    u, rows = {0: Fraction(1)}, []
    for k in range(TERMS):
        rows.append([u.get(k + 2 * j, Fraction(0)) for j in range(TERMS)])
        following: dict[int, Fraction] = {}
        for n, c in u.items():
            for power, factor in ((n + 1, Fraction(n, 2) + Fraction(1, 8 * (n + 1))),
                                  (n + 3, -Fraction(n, 2) - Fraction(5, 8 * (n + 3)))):  # fmt: skip
                following[power] = following.get(power, Fraction(0)) + c * factor
        u = following
    first = np.array(rows, float)
    k, j = np.indices(first.shape)
    return first, first * (0.5 + k + 2 * j)


def _sums(size: Array, p: Array, sign: float) -> tuple[Array, Array]:
    """Sums over k >= 1 of ``(sign / size)^k`` times u_k / p^k, and times the terms of V - U."""
    powers = (sign / size[:, None]) ** np.arange(TERMS + 1)
    u, w = (np.polynomial.polynomial.polyval(p**2, table.T) for table in _polynomials())
    return (powers[:, :-1].T * u).sum(axis=0), (powers[:, 1:].T * w).sum(axis=0)


def _uniform(P: Array, D: Array, r: Array, decay: float, t: Array) -> Array:
    ends = D, D * np.exp(-2.0 * decay * t)
    pairs, quotients, speeds = [], [], []
    for now in ends:
        mu = np.hypot(r, now / 2.0)  # 2 l sqrt(nu^2 + z^2)
        with np.errstate(divide="ignore"):
            size = mu / (2.0 * decay) if decay > 0.0 else np.full_like(mu, np.inf)
        (u, w), (U, W) = _sums(size, r / mu, 1.0), _sums(size, r / mu, -1.0)
        quarter = (now / 2.0) ** 2
        pairs.append((-2.0 * quarter * (1.0 / (mu + r) - w / (mu * u)), 2.0 * (r + mu - quarter * W / (mu * U))))
        quotients.append(np.log(U / u))
        speeds.append(mu)
    # integral of mu over time
    swing = (D / 2.0) ** 2 * (2.0 * t * scipy.special.exprel(-4.0 * decay * t)) / (speeds[0] + speeds[1])
    shift = swing / (r + speeds[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        y = 2.0 * decay * shift
        turned = shift * np.where(y > 0.0, np.log1p(y) / y, 1.0)
        growth = 2.0 * (swing + r * (t - turned)) + quotients[1] - quotients[0]
    return _mean(P, pairs[0], pairs[1], np.where(np.isfinite(swing), growth, np.inf))


# -- moderate order and argument --------------------------------------------------------------------------------------


def _series(P: Array, D: Array, r: Array, decay: float, t: Array) -> Array:
    nu = r / (2.0 * decay)
    pairs, logarithms = [], []
    for now in (D, D * np.exp(-2.0 * decay * t)):
        z = now / (4.0 * decay)
        size, above = (scipy.special.hyp0f1(nu + n, z**2 / 4.0) for n in (1, 2))
        i = z**2 / (2.0 * (nu + 1.0)) * above / size  # z I_(nu+1) / I_nu
        k = _of_second_kind(nu, z)
        pairs.append((-4.0 * decay * i, 4.0 * decay * k))
        logarithms.append(-np.log(i + k) - 2.0 * np.log(size))  # of K/I over z^(-2 nu), by the Wronskian
    return _mean(P, pairs[0], pairs[1], 2.0 * r * t + logarithms[1] - logarithms[0])


def _of_second_kind(nu: Array, z: Array) -> Array:
    """z K_(nu+1)(z) / K_nu(z), by the recurrence from the order in [-1/2, 1/2]."""
    steps = np.rint(nu)
    order = nu - steps
    found = z * scipy.special.kve(order + 1.0, z) / scipy.special.kve(order, z)
    for j in range(1, int(steps.max(initial=0.0)) + 1):
        found = np.where(steps >= j, 2.0 * (order + j) + z**2 / found, found)
    return found
