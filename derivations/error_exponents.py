"""Error exponents of a linear classifier: their loss by misalignment, for pairs of classes.

Setting. Features of class k are Gaussian around μ_k with covariance s^2 Σ, the decision is the
largest of w_j.x + b_j. The probability that k is taken for j has the exponent E_kj = lim -s^2 log P
as s goes to 0. Write u = w_k - w_j, D = μ_k - μ_j, and θ for the angle between Σ^(1/2) u and
Σ^(-1/2) D.

Theorem. For positive margins

    E_kj = (u.μ_k + b_k - b_j)^2 / (2 u^T Σ u),

    min(E_kj, E_jk) <= cos^2 θ |D|^2_{Σ^-1} / 8 <= |D|^2_{Σ^-1} / 8,

with equality in the first if and only if the boundary is as far from one mean as from the other, in the second if and
only if u is a positive multiple of Σ^-1 D. So the nearest class mean is optimal for all pairs at once, and misalignment
multiplies the exponent of a pair by exactly cos^2 θ. Simplex means of radius ρ have the optimum ρ^2 K/(4 (K-1)); rows
that are turned out of their span by θ have cos^2 θ of it. Equal margins m are equidistant: E_kj = m^2/(2 |u|^2).

Proof. E_kj is half the squared distance of μ_k from the half-space of error, in coordinates in
which the noise is white, by Gaussian tails. The two distances of a pair add up to |D| cos θ
whatever the biases, and the smaller one is at most their mean.

Source: [ceflow], a model of the "optimal error exponent" of arXiv:2512.07844, of which we read only the abstract.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import SCALAR, Step, entries, identity, nonnegative, residuals_of, vanish
from ._quoted import GAUSSIAN, LIMITS
from ._sums import normal

ANY_WIDTH = "every width, symbolic"

WRONG = {
    "the mean of the two distances instead of the smaller": {"mean": 1},
    "|D|^2/4 instead of |D|^2/8": {"share": 4},
    "cos θ instead of its square": {"power": 1},
    "aligned rows of any norms are optimal": {"norms": 2},
    "w = μ is optimal for any covariance": {"whitened": 0},
}


def derivation(mean: int = 0, share: int = 8, power: int = 2, norms: int = 1, whitened: int = 1) -> Iterator[Step]:
    """Yield the proof.

    Arguments are whether the mean of two distances is claimed to be the smaller, the divisor of |D|^2, the power of
    cos θ, the ratio of the norms of two aligned rows that are claimed to be optimal, and the power of Σ^-1 in the
    optimal row.
    """
    yield from _distance()
    yield from _pair(mean, share, power)
    yield from _cauchy_schwarz()
    yield from _optimum(norms, whitened)
    yield from _simplices()


def _distance() -> Iterator[Step]:
    """Yield the distance from a half-space, and the exponent of the tail."""
    t, s, q = sp.symbols("t s q", positive=True)
    r = sp.Symbol("r", real=True)
    yield nonnegative(
        "White noise: z = p a + r, with a the unit normal of the boundary at distance t and r orthogonal to a. Where "
        "p >= t, p = t + q, half of |z|^2 exceeds t^2/2 by a sum of terms: the nearest error is t a.",
        ((t + q) ** 2 + r**2) / 2 - t**2 / 2,
        q * t + q**2 / 2 + r**2 / 2,
        SCALAR,
    ).on(name="nearest")
    tail = sp.erfc(t / (s * sp.sqrt(2))) / 2
    yield identity(
        "The tail of a Gaussian of deviation s beyond t is Φ(-t/s): -s^2 times its logarithm tends to t^2/2 (its "
        "leading term, t^2/2 + s^2 log(t sqrt(2 π)/s)).",
        sp.limit(tail * sp.exp(t**2 / (2 * s**2)) * t / s, s, 0, "+"),
        1 / sp.sqrt(2 * sp.pi),
        SCALAR,
    ).on(".nearest", name="tail", quotes=(GAUSSIAN, LIMITS))
    d = sp.Symbol("d", integer=True, positive=True)
    u = sp.MatrixSymbol("u", d, 1)
    L = sp.MatrixSymbol("L", d, d)
    yield identity(
        "Noise of covariance Σ = L L^T is x = μ_k + s L z: the margin u.x changes by s (L^T u).z, so the distance is "
        "the margin over the norm of L^T u, whose square is u^T Σ u.",
        (L.T * u).T * (L.T * u),
        u.T * (L * L.T) * u,
        ANY_WIDTH,
        by=lambda e: sp.S.Zero if e.doit().expand().doit().is_ZeroMatrix else e,
    ).on(name="norm")
    v, i, b = sp.IndexedBase("u"), sp.Symbol("i", integer=True), sp.Symbol("b")
    first, second = sp.IndexedBase("μ_k"), sp.IndexedBase("μ_j")

    def total(term: sp.Expr) -> sp.Expr:
        return sp.Sum(term, (i, 1, d))

    yield identity(
        "The margins of both classes of a pair add up to u.D, whatever the biases (b = b_k - b_j).",
        (total(v[i] * first[i]) + b) + (-total(v[i] * second[i]) - b),
        total(v[i] * (first[i] - second[i])),
        ANY_WIDTH,
        by=lambda e: vanish(normal(e, [])),
    ).on(name="sum")


def _pair(mean: int, share: int, power: int) -> Iterator[Step]:
    """Yield the bound for a pair: a = smaller distance, a + δ the other one, and their sum |D| cos θ."""
    a, delta = sp.symbols("a δ", nonnegative=True)
    size, cosine = sp.symbols("D c", positive=True)
    smaller = a + mean * delta / 2
    yield nonnegative(
        "Distances a and a + δ from the boundary: the smaller exponent a^2/2 is at most (2 a + δ)^2/8, half the square "
        "of the mean distance, with equality if and only if δ = 0.",
        (2 * a + delta) ** 2 / 8 - smaller**2 / 2,
        a * delta / 2 + delta**2 / 8,
        SCALAR,
    ).on(".tail", name="smaller")
    yield identity(
        "The distances add up to u.D/|u| = |D| cos θ, so the bound is cos^2 θ |D|^2/8.",
        (size * cosine) ** 2 / 8,
        cosine**power * size**2 / share,
        SCALAR,
    ).on(".sum", ".norm", ".smaller")


def _cauchy_schwarz() -> Iterator[Step]:
    """Yield |u|^2 |D|^2 - (u.D)^2 as a sum of squares, in every width."""
    u, D = sp.IndexedBase("u", real=True), sp.IndexedBase("D", real=True)
    n = sp.Symbol("d", integer=True, positive=True)
    i, j = sp.symbols("i j", integer=True)
    squares = (u[i] * D[j] - u[j] * D[i]) ** 2 / 2
    product = u[i] ** 2 * D[j] ** 2 - u[i] * D[i] * u[j] * D[j]

    def symmetric(expr: sp.Expr) -> sp.Expr:
        """Double sums over i and j do not change when these are exchanged."""
        swapped = expr.function.xreplace({i: j, j: i})
        return sp.expand(expr.function + swapped)

    yield nonnegative(
        "cos^2 θ <= 1 (Cauchy and Schwarz): |u|^2 |D|^2 - (u.D)^2 is a double sum, which is that of squares when i and "
        "j are exchanged; 0 if and only if u and D are parallel.",
        sp.Sum(product, (i, 1, n), (j, 1, n)),
        sp.Sum(squares, (i, 1, n), (j, 1, n)),
        ANY_WIDTH,
        by=lambda e: sum(symmetric(part) * coefficient for part, coefficient in _double_sums(e)),
    )


def _double_sums(expr: sp.Expr) -> Iterator[tuple[sp.Expr, sp.Expr]]:
    for term in sp.Add.make_args(expr):
        coefficient, part = term.as_coeff_Mul()
        yield part, coefficient


def _optimum(norms: int, whitened: int) -> Iterator[Step]:
    """Yield that the nearest class mean reaches all optima, and that aligned rows need not."""
    x, y, v, w = sp.symbols("x y v w", real=True)
    a, b = sp.symbols("a b", positive=True)
    mu, nu = sp.Matrix([x, y]), sp.Matrix([v, w])
    cov = sp.diag(a, b)
    D, inverse = mu - nu, cov.inv() ** whitened
    u = inverse * D
    square = (D.T * cov.inv() * D)[0]
    bias = -(mu.T * inverse * mu)[0] / 2 + (nu.T * inverse * nu)[0] / 2
    margin = (u.T * mu)[0] + bias
    yield identity(
        "The nearest class mean, w = Σ^-1 μ and b = -μ.Σ^-1 μ/2, in coordinates in which Σ is diagonal: both margins "
        "are |D|^2/2 in the norm of Σ^-1, and E_kj = |D|^2/8.",
        8 * margin**2,
        square * 2 * (u.T * cov * u)[0],
        "every diagonal covariance in two dimensions, of which the plane of a pair has no more",
        by=lambda e: sp.expand(sp.numer(sp.together(e))),
    ).on(".tail", ".norm")
    p, q = sp.Matrix([1, 0]), sp.Matrix([0, 1])
    rows = p - norms * q
    yield identity(
        "Rows that are aligned one by one, w = μ for two orthogonal unit means: cos θ = 1 needs equal norms as well.",
        (rows.dot(p - q)) ** 2,
        rows.dot(rows) * (p - q).dot(p - q),
        "two classes",
        how="exact rational evaluation",
    )


def _simplices() -> Iterator[Step]:
    """Yield the numbers of simplices, turned and not, and of equal margins."""
    K, rho, theta, m = sp.symbols("K ρ θ m", positive=True)
    size = sp.Symbol("u", positive=True)
    square = rho**2 * (2 + 2 / (K - 1))  # of the distance of two vertices, of inner product -ρ^2/(K-1)
    best = rho**2 * K / (4 * (K - 1))
    yield identity(
        "A simplex of radius ρ: |μ_k - μ_j|^2/8 = ρ^2 K/(4 (K-1)).",
        square / 8,
        best,
        "every K, symbolic",
        by=sp.simplify,
    )
    inner = sp.cos(theta) * rho * square / rho**2 / 2  # (w_k - w_j).μ_k, rows cos θ m_k + sin θ n_k with unit m and n
    yield identity(
        "Rows cos θ m_k + sin θ n_k, n a simplex orthogonal to all means: (w_k - w_j).μ_k = cos θ ρ K/(K-1) and |w_k - "
        "w_j|^2 = 2 K/(K-1), so that E = cos^2 θ E*.",
        inner**2 / (2 * square / rho**2),
        sp.cos(theta) ** 2 * best,
        "every K, symbolic",
        by=sp.simplify,
    ).on(".tail", ".norm")
    yield entries(
        "Equal margins m of both classes: the boundary is equidistant, u.D = 2 m, and E = m^2/(2 |u|^2) is cos^2 θ "
        "|D|^2/8.",
        [(m**2 / (2 * size**2), (2 * m / size) ** 2 / 8)],
        SCALAR,
    ).on(".tail", ".norm", ".sum")


check = residuals_of(derivation)
