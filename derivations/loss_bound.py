"""Jensen's bound: at a given mean singular value, collapse has the smallest loss.

Theorem. On any symmetric scheme, s̄ the mean of the singular values,

    1 - p_0 >= (K-1)/(e^{s̄} + K - 1),    L >= K log(1 + (K-1) e^{-s̄}),

with equality if and only if all s_i agree. The sum of m_i |s_i|, the nuclear norm of Z, is at least
(K-1) s̄ and the bound falls with s̄: at a given nuclear norm collapse is optimal among the states
of the scheme.

In fact among all K x K matrices Z: L >= K log(1 + (K-1) e^{-|Z|_*/(K-1)}). Jensen over the classes
in a column, then over the columns (log(1 + (K-1) e^{-x}) is convex and decreasing in x) leaves the
mean margin <K I - J, Z> / (K (K-1)); K I - J has the eigenvalues 0 and K, so by duality of the
operator and the nuclear norm <K I - J, Z> <= K |Z|_*.

Source: arXiv:2512.04006 (Hadamard); [ceflow] for schemes and for every Z.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import (
    SCALAR,
    ConvexityGap,
    Step,
    entries,
    gap_lemmas,
    identity,
    nonnegative,
    open_gaps,
    residuals_of,
    vanish,
)
from ._quoted import DUALITY, JENSEN
from ._schemes import Model, cyclic, hadamard, hamming, johnson
from ._sums import Generic, normal, summed

SCHEMES = (hadamard(4), cyclic(5), hamming(2, 3), johnson(5, 2))

WRONG = {"mean over K instead of K - 1": {"shift": 1}, "e^{s̄} + K": {"offset": 0}}


def error_bound(mean: sp.Expr, K: sp.Expr, offset: int = -1) -> sp.Expr:
    """Return the smallest 1 - p_0 at a given mean singular value."""
    return (K - 1) / (sp.exp(mean) + K + offset)


def loss_bound(mean: sp.Expr, K: sp.Expr) -> sp.Expr:
    """Return the smallest loss, summed over the classes, at a given mean singular value."""
    return K * sp.log(1 + (K - 1) * sp.exp(-mean))


def derivation(shift: int = 0, offset: int = -1) -> Iterator[Step]:
    """Yield the proof; arguments are errors of the count in the mean margin and in the bound's denominator."""
    g = Generic()
    yield identity(
        "The mean of the margins z_0 - z_j, weighted by k_j, is s̄.",
        g.sum(lambda j: g.k(j) * (g.z0 - g.z(j))) / (g.K - 1 + shift),
        g.sbar,
        g.name,
        by=g.vanish,
    ).on("closure.axioms", "closure.logits", name="mean")
    yield from gap_lemmas(ConvexityGap)
    y = g.z(g.j) - g.zbar

    odds = g.sum(lambda j: g.k(j) * sp.exp(g.z(j) - g.z0))
    yield nonnegative(
        "Jensen with its gap: the exponential lies above its tangent at the mean; ε₂(y) = (e^y - 1 - y)/y^2 > 0. "
        "Equality if and only if every z_j, j > 0, is z̄, hence all s_i agree.",
        odds - (g.K - 1) * sp.exp(-g.sbar),
        sp.exp(-g.sbar) * sp.Sum(g.k(g.j) * y**2 * ConvexityGap(y), (g.j, 1, g.D)),
        g.name,
        by=lambda e: g.vanish(open_gaps(e)),
    ).on("closure.axioms", "closure.logits", ".mean", ".ε₂", name="odds")
    (n, u, gap), mean = sp.symbols("n u δ", positive=True), sp.Symbol("s̄", real=True)
    least = n * sp.exp(-mean)
    yield identity(
        "At the least value, u_0 = (K-1) e^{-s̄}, the error probability u/(1+u) is the bound.",
        least / (1 + least),
        error_bound(mean, n + 1, offset),
        SCALAR,
    ).on(".odds")
    yield nonnegative(
        "The error probability 1 - p_0 = u/(1+u) increases with the odds u = sum_j k_j exp(z_j - z_0): u = u_0 + δ, "
        "n = K - 1.",
        (least + gap) / (1 + least + gap) - least / (1 + least),
        gap / ((1 + least + gap) * (1 + least)),
        SCALAR,
    ).on("closure.softmax", ".odds", name="error")
    f = sp.log(1 + n * sp.exp(-u))
    yield nonnegative(
        "For every Z: log(1 + (K-1) e^{-x}) is convex in the mean margin x of a column, n = K - 1 ...",
        sp.diff(f, u, 2),
        n * sp.exp(-u) / (1 + n * sp.exp(-u)) ** 2,
        SCALAR,
    ).on(quotes=(JENSEN,))
    yield nonnegative("... and decreasing.", -sp.diff(f, u), n * sp.exp(-u) / (1 + n * sp.exp(-u)), SCALAR)
    x, y = sp.symbols("x y", integer=True)
    v = sp.IndexedBase("v", real=True)
    entry = g.K * sp.KroneckerDelta(x, y) - 1
    centered = [(summed, v[summed], sp.S.Zero)]
    for says, vector, image, quotes in (
        ("The eigenvalues of K I - J: 0 on the constant vector ...", sp.S.One, sp.S.Zero, ()),
        ("... and K on every v with sum 0. So its operator norm is K.", v[y], g.K * v[x], (DUALITY,)),
    ):
        yield identity(
            says,
            sp.Sum(entry * vector, (y, 1, g.K)),
            image,
            "every K, symbolic",
            by=lambda e: vanish(normal(e, centered)),
        ).on(quotes=quotes)
    for scheme in SCHEMES:
        model = Model(scheme)
        at = {model.s(i): sp.Symbol("s", positive=True) for i in range(1, model.D + 1)}
        yield entries(
            f"{scheme.name}: equality on the ray, with the explicit softmax.",
            [((1 - model.p0).subs(at), error_bound(sp.Symbol("s", positive=True), model.K, offset))],
            scheme.name,
            by=lambda e: vanish(sp.simplify(e)),
        )


check = residuals_of(derivation)
