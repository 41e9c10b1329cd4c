"""The geometric mean of the singular values grows with the error probability.

Theorem. On any symmetric scheme, balanced flow, GM = (prod_i s_i^{m_i})^{1/(K-1)}:

    d log GM/dt = (2K/(K-1)) (1 - p_0),    p_0 the probability of the true class.

For any imbalance (and any depth) the same sum is d( sum_i m_i psi'_i(s_i) )/dt = sum_i m_i lambda_i
= K (1 - p_0): the mirror coordinates grow, in total, with the trace of I - softmax.

Source: arXiv:2512.04006; [ceflow] for schemes and the unbalanced form.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import Step, entries, identity, residuals_of
from ._schemes import Model, complete, cyclic, hadamard, hamming, johnson
from ._sums import Generic

SCHEMES = (hadamard(4), hadamard(8), cyclic(5), cyclic(6), complete(4), hamming(2, 3), johnson(5, 2))

WRONG = {"K instead of K/(K - 1)": {"normalized": False}, "probability of the true class": {"complement": False}}


def log_mean(model: Model | Generic) -> sp.Expr:
    """Return log GM."""
    return model.sum(lambda i: model.m(i) * sp.log(model.s(i))) / (model.K - 1)


def growth(model: Model | Generic, normalized: bool = True, complement: bool = True) -> sp.Expr:
    """Return d log GM/dt of the balanced flow, time in the units of reduction "sum"."""
    return 2 * model.K / (model.K - 1 if normalized else 1) * ((1 - model.p0) if complement else model.p0)


def derivation(normalized: bool = True, complement: bool = True) -> Iterator[Step]:
    """Yield the proof; arguments: whether the mean is normalized by K - 1, whether 1 - p_0 or p_0 enters."""
    g = Generic()
    yield identity(
        "The forces sum to the trace of I - softmax (sum_i m_i P_ij = -k_j).",
        g.sum(lambda i: g.m(i) * g.lam(i)),
        g.K * (1 - g.p0),
        g.name,
        by=g.vanish,
    ).on("closure.axioms", "closure.force", name="trace")
    yield identity(
        "Differentiate log GM along ds_i/dt = 2 s_i lambda_i.",
        g.derivative(log_mean(g), lambda i: 2 * g.s(i) * g.lam(i)),
        growth(g, normalized, complement),
        g.name,
        by=g.vanish,
    ).on("reduction.modes", "closure.axioms", ".trace", name="growth")
    for scheme in SCHEMES:
        model = Model(scheme)
        yield entries(
            f"{scheme.name}: the same with the explicit softmax and symbolic s.",
            [
                (
                    model.derivative(log_mean(model), lambda i, model=model: 2 * model.s(i) * model.lam(i)),
                    growth(model, normalized, complement),
                )
            ],
            scheme.name,
        )


check = residuals_of(derivation)
