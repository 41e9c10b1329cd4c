"""The Lyapunov function of balanced flow: the log of the arithmetic over the geometric mean.

Theorem. For the balanced flow ds_i/dt = 2 s_i lambda_i on any symmetric association scheme, s_i >
0, let

    V = log( sum_i m_i s_i / (K-1) ) - (1/(K-1)) sum_i m_i log s_i.

Then V >= 0, with V = 0 if and only if all s_i agree, and, with s̄ the mean of s and z̄ the mean of
z_j off the diagonal,

    dV/dt = -(2K / ((K-1) s̄)) sum_{j>0} k_j p_j (z_j - z̄)
          = -(K / ((K-1)^2 s̄)) sum_{j,h>0} k_j k_h (p_j - p_h)(z_j - z_h) <= 0,

with equality if and only if all z_j, j > 0, agree, that is, at neural collapse.

The dissipation identity uses only that sum_j k_j p_j = 1; the sign uses that p_j is an increasing
function of z_j.

Source: arXiv:2512.04006 (Hadamard); [ceflow] for every scheme and the pair form.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import ConvexityGap, MeanExp, Step, entries, gap_lemmas, identity, nonnegative, open_gaps, residuals_of
from ._schemes import Model, cyclic, hadamard, hamming, johnson
from ._sums import Generic

SCHEMES = (hadamard(4), hadamard(8), cyclic(5), cyclic(6), hamming(2, 3), johnson(5, 2))

WRONG = {
    "V increases": {"sign": 1},
    "factor 2 lost": {"factor": 1},
    "pair form over all ordered pairs counted once": {"pairs": 2},
}


def value(model: Model | Generic) -> sp.Expr:
    """Return V, the log of the arithmetic over the geometric mean of the singular values."""
    mean = model.sum(lambda i: model.m(i) * model.s(i)) / (model.K - 1)
    return sp.log(mean) - model.sum(lambda i: model.m(i) * sp.log(model.s(i))) / (model.K - 1)


def dissipation(model: Model | Generic) -> sp.Expr:
    """Return dV/dt along the balanced flow, time in the units of reduction "sum"."""
    excess = model.sum(lambda j: model.k(j) * model.p(j) * (model.z(j) - model.zbar))
    return -2 * model.K / ((model.K - 1) * model.sbar) * excess


def pair_term(model: Model | Generic, j: object, h: object) -> sp.Expr:
    """Return k_j k_h (p_j - p_h)(z_j - z_h), the non-negative term of the pair form."""
    return model.k(j) * model.k(h) * (model.p(j) - model.p(h)) * (model.z(j) - model.z(h))


def dissipation_pairs(model: Model | Generic) -> sp.Expr:
    """Return dV/dt in the pair form."""
    pairs = model.sum(lambda j: model.sum(lambda h: pair_term(model, j, h)))
    return -model.K / ((model.K - 1) ** 2 * model.sbar) * pairs


def derivation(sign: int = -1, factor: int = 2, pairs: int = 1) -> Iterator[Step]:
    """Yield the proof; arguments are the sign and the factor of the dissipation, and that of the pair form."""
    g = Generic()
    scale = -sp.Integer(sign) * factor / 2
    yield identity(
        "The forces have the trace of I - softmax: exchange the sums, then sum_i m_i P_ij = -k_j.",
        g.sum(lambda i: g.m(i) * g.lam(i)),
        g.K * g.sum(lambda j: g.k(j) * g.p(j)),
        g.name,
        by=g.vanish,
    ).on("closure.axioms", "closure.force", name="trace")
    yield identity(
        "Weighted by s they are the trace of Z (I - softmax): exchange the sums, then sum_i m_i s_i P_ij = K k_j z_j.",
        g.sum(lambda i: g.m(i) * g.s(i) * g.lam(i)),
        g.K * g.sum(lambda j: g.k(j) * g.p(j) * (g.z0 - g.z(j))),
        g.name,
        by=g.vanish,
    ).on("closure.force", "closure.logits", name="weighted")
    yield identity(
        "The constant mode carries nothing, so the logits have mean zero: z_0 - s̄ is the mean off the diagonal.",
        g.z0 - g.sbar,
        g.zbar,
        g.name,
        by=g.vanish,
    ).on("closure.axioms", "closure.logits", name="mean")
    change = g.derivative(value(g), lambda i: 2 * g.s(i) * g.lam(i))
    yield identity(
        "Differentiate V along ds_i/dt = 2 s_i lambda_i and insert the three lines above: the dissipation identity.",
        change,
        scale * dissipation(g),
        g.name,
        by=g.vanish,
    ).on("reduction.modes", "closure.axioms", ".trace", ".weighted", ".mean", name="dissipation")
    yield identity(
        "Write the excess as a sum over pairs.",
        dissipation(g),
        pairs * dissipation_pairs(g),
        g.name,
        by=g.vanish,
    ).on("closure.axioms", name="pairs")
    yield from gap_lemmas(MeanExp, ConvexityGap)
    x = g.z(g.j) - g.z(g.h)
    yield nonnegative(
        "Each pair is non-negative, since p_j = p_h exp(z_j - z_h); ε₁(x) = (e^x - 1)/x is positive by the lemma. So "
        "dV/dt <= 0, and dV/dt = 0 if and only if z_j = z_h for all j, h > 0.",
        pair_term(g, g.j, g.h),
        g.k(g.j) * g.k(g.h) * g.p(g.h) * x**2 * MeanExp(x),
        g.name,
        by=lambda e: sp.simplify(sp.expand(g.softmax(open_gaps(e)))),
    ).on("closure.softmax", ".dissipation", ".pairs", ".ε₁", name="falls")
    z = sp.Symbol("z", real=True)
    yield identity(
        "If all z_j, j > 0, are one number z, every mode has the same singular value z_0 - z (sum_j P_ij = -1): "
        "collapse. Conversely, at s_i = s the matrix Z is s (I - J/K), whose entries off the diagonal agree.",
        g.z0 + g.sum(lambda j: g.P(g.i, j) * z),
        g.z0 - z,
        g.name,
        by=g.vanish,
    ).on("closure.axioms", "closure.logits", name="collapse")
    r = sp.log(g.s(g.i)) - sp.log(g.sbar)
    yield nonnegative(
        "V itself is a sum of squares with positive weights, r = log(s_i/s̄): it is 0 only where all s_i agree.",
        (g.K - 1) * value(g),
        sp.Sum(g.m(g.i) * r**2 * ConvexityGap(r), (g.i, 1, g.D)),
        g.name,
        by=lambda e: g.vanish(open_gaps(e)),
    ).on("closure.axioms", ".ε₂", name="nonnegative")
    for scheme in SCHEMES:
        model = Model(scheme)
        explicit = model.derivative(value(model), lambda i, model=model: 2 * model.s(i) * model.lam(i))
        yield entries(
            f"{scheme.name}: both forms of the dissipation, with the explicit softmax and symbolic s.",
            [(explicit, scale * dissipation(model)), (explicit, scale * pairs * dissipation_pairs(model))],
            scheme.name,
        )


check = residuals_of(derivation)
