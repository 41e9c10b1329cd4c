"""Deep relu layers with squared error and decay: profile, deep collapse, and strongly regular graphs.

Setting. K classes, L weight matrices and linear features H, relu after all weight matrices but the
last, the loss |Z - I|^2/(2K) + (l/2) (sum of squared norms of the L + 1 factors), p = 2/(L + 1).

Theorem. (i) If the smallest sum of squared norms with Z = z I is C z^p, the loss is stationary in z
where (1 - z) z^{1-p} = l C p/2, and equal to that of zero layers where z = (1/p - 1)/(1/p - 1/2), so
at l C/2 = (1 - z) z^{1-p}/p. (ii) Factors that multiply z and have product P z^2 of squared norms
cost at least (L + 1) (P z^2)^{1/(L+1)}; deep collapse has P = K^{L+1}, so C = (L + 1) K. (iii) For K
= r(r-1)/2 classes, the edges of the complete graph on r vertices, the incidence matrix N has N N^T =
(r - 2) I + J. The graph A of disjoint edges is strongly regular, N^T N = I + J - A, and relu of
-(N^T N - J) is A. On constants, sums over vertices and the rest A is (r-2)(r-3)/2, -(r-3) and 1, so

    w = |A^-1|^2 = 4/((r-2)^2 (r-3)^2) + (r-1)/(r-3)^2 + r(r-3)/2.

(iv) With two weight matrices (L = 2) C = 3 (w (r-1+k)^2 (r-2)^2)^{1/3}, k = (r-1)(r-4)/(2(r-2)), is
never below 3 K, and equal to it for r = 4.

Source: the model is that of arXiv:2405.14468, of which we read the abstract; proofs are [ceflow].
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import sympy as sp

from ._proof import SCALAR, Step, entries, identity, nonnegative, residuals_of
from ._quoted import MEANS, NUCLEAR

WRONG = {
    "stationary with l C p": {"pull": 2},
    "threshold where the slope has its maximum": {"shift": 1},
    "collapse has C = L K": {"collapse": 0},
    "A is r - 3 on sums over vertices": {"sign": 1},
    "the third mode is -1": {"third": 2},
    "w without the constants": {"constants": 0},
}

EVERY = "every number of vertices, symbolic"


def derivation(
    pull: int = 1, shift: int = 0, collapse: int = 1, sign: int = -1, third: int = 1, constants: int = 1
) -> Iterator[Step]:
    """Yield the proof; arguments are factors and eigenvalues of the theorem."""
    yield from _profile(pull, shift)
    yield from _norms(collapse)
    yield from _graph(sign, third, constants)
    yield from _three_layers(constants)


def _profile(pull: int, shift: int) -> Iterator[Step]:
    z, decay, C, p = sp.symbols("z l C p", positive=True)
    loss = (z - 1) ** 2 / 2 + decay / 2 * C * z**p
    rest = {C: 2 * (1 - z) * z ** (1 - p) / (decay * p) / pull}
    yield identity(
        "(i) The loss on Z = z I is (z - 1)^2/2 + l C z^p/2; its slope is 0 where (1 - z) z^{1-p} = l C p/2.",
        sp.diff(loss, z).subs(rest),
        sp.S.Zero,
        SCALAR,
        by=sp.simplify,
    ).on(name="stationary")
    gain = sp.simplify((loss - sp.Rational(1, 2)).subs({C: 2 * (1 - z) * z ** (1 - p) / (decay * p)}) / z)
    yield identity(
        "There the loss less 1/2 is z (z/2 - 1 + (1 - z)/p), which is 0 at z = (1/p - 1)/(1/p - 1/2).",
        gain.subs(z, (1 / p - 1 - shift * (1 / p - 1) / 2) / (1 / p - sp.Rational(1, 2))),
        sp.S.Zero,
        SCALAR,
        by=sp.simplify,
    ).on(".stationary")


def _norms(collapse: int) -> Iterator[Step]:
    L, K, z, x, y = sp.symbols("L K z x y", positive=True)
    yield nonnegative(
        "(ii) Of two squared norms x^2 and y^2 the sum is at least twice the root of the product, so the sum of all is "
        "least where they agree: then it is (L + 1) (P z^2)^{1/(L+1)}.",
        x**2 + y**2 - 2 * x * y,
        (x - y) ** 2,
        SCALAR,
    ).on(name="means", quotes=(MEANS,))
    yield identity(
        "Deep collapse: L + 1 isometries z^{1/(L+1)} I of squared norm K z^{2/(L+1)}, C = (L + 1) K.",
        (L + 1) * (K ** (L + 1) * z**2) ** (1 / (L + 1)),
        (L + collapse) * K * z ** (2 / (L + 1)),
        SCALAR,
        by=lambda e: sp.simplify(sp.powdenest(sp.expand(e), force=True)),
    ).on(".means")


def _inverse_norm(r: sp.Expr, constants: int) -> sp.Expr:
    """Return w."""
    return constants * 4 / ((r - 2) ** 2 * (r - 3) ** 2) + (r - 1) / (r - 3) ** 2 + r * (r - 3) / 2


def _graph(sign: int, third: int, constants: int) -> Iterator[Step]:
    """Yield (iii): counts of edges that meet, for every r, and the matrices themselves for a few."""
    r = sp.Symbol("r", integer=True, positive=True)
    K = r * (r - 1) / 2
    whole, some, rest = (r - 2) * (r - 3) / 2, sign * (r - 3), 2 - third
    yield entries(
        "An edge is at two vertices, a vertex at r - 1 edges, two vertices at one edge: N N^T = (r - 1) I + (J - I) = "
        "(r - 2) I + J, so N^T N is 2 (r-1), r - 2 and 0 on constants, sums over vertices and the rest. A = I + J - "
        "N^T N is (r-2)(r-3)/2, -(r-3) and 1 there: the numbers of disjoint edges, and A has trace 0.",
        [
            (1 + K - 2 * (r - 1), whole),
            (1 - (r - 2), some),
            (sp.Integer(1), rest),
            (whole + (r - 1) * some + r * (r - 3) / 2 * rest, sp.S.Zero),
        ],
        EVERY,
    ).on(name="graph")
    yield identity(
        "|A^-1|^2 is the sum of inverse squares with multiplicities 1, r - 1 and r (r-3)/2.",
        1 / whole**2 + (r - 1) / some**2 + r * (r - 3) / 2 / rest**2 if rest else sp.oo,
        _inverse_norm(r, constants),
        EVERY,
    ).on(".graph", name="norm")
    yield identity(
        "A is strongly regular: on what is orthogonal to constants A^2 + (r - 4) A - (r - 3) I = 0, so A^2 = (r-3) I - "
        "(r-4) A + c J.",
        (some - 1) * (some + r - 3) + (rest - 1) * (rest + r - 3),
        sp.S.Zero,
        EVERY,
    ).on(".graph")
    for size in (4, 5, 6):
        yield _matrices(size, sign, third)


def _matrices(r: int, sign: int, third: int) -> Step:
    """Compare incidence and adjacency matrices entry by entry."""
    pairs = list(itertools.combinations(range(r), 2))
    N = sp.Matrix(r, len(pairs), lambda v, e: int(v in pairs[e]))
    K, J = len(pairs), sp.ones(len(pairs))
    A = sp.Matrix(K, K, lambda a, b: int(not set(pairs[a]) & set(pairs[b])))
    last = J - N.T * N
    relu = last.applyfunc(lambda x: sp.Max(x, 0))
    standard = N.T * (N - sp.ones(r, K) * sp.Rational(2, r))  # columns are sums over vertices, without constants
    values = sp.Integer(sign * (r - 3)), sp.Integer(2 - third)
    other = (A - values[0] * sp.eye(K)) * (A - values[1] * sp.eye(K))
    return entries(
        f"r = {r}: N N^T = (r-2) I + J; relu of J - N^T N is A; A is -(r-3) on sums over vertices, and 1 on the rest.",
        [
            (N * N.T, (r - 2) * sp.eye(r) + sp.ones(r)),
            (relu, A),
            (N.T * N, sp.eye(K) + J - A),
            (A * standard, values[0] * standard),
            (other * (sp.eye(K) - J / K), sp.zeros(K)),
        ],
        f"r = {r}",
    )


def _three_layers(constants: int) -> Iterator[Step]:
    r, m = sp.Symbol("r", positive=True), sp.Symbol("m", nonnegative=True)
    K, k = r * (r - 1) / 2, (r - 1) * (r - 4) / (2 * (r - 2))
    rows, constant = r - 2, 2 * (r - 1) - K  # of N^T N - J on sums over vertices, on constants
    yield nonnegative(
        "(iv) L = 2: the features before the relu are a (J - N^T N), of rank r. On constants it is a (r-2) k, not "
        "negative for r = 4 + m ...",
        -constant.subs(r, m + 4),
        m * (m + 3) / 2,
        EVERY,
    ).on(".graph")
    yield identity(
        "... so its nuclear norm is a (r-2) (r-1+k), the least (|W_1|^2 + |H_1|^2)/2. With |W_2|^2 = w z^2/a^2 the "
        "three have the product w (r-1+k)^2 (r-2)^2 z^2.",
        -constant + (r - 1) * rows,
        (r - 2) * (r - 1 + k),
        EVERY,
    ).on(".graph", ".norm", name="three", quotes=(NUCLEAR,))
    excess = sp.together(_inverse_norm(r, constants) * (r - 1 + k) ** 2 * (r - 2) ** 2 - K**3)
    yield identity("C^3/27 - K^3 = w (r-1+k)^2 (r-2)^2 - K^3 is 0 at r = 4.", excess.subs(r, 4), sp.S.Zero, "r = 4").on(
        ".means", ".three"
    )
    for part in sp.fraction(sp.together(excess.subs(r, m + 5))):
        yield nonnegative(
            "At r = 5 + m its numerator and its denominator are polynomials in m without negative coefficients.",
            part,
            sp.expand(part),
            "every r >= 5",
        ).on(".three")


check = residuals_of(derivation)
