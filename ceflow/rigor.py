"""Interval arithmetic: rigorous sign of the dissipation on boxes of states, and rigorous time of the ray.

Balls of python-flint (Arb) enclose every result including rounding, so a computed sign is proved for all states of a
box. Needs python-flint (the extra ``reference``). Of a scheme only the matrix of relations is used; its eigenspaces are
enclosed too. The formulas that are checked are not used.

Examples
--------
>>> cf.rigor.dissipation_sign(cf.hadamard(4), [1.0, 2.0, 3.0], [1.2, 2.2, 3.2]).proved
True
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ._checks import checked_integer
from .reference._relations import combinations, counted, is_unitary, order

if TYPE_CHECKING:
    from .symmetry import Scheme

BITS = 106


class Sign(NamedTuple):
    """Result of `dissipation_sign`.

    Attributes
    ----------
    proved : bool
        Whether ``dV/dt < 0`` holds on the whole box.
    boxes : int
        Number of boxes used.
    undecided : (low, high) or None
        A smallest box with undetermined sign.

    Examples
    --------
    >>> cf.rigor.dissipation_sign(cf.hadamard(4), [1.0, 2.0, 3.0], [1.1, 2.1, 3.1])
    Sign(proved=True, boxes=1, undecided=None)
    """

    proved: bool
    boxes: int
    undecided: tuple[list[float], list[float]] | None


def dissipation_sign(scheme: Scheme, low: ArrayLike, high: ArrayLike, *, max_boxes: int = 10_000) -> Sign:
    """Prove that V decreases on a box of states, by interval arithmetic and bisection.

    The sign is that of the derivative of V along the flow from the chain rule, ::

        dV/dt = (2 / ((K-1) s_bar)) sum_i m_i lambda_i (s_i - s_bar),

    with lambda_i from its definition as an eigenvalue of the residual, not from a transformed formula. On a box the
    function is enclosed by its mean-value form.

    Parameters
    ----------
    scheme : Scheme
    low, high : (D,) arrays
        Corners of the box, 0 < low <= high. The box must not touch the ray, where dV/dt = 0.
    max_boxes : int
        Maximal number of boxes.

    Returns
    -------
    Sign

    Raises
    ------
    ImportError
        If python-flint is not installed.
    ValueError
        If low and high are not a box.

    Examples
    --------
    >>> cf.rigor.dissipation_sign(cf.hadamard(4), [0.1, 2.0, 3.0], [1.0, 3.0, 4.0])
    Sign(proved=True, boxes=29, undecided=None)
    """
    arb = _arb()
    low, high = np.asarray(low, float), np.asarray(high, float)
    if low.shape != (scheme.modes,) or high.shape != low.shape:
        raise ValueError(f"low and high must have shape ({scheme.modes},), got {low.shape} and {high.shape}")
    if not (np.all(low > 0.0) and np.all(low <= high) and np.all(np.isfinite(high))):
        raise ValueError("low and high must be positive and finite, and low <= high")
    valencies, multiplicities, gaps = _algebra(scheme, arb)
    queue, boxes = [(low, high)], 0
    while queue:
        low, high = queue.pop()
        boxes += 1
        enclosure, slopes = _enclosure(arb, gaps, multiplicities, valencies, int(scheme.classes), low, high)
        if enclosure < 0:
            continue
        # halve the side along which the function may change most
        change = [float(abs(slope).upper()) * (b - a) for slope, a, b in zip(slopes, low, high, strict=True)]
        side = int(np.argmax(change))
        middle = 0.5 * (low[side] + high[side])
        if boxes >= max_boxes or not low[side] < middle < high[side]:
            return Sign(False, boxes, (low.tolist(), high.tolist()))
        for bounds in ((low[side], middle), (middle, high[side])):
            a, b = low.copy(), high.copy()
            a[side], b[side] = bounds
            queue.append((a, b))
    return Sign(True, boxes, None)


def ray_time(s: float, s0: float, classes: int, *, bits: int = BITS):
    """Ball that contains the time of the balanced ray from s0 to s > s0 > 0, with reduction "sum".

    ``(Ei(s) - Ei(s0) + (K-1) log(s / s0)) / (2K)``, for exact s and s0; see `ceflow.theory.ray_time`.

    Returns
    -------
    flint.arb

    Raises
    ------
    ImportError
        If python-flint is not installed.
    ValueError
        If s and s0 are invalid.

    Examples
    --------
    >>> print(cf.rigor.ray_time(10.0, 0.1, 10).str(12))
    [126.764916036 +/- 4.88e-10]
    >>> f"{cf.theory.ray_time(10.0, 0.1, 10, reduction='sum'):.9f}"
    '126.764916036'
    """
    arb = _arb()
    import flint

    if not 0.0 < s0 <= s < math.inf:
        raise ValueError(f"0 < s0 <= s must hold and both be finite, got s0 = {s0:g}, s = {s:g}")
    K = checked_integer("classes", classes, 2)
    previous = flint.ctx.prec
    flint.ctx.prec = bits + 64
    try:
        x, y = arb(float(s)), arb(float(s0))
        return (x.ei() - y.ei() + (K - 1) * (x / y).log()) / (2 * K)
    finally:
        flint.ctx.prec = previous


def _arb():
    try:
        from flint import arb
    except ImportError:
        raise ImportError("ceflow.rigor needs python-flint: pip install 'ceflow[reference]'") from None
    return arb


def _algebra(scheme: Scheme, arb) -> tuple[list[int], list[int], list[list]]:
    """Valencies and multiplicities (D,), and balls that contain the gaps 1 - P_ij / k_j (D, D).

    An integer combination of the relations acts as an integer matrix on functions of the relation to point 0. Arb
    encloses its eigenvectors, which are real if normalized to 1 at point 0.
    """
    import flint

    counts = counted(scheme)
    previous = flint.ctx.prec
    flint.ctx.prec = BITS + 64
    try:
        for weights in combinations(counts.valencies):
            try:
                _, vectors = flint.acb_mat(counts.quotient(weights).tolist()).eig(right=True)
            except ValueError:  # eigenvalues too close
                continue
            columns = range(vectors.ncols())
            ratios = [[(vectors[j, i] / vectors[0, i]).real for j in columns] for i in columns]
            numbers = np.array([[float(ratio) for ratio in row] for row in ratios])
            if is_unitary(numbers, counts.valencies, 1e-10):
                break
        else:
            raise ArithmeticError(f"the eigenspaces of {scheme.name} could not be separated")
        modes = order(scheme, numbers)[1:]
        sizes = np.rint(counts.valencies.sum() / (numbers[modes] ** 2 @ counts.valencies))
        gaps = [[1 - ratios[i][j] for j in columns[1:]] for i in modes]
        return counts.valencies[1:].tolist(), [int(m) for m in sizes], gaps
    finally:
        flint.ctx.prec = previous


def _enclosure(arb, gaps, multiplicities, valencies, K: int, low, high):
    """Ball of all values of ``sum_i m_i lambda_i (s_i - s_bar) / p_0`` on a box, and balls of its derivatives.

    The positive factors p_0 and 2 / ((K-1) s_bar) do not change the sign. With e_j = k_j exp(-margin_j) the function is
    f = sum_i sum_j m_i G_ij e_j (s_i - s_bar), with mean-value form f(centre) + f'(box) (box - centre).
    """
    D = len(low)
    centre = [arb(0.5 * (a + b)) for a, b in zip(low, high, strict=True)]
    box = [arb(a).union(arb(b)) for a, b in zip(low, high, strict=True)]

    def parts(s):
        mean = sum((m * x for m, x in zip(multiplicities, s, strict=True)), arb(0)) / (K - 1)
        odds = []
        for j in range(D):
            margin = sum((m * x * row[j] for m, x, row in zip(multiplicities, s, gaps, strict=True)), arb(0)) / K
            odds.append(valencies[j] * (-margin).exp())
        # w_j = sum_i m_i G_ij (s_i - s_bar)
        weights = [
            sum((m * row[j] * (x - mean) for m, x, row in zip(multiplicities, s, gaps, strict=True)), arb(0))
            for j in range(D)
        ]
        return odds, weights

    odds, weights = parts(centre)
    value = sum((e * w for e, w in zip(odds, weights, strict=True)), arb(0))
    odds, weights = parts(box)
    column_sums = [sum((m * row[j] for m, row in zip(multiplicities, gaps, strict=True)), arb(0)) for j in range(D)]
    slopes = []
    for i in range(D):
        slope = arb(0)
        for j in range(D):
            inner = multiplicities[i] * (gaps[i][j] - column_sums[j] / (K - 1))  # dw_j / ds_i
            slope += odds[j] * (inner - multiplicities[i] * gaps[i][j] / K * weights[j])
        slopes.append(slope)
    for slope, x, c in zip(slopes, box, centre, strict=True):
        value += slope * (x - c)
    return value, slopes
