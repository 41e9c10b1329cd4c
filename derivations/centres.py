"""Several fixed centres for each class: optimum, rates, the law of the angle, and boundaries.

Setting. Class i has f_i fixed rows w_ij = cos a v_ij + sin a w_i, all w_i and v_ij orthonormal;
g_i = cos^2 a + f_i sin^2 a, and m_i is the sum of the rows of class i. Features h of class i move
by the gradient of one of three losses of their sample.

Theorem. |m_i|^2 = f_i g_i, and sums of different classes are orthogonal. (i) 1/2 sum_own (w.h - 1)^2 + β/2 sum_others
(w.h)^2 + l/2 |h|^2 has its minimum at h = m_i/(g_i + l), whatever β, where own logits are g_i/(g_i + l) and the value
is f_i l/(2 (g_i + l)). The flow is linear, with the rates g_i + l, cos^2 a + l, β g_k + l, β cos^2 a + l, and l
orthogonal to all rows. (ii) sum_own (1 - cos) + l/2 |h|^2: the angle φ between h and m_i obeys tan(φ/2) = tan(φ_0/2)
exp(- |m_i| τ), τ = (e^{2 l t} - 1)/(2 l |h_0|^2), and |h| = |h_0| e^{-l t}. (iii) 1/2 sum_own (1 - cos)^2 + β/2
sum_others cos^2 on the unit sphere is stationary at m_i/|m_i|, with the value (sqrt f - sqrt g)^2/2; its Hessian is
sqrt(f g) - g + cos^2 a within the own rows and sqrt(f g) - g orthogonal to all rows, which is 0 for one row only. Then
t = 1/(2 c) + log(2/c - 1)/4 + const, c = 1 - cos φ: algebraic, c = 1/(2 t) late. (iv) Decisions by the largest sum of
logits: a feature on the way from m_i to m_k crosses at tan φ = sqrt(f_i g_i/(f_k g_k)).

Source: [ceflow], a model of "Neural Collapse To Multiple Centers For Imbalanced Data" (NeurIPS 2024), of which we read
only the abstract.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import SCALAR, Step, entries, identity, nonnegative, residuals_of
from ._quoted import GAUSSIAN

NUMBERS = "every number of centres, symbolic"

WRONG = {
    "gain without the number of centres": {"gain": 0},
    "the mean of the centres itself": {"scale": 1},
    "the law of the angle without the half": {"half": 1},
    "decay does not rotate features": {"speed": 0},
    "one centre: 1 - cos = 1/t": {"late": 1},
    "margins by numbers instead of norms": {"boundary": 0},
    "axes of a simplex change nothing": {"simplex": 1},
}


def derivation(
    gain: int = 1,
    scale: int = 0,
    half: int = 2,
    speed: int = 1,
    late: int = 2,
    boundary: int = 1,
    simplex: int = 0,
) -> Iterator[Step]:
    """Yield the proof.

    Arguments are the power of f in the gain, whether h = m_i/f_i is claimed, the divisor of the angle in (ii), whether
    short features turn faster, the factor in the late law of one centre, the power of g in (iv), and whether the axes
    are those of a simplex instead of orthonormal.
    """
    yield from _geometry(gain, simplex)
    yield from _squared(scale)
    yield from _cosine(half, speed)
    yield from _sphere(late)
    yield from _boundary(boundary)


def _gain(f: sp.Expr, a: sp.Expr) -> sp.Expr:
    return sp.cos(a) ** 2 + f * sp.sin(a) ** 2


def _geometry(gain: int, simplex: int) -> Iterator[Step]:
    """Yield inner products of rows and of their sums, with symbolic numbers of rows."""
    a = sp.Symbol("a", real=True)
    f, k, K = sp.symbols("f f_k K", integer=True, positive=True)
    inner = sp.sin(a) ** 2  # of two rows of one class
    between = -simplex / (K - 1)  # of the axes of two classes
    g = sp.cos(a) ** 2 + f**gain * sp.sin(a) ** 2
    yield entries(
        "Rows are unit vectors with the inner product sin^2 a within a class. A row and the sum of its class have the "
        "inner product g, so |m|^2 = f g.",
        [(sp.cos(a) ** 2 + inner, 1), (1 + (f - 1) * inner, g), (f * (1 + (f - 1) * inner), f * g)],
        NUMBERS,
        by=sp.simplify,
    ).on(name="rows")
    yield entries(
        "Rows of different classes are orthogonal, and so are the sums.",
        [(sp.sin(a) ** 2 * between, 0), (f * k * sp.sin(a) ** 2 * between, 0)],
        NUMBERS,
    ).on(name="orthogonal")


def _squared(scale: int) -> Iterator[Step]:
    """Yield (i): everything happens in the span of rows, where sums of rows are eigenvectors."""
    a, beta, decay = sp.Symbol("a", real=True), *sp.symbols("β l", nonnegative=True)
    f, j, i = sp.Symbol("f", integer=True, positive=True), sp.Symbol("j", integer=True), sp.Symbol("i", integer=True)
    x = sp.IndexedBase("x", real=True)
    g = _gain(f, a)
    gram = sp.cos(a) ** 2 * sp.KroneckerDelta(i, j) + sp.sin(a) ** 2

    def gram_times(vector: sp.Expr) -> sp.Expr:
        """Return the entry i of the Gram matrix times a vector of entries in j."""
        return sp.cos(a) ** 2 * vector.xreplace({j: i}) + sp.sin(a) ** 2 * sp.Sum(vector, (j, 1, f)).doit()

    optimum = 1 / f if scale else 1 / (g + decay)
    yield entries(
        "The Gram matrix cos^2 a I + sin^2 a 1 1^T of own rows times 1 is g 1: with h = c m the gradient, sum_own "
        "(w.h - 1) w + l h, has the coefficient c g - 1 + l c on each row, 0 for c = 1/(g + l). "
        "Other rows are orthogonal to h.",
        [(gram_times(sp.S.One), g), (optimum * gram_times(sp.S.One) - 1 + decay * optimum, 0)],
        NUMBERS,
        by=sp.simplify,
        shows=gram,
    ).on(".rows", ".orthogonal", name="optimum")
    total = sp.Sum(x[j], (j, 1, f))
    yield identity(
        "Coefficients x of sum 0 are its other eigenvectors, of the eigenvalue cos^2 a: the rates of own rows are g + "
        "l and cos^2 a + l, those of others β times g_k and cos^2 a, and l.",
        gram_times(x[j]).xreplace({total: sp.S.Zero}),
        sp.cos(a) ** 2 * x[i],
        NUMBERS,
    ).on(".rows", ".orthogonal", name="rates")
    logit = g / (g + decay)
    yield identity(
        "The value at the minimum is f (g/(g + l) - 1)^2/2 + l f g/(2 (g + l)^2) = f l/(2 (g + l)).",
        f * (logit - 1) ** 2 / 2 + decay * f * g / (2 * (g + decay) ** 2),
        f * decay / (2 * (g + decay)),
        NUMBERS,
        by=sp.simplify,
    ).on(".optimum")
    z = sp.symbols("z", real=True)
    yield nonnegative(
        "It is the only one for l > 0: the second derivative is a sum of squares of z = w.v, and l |v|^2.",
        sp.diff((z * sp.Symbol("t", real=True) - 1) ** 2 / 2, sp.Symbol("t", real=True), 2)
        + beta * sp.diff((z * sp.Symbol("t", real=True)) ** 2 / 2, sp.Symbol("t", real=True), 2)
        + decay,
        z**2 + beta * z**2 + decay,
        SCALAR,
    ).on(".optimum")


def _cosine(half: int, speed: int) -> Iterator[Step]:
    """Yield (ii): the flow in the plane of h and m, in polar coordinates, and its solution."""
    r, m, decay, t, r0 = sp.symbols("r m l t r_0", positive=True)
    phi, start = sp.symbols("φ φ_0", positive=True)
    x, y = sp.symbols("x y", positive=True)
    cosine = -m * x / sp.sqrt(x**2 + y**2)  # sum_own (1 - cos) = f - m.h/|h|, with m along the first axis
    velocity = [-sp.diff(cosine + decay / 2 * (x**2 + y**2), q) for q in (x, y)]
    polar = {x: r * sp.cos(phi), y: r * sp.sin(phi)}
    radial = sp.cos(phi) * velocity[0] + sp.sin(phi) * velocity[1]
    turning = (-sp.sin(phi) * velocity[0] + sp.cos(phi) * velocity[1]) / r
    yield entries(
        "h stays in the plane of h_0 and m; there dr/dt = -l r and dφ/dt = -|m| sin φ/r^2.",
        [(radial.subs(polar), -decay * r), (turning.subs(polar), -m * sp.sin(phi) / r**2)],
        SCALAR,
        by=sp.simplify,
    ).on(name="polar")
    norm = r0 * sp.exp(-decay * t)
    tau = (sp.exp(2 * decay * t) - 1) / (2 * decay * r0**2)
    yield entries(
        "|h| = |h_0| e^{-l t}, and dτ/dt = 1/|h|^2: short features rotate faster.",
        [(sp.diff(norm, t), -decay * norm), (sp.diff(tau, t), norm ** (-2 * speed))],
        SCALAR,
        by=sp.simplify,
    ).on(".polar", name="time")
    s = sp.Symbol("τ", positive=True)
    angle = half * sp.atan(sp.tan(start / half) * sp.exp(-m * s))
    yield identity(
        "dφ/dτ = -|m| sin φ is solved by tan(φ/2) = tan(φ_0/2) e^{-|m| τ}.",
        sp.diff(angle, s),
        -m * sp.sin(angle),
        SCALAR,
        by=lambda e: sp.simplify(sp.expand_trig(e)),
    ).on(".polar", ".time")


def _sphere(late: int) -> Iterator[Step]:
    """Yield (iii): along a great circle from the mean of the rows, with sums over the own rows in place of the rows."""
    f, g, s = sp.symbols("f g s", positive=True)
    square = sp.Symbol("q", nonnegative=True)
    # w.v of one row, v a unit tangent: the sum of y is 0 as v is orthogonal to m, and that of y^2 is q
    slope = sp.Symbol("y", real=True)
    c = sp.sqrt(g / f)  # cosine of every own row with m
    one = (1 - c * sp.cos(s) - slope * sp.sin(s)) ** 2 / 2
    moments = {slope**2: square / f, slope: sp.S.Zero}

    def summed(expr: sp.Expr) -> sp.Expr:
        """Return the sum over own rows of a polynomial in y."""
        poly = sp.Poly(sp.expand(expr), slope)
        powers = {0: sp.S.One, 1: moments[slope], 2: moments[slope**2]}
        return f * sum(coefficient * powers[power] for (power,), coefficient in poly.terms())

    at = [summed(sp.diff(one, s, order).subs(s, 0)) for order in range(3)]
    yield entries(
        "Every own row has the cosine sqrt(g/f) with m. On the way h = cos s m/|m| + sin s v, v orthogonal to m, with "
        "the sum q of squares of w.v over own rows: the value is (sqrt f - sqrt g)^2/2, the slope 0, the second "
        "derivative sqrt(f g) - g + q.",
        [(at[0], (sp.sqrt(f) - sp.sqrt(g)) ** 2 / 2), (at[1], 0), (at[2], sp.sqrt(f * g) - g + square)],
        NUMBERS,
        by=sp.simplify,
    ).on(".rows", name="sphere")
    a, extra = sp.Symbol("a", real=True), sp.Symbol("e", nonnegative=True)
    yield nonnegative(
        "q = cos^2 a within the own rows, by the eigenvalue above, and 0 if all rows are orthogonal to v. With "
        "f = 1 + e rows f - "
        "g = e cos^2 a >= 0, so that sqrt(f g) >= g, with equality for e = 0 only.",
        (1 + extra) - _gain(1 + extra, a),
        extra * sp.cos(a) ** 2,
        NUMBERS,
        by=sp.simplify,
    ).on(".rates", ".sphere")
    gap, phi = sp.symbols("c φ", positive=True)
    time = 1 / (2 * gap) + sp.log(2 / gap - 1) / 4
    passed = sp.diff(time, gap).subs(gap, 1 - sp.cos(phi)) * sp.sin(phi)  # dt/dφ
    yield identity(
        "One row: dφ/dt = -(1 - cos φ) sin φ, and t = 1/(2 c) + log(2/c - 1)/4 is its time.",
        passed * -(1 - sp.cos(phi)) * sp.sin(phi),
        sp.S.One,
        SCALAR,
        by=sp.simplify,
    ).on(name="one row")
    yield identity("Late, c t tends to 1/2.", sp.limit(gap * time, gap, 0, "+"), sp.S.One / late, SCALAR).on(".one row")


def _boundary(boundary: int) -> Iterator[Step]:
    """Yield (iv)."""
    f, g, k, q = sp.symbols("f_i g_i f_k g_k", positive=True)
    tangent = sp.sqrt(f * g**boundary / (k * q**boundary))
    phi = sp.atan(tangent)
    yield identity(
        "h = cos φ m_i/|m_i| + sin φ m_k/|m_k| has the sums |m_i| cos φ and |m_k| sin φ, which are equal at tan φ = "
        "|m_i|/|m_k|.",
        sp.sqrt(f * g) * sp.cos(phi),
        sp.sqrt(k * q) * sp.sin(phi),
        SCALAR,
        by=sp.simplify,
    ).on(".rows", ".orthogonal", name="crossing")
    yield identity(
        "Unit features with noise σ: the distance of m_i/|m_i| from the boundary is sin φ = sqrt(f_i g_i/(f_i g_i + "
        "f_k g_k)), so the pair error is Q(sin φ/σ).",
        f * g / sp.sqrt(f * g + k * q) / sp.sqrt(f * g),
        sp.sin(sp.atan(sp.sqrt(f * g / (k * q)))),
        SCALAR,
        by=sp.simplify,
    ).on(".crossing", quotes=(GAUSSIAN,))


check = residuals_of(derivation)
