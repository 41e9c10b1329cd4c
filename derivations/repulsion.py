"""Repulsion of singular values: at small logits, ratios of singular values grow in deep networks.

Theorem. On balanced layers of depth L, ds_i/dt = L s_i^{2-2/L} λ_i. At zero logits all λ_i = 1, on every
symmetric scheme. With p = 1 - 2/L and one λ for both modes,

    d log(s_i/s_j)/dt = L λ (s_i^p - s_j^p),    d s_i^{-p}/dt = -(L-2) λ,

so s_i^{-p} - s_j^{-p} is constant, the ratio of a larger to a smaller value grows for L > 2 and stays for
L = 2. For λ = 1: s_i(t) = s_i(0) (1 - (L-2) t s_i(0)^p)^{-1/p}.

Source: arXiv:2605.23087 (abstract) for repulsion; [ceflow] for this form.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import (
    ALL_SCHEMES,
    SCALAR,
    MeanExp,
    Step,
    gap_lemmas,
    identity,
    nonnegative,
    open_gaps,
    residuals_of,
    vanish,
)
from ._sums import Generic
from .depth import velocity

WRONG = {
    "exponent 1 - 1/L": {"power": 1},
    "blow-up at the rate L": {"lost": 0},
}


def derivation(power: int = 2, lost: int = 2) -> Iterator[Step]:
    """Yield the proof; arguments are q in p = 1 - q/L, and what is subtracted from L in the rate of s^{-p}."""
    scheme = Generic()
    yield identity(
        "At zero logits p_j = 1/K, and λ_i = sum_j (k_j - P_ij)/K = 1 for all modes.",
        scheme.constant(scheme.lam(scheme.i), p=1 / scheme.K),
        sp.S.One,
        ALL_SCHEMES,
        by=scheme.vanish,
    ).on("closure.axioms", "closure.force", name="zero")
    excess = sp.Symbol("q", positive=True)
    L, lam = 2 + excess, sp.Symbol("λ", positive=True)
    s, r, t = sp.Symbol("s_i", positive=True), sp.Symbol("s_j", positive=True), sp.Symbol("t", nonnegative=True)
    p = 1 - power / L

    def simple(e: sp.Expr) -> sp.Expr:
        return sp.simplify(sp.powsimp(sp.expand(e)))

    yield identity(
        "Logarithms: the ratio moves by L λ (s_i^p - s_j^p).",
        velocity(s, lam, L) / s - velocity(r, lam, L) / r,
        L * lam * (s**p - r**p),
        SCALAR,
        by=simple,
    ).on("depth.speed", name="ratio")
    true = 1 - 2 / L
    yield identity(
        "s^{-p} decreases at the rate (L-2) λ for every s: differences of two of them are constant.",
        sp.diff(s**-true, s) * velocity(s, lam, L),
        -(L - lost) * lam,
        SCALAR,
        by=simple,
    ).on("depth.speed")
    yield from gap_lemmas(MeanExp)
    x, a, base = sp.Symbol("x", nonnegative=True), sp.Symbol("a", nonnegative=True), sp.Symbol("y", positive=True)
    yield nonnegative(
        "Repulsion: with s_i = s_j e^x, x >= 0, a = p >= 0 and y = s_j^p, the rate over L λ is y (e^{a x} - 1) = y a x "
        "ε₁(a x), not negative.",
        base * (sp.exp(a * x) - 1),
        base * a * x * MeanExp(a * x),
        SCALAR,
        by=lambda e: vanish(open_gaps(e)),
    ).on(".ratio", ".ε₁")
    start, left = sp.Symbol("s_0", positive=True), sp.Symbol("u", positive=True)  # u = 1 - (L-2) t s_0^p
    yield identity(
        "Solution: with u = 1 - (L-2) t s_0^p, du/dt = -(L-2) s_0^p and s = s_0 u^{-1/p}, log s moves by L s_0^p/u, "
        "which is L s^p.",
        sp.diff(sp.log(start) - sp.log(left) / true, left) * (-(L - 2) * start**true),
        L * start**true / left,
        SCALAR,
        by=simple,
    ).on("depth.speed", ".zero")
    yield identity(
        "Two layers: every s grows as e^{2 t}, and ratios stay.",
        sp.diff(start * sp.exp(2 * t), t),
        velocity(start * sp.exp(2 * t), sp.S.One, sp.S(2)),
        SCALAR,
    ).on("depth.speed", ".zero")


check = residuals_of(derivation)
