"""Cross-entropy with weight decay and samples: the margin at equilibrium, which is the global minimum.

Setting. K classes of n samples, the mean cross-entropy over all n K of them, decay (lW/2) |W|^2 +
(lH/2) sum over samples |h|^2 + (lb/2) |b|^2, logits W H + b 1^T.

Theorem. Let c = sqrt(n lW lH). If K c < 1, the objective has its minimum at neural collapse, Z = s
Π, Π = I - 1 1^T/K, b = 0, with the margin

    s = log(1/c - K + 1),    W = a Π O, h_c = b O^T Π e_c, a b = s, a/b = sqrt(n lH/lW),

and the value log(1 + (K-1) e^{-s}) + (K-1) c s. If K c >= 1 it is at 0. With the reduction "sum"
the objective is another one, with weight o = 1 in place of o = 1/(n K) for each sample: in general
c = sqrt(lW lH/n)/(K o), so sqrt(lW lH/n)/K for "sum". Without decay on b, b may be any constant
vector. The minimum needs a width d >= K - 1.

Proof that it is the minimum. (i) By the variational form of the nuclear norm (lW/2)|W|^2 + (lH/2)|H|^2 >= sqrt(lW lH)
|W H|_*, the nuclear norm of the K x n K logits without bias, with equality for factors that are balanced in this sense.
(ii) The mean of the loss plus this norm is convex in the logits and b, and does not change when classes are permuted,
rows with columns, or samples of one class: so averaging over these permutations does not increase it. It leaves b
constant, and n equal columns for each class, Z = s Π + y 1 1^T/K, with nuclear norm sqrt(n) ((K-1) |s| + |y|). (iii) b
and y drop out of the loss, so y = 0, and what is left is one convex function of s, whose minimum is found below. It
decreases in s < 0, so |s| can be replaced by s.

Source: [ceflow]. The method is that of the literature on unconstrained features models with decay;
the formula is checked here against the gradient for each entry.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from . import ray
from ._configurations import Groups
from ._proof import SCALAR, Step, by_chain_rule, entries, identity, nonnegative, residuals_of, vanish
from ._quoted import AVERAGING, NUCLEAR

WRONG = {
    "c without n": {"samples": 0},
    "c divided by K": {"classes": 1},
    "margin log(1/c)": {"shift": 0},
}


def strength(n: sp.Expr, lW: sp.Expr, lH: sp.Expr, samples: int = 1) -> sp.Expr:
    """Return c = sqrt(n lW lH), for "mean"."""
    return sp.sqrt(n**samples * lW * lH)


def margin(c: sp.Expr, K: sp.Expr, shift: int = 1) -> sp.Expr:
    """Return the margin at rest, log(1/c - K + 1)."""
    return sp.log(1 / c - shift * (K - 1))


def objective(c: sp.Expr, K: sp.Expr, s: sp.Expr) -> sp.Expr:
    """Return the smallest objective at the collapsed logits s Π: loss and decay."""
    return sp.log(1 + (K - 1) * sp.exp(-s)) + (K - 1) * c * s


def derivation(samples: int = 1, classes: int = 0, shift: int = 1) -> Iterator[Step]:
    """Yield the proof; arguments are the power of n and of 1/K in c, and the factor of K - 1 in the margin."""
    K = sp.Symbol("K", integer=True, positive=True)
    n, lW, lH, o = sp.symbols("n l_W l_H o", positive=True)
    a, b, s, c = sp.symbols("a b s c", positive=True)
    yield _algebra(K)
    force = ray.force(s, K)
    rest = strength(n, lW, lH, samples) / K**classes
    ratio = sp.sqrt(n * lH / lW)
    yield entries(
        "On the ray da/dt = n o λ b - lW a and db/dt = o λ a - lH b, λ = K/(e^s + K - 1) (see groups). With a/b = "
        "sqrt(n lH/lW) both are 0 if and only if λ = sqrt(lW lH/n)/o.",
        [
            ((n * o * force * b - lW * a).subs(a, ratio * b) / (n * o * b), force - sp.sqrt(lW * lH / n) / o),
            ((o * force * a - lH * b).subs(a, ratio * b) / (o * ratio * b), force - sp.sqrt(lW * lH / n) / o),
        ],
        SCALAR,
        by=sp.simplify,
    ).on("groups.loss", ".algebra", "ray.force", name="rest")
    yield identity(
        '"mean", o = 1/(n K): the force at rest is K c, c = sqrt(n lW lH) ...',
        (sp.sqrt(lW * lH / n) / o).subs(o, 1 / (n * K)),
        K * rest,
        SCALAR,
        by=sp.simplify,
    ).on(".rest", name="mean")
    yield identity(
        "... and it is K c at the margin log(1/c - K + 1).", force.subs(s, margin(c, K, shift)), K * c, SCALAR
    ).on("ray.force", ".mean")
    yield identity(
        '"sum", o = 1: the same with c = sqrt(lW lH/n)/K.',
        force.subs(s, margin(sp.sqrt(lW * lH / n) / K, K, shift)),
        sp.sqrt(lW * lH / n),
        SCALAR,
    ).on("ray.force", ".rest")
    yield from _minimum(K, c, s, shift)
    yield nonnegative(
        "(i) For modes of singular values a and b: the decay is never less than c a b a mode, with equality at rest; "
        "(lW a^2 + n lH b^2)/2 - sqrt(n lW lH) a b is half a square.",
        (lW * a**2 + n * lH * b**2) / 2 - strength(n, lW, lH, samples) * a * b,
        (sp.sqrt(lW) * a - sp.sqrt(n) * sp.sqrt(lH) * b) ** 2 / 2,
        SCALAR,
    ).on(name="nuclear", quotes=(NUCLEAR,))
    yield identity(
        "At rest a^2 = s sqrt(n lH/lW): K - 1 modes have the decay (K-1) c s.",
        (K - 1) * (lW * s * ratio + n * lH * s / ratio) / 2,
        (K - 1) * rest * s,
        SCALAR,
        by=sp.simplify,
    ).on(".rest")
    for size in (2, 3):
        yield _gradient(size, 2, samples, classes, shift)


def _algebra(K: sp.Expr) -> Step:
    """Return what one group of symbolic size needs: the force, and the rows and columns of G."""
    own, other = sp.symbols("e_d e_o", positive=True)
    exponentials = Groups.of([K], [own - other], [[other]])
    below = exponentials.column_sum(0)
    G = Groups.of([K], [1], [[0]]) - exponentials.columns_times([1 / below])
    force = K * other / below
    return entries(
        "K symbolic: G = I - softmax(s Π) is λ Π, λ = K e_o/(e_d + (K-1) e_o). Its rows sum to 0, so a bias "
        "stays at 0.",
        [(G.x[0], force), (G.Y[0, 0], -force / K), (G.T.column_sum(0), sp.S.Zero)],
        "every K, symbolic",
    ).on("coherent.product", "coherent.columns", name="algebra")


def _minimum(K: sp.Expr, c: sp.Expr, s: sp.Expr, shift: int) -> Iterator[Step]:
    """Yield (iii): the function of one number, its derivatives and its minimum."""
    y, b, m = sp.symbols("y b m", real=True)
    total, k = objective(c, K, s), sp.Symbol("k", nonnegative=True)  # k = K - 1
    logits = m - m / K + y / K + b, -m / K + y / K + b  # of s Π + y 1 1^T/K + b 1 1^T, m = s of any sign
    yield identity(
        "(iii) y and b drop out of the loss of each column, which is log(1 + (K-1) e^{-s}).",
        sp.log(sp.exp(logits[0] - logits[0]) + (K - 1) * sp.exp(logits[1] - logits[0])),
        objective(sp.S.Zero, K, m),
        SCALAR,
        by=lambda e: vanish(sp.powsimp(sp.simplify(e))),
    ).on("contraction.Hessian", name="averaged", quotes=(AVERAGING,))
    yield nonnegative(
        "The objective log(1 + (K-1) e^{-s}) + (K-1) c s is convex in s, k = K - 1.",
        sp.diff(total, s, 2).subs(K, k + 1),
        k * sp.exp(s) / (sp.exp(s) + k) ** 2,
        SCALAR,
    ).on(".averaged", name="convex")
    yield identity(
        "Its derivative is 0 at the margin of the theorem ...",
        sp.diff(total, s).subs(s, margin(c, K, shift)),
        sp.S.Zero,
        SCALAR,
    ).on(".convex")
    yield identity(
        "... and -(K-1) (1/K - c) at s = 0: the margin is positive, and 0 no minimum, if and only if K c < 1.",
        sp.diff(total, s).subs(s, 0),
        -(K - 1) * (1 / K - c),
        SCALAR,
    ).on(".convex")


def _gradient(K: int, n: int, power: int, classes: int, shift: int) -> Step:
    """Differentiate the objective by every entry of W, of every sample and of b, at the equilibrium."""
    v, q, mode = sp.symbols("v q b", positive=True)  # lW = v^2, lH = q^2
    decay_b = sp.Symbol("l_b", positive=True)
    label = [c for c in range(K) for _ in range(n)]
    W, H = (sp.Matrix(K, size, sp.symbols(f"{name}:{K * size}")) for name, size in (("w", K), ("h", n * K)))
    bias = sp.Matrix(K, 1, sp.symbols(f"b:{K}"))
    Z = W * H + bias * sp.ones(1, n * K)
    z = sp.Matrix(*Z.shape, sp.symbols(f"z:{len(Z)}"))
    decay = v**2 / 2 * sum(x**2 for x in W) + q**2 / 2 * sum(x**2 for x in H) + decay_b / 2 * sum(x**2 for x in bias)
    loss = sum(sp.log(sum(map(sp.exp, z[:, i]))) - z[c, i] for i, c in enumerate(label)) / (n * K)
    centred = sp.eye(K) - sp.ones(K) / K
    factor = sp.sqrt(n) * q / v
    at = dict(zip(W, factor * mode * centred, strict=True))
    at |= dict(zip(H, (mode * centred[r, c] for r in range(K) for c in label), strict=True))
    at |= dict.fromkeys(bias, sp.S.Zero)
    ratio = 1 / (strength(sp.Integer(n), v**2, q**2, power) / sp.Integer(K) ** classes) - shift * (K - 1)  # e^s
    exponentials = {
        sp.exp(z[j, i]): ratio if j == label[i] else sp.S.One for j in range(K) for i in range(n * K)
    }  # a common factor of a column drops out
    margins = [(Z[c, i] - Z[j, i]).xreplace(at) for i, c in enumerate(label) for j in range(K) if j != c]
    places = [*W, *H, *bias]
    slopes = [
        ((slope.xreplace(exponentials) + sp.diff(decay, x)).xreplace(at), sp.S.Zero)
        for x, slope in zip(places, by_chain_rule(loss, dict(zip(z, Z, strict=True)), places), strict=True)
    ]
    return entries(
        f"K = {K}, n = {n}: all margins are a b, and with e^s in place of their exponentials the gradient by each "
        "entry of W, of every sample and of b is 0.",
        [*((m, factor * mode**2) for m in margins), *slopes],
        f"K = {K}, n = {n}",
    )


check = residuals_of(derivation)
