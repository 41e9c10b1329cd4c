"""Critical points: a list of all, and why generic runs converge to none of them.

Theorem 1 (all matrices). The critical points of L(W, H) = cross-entropy of softmax(W H), any K >= 2 and width d >= 1,
are exactly W = 1 w^T, H = h 1^T: the origin, up to constants to which the softmax is invariant. There L = K log K, and
the Hessian has the eigenvalues

    0                                       with multiplicity 2d,
    +1 and -1                               with multiplicity (K-1)(d-1) each, and
    (|h|^2 +- sqrt(|h|^4 + 4))/2            with multiplicity K-1 each:

index (K-1) d at every critical point. The origin, h = 0, has +1 and -1 with multiplicity (K-1) d:
it is a strict saddle, and there are no spurious critical points at finite W, H, on or off a scheme.
The zeros are the directions along the 2d-dimensional set of critical points itself, which is
therefore normally hyperbolic: only a set of starts of measure zero stays near it.

Theorem 2 (dead modes). On a scheme a mode with a_i = b_i = 0 stays so. Along such a run the flow
linearized in (a_i, b_i) decouples from all other modes and has the rates +lambda_i(t) and
-lambda_i(t), with eigenvectors a_i = b_i and a_i = -b_i: lambda_i > 0, a saddle in these directions
at every time. A perturbation has grown by exp(Lambda_i), Lambda_i the integral of lambda_i dt. The
set a_i = -b_i is invariant, and |a_i| falls on it like exp(-Lambda_i). In the full space a width d
beyond the rank of the start adds d - rank such pairs in every eigenvector.

It is imprecise to call them spurious critical points to which a mode with a_i = -b_i decays. A run with dead modes has
no critical point at finite distance: unless a_i + b_i = 0 in every mode, its singular values are unbounded (on a
bounded set the forces are bounded below), and it converges in direction at most. And Lambda_i need not diverge. On
hadamard(16), with the modes {1, 2, 4, 9, 10, 12} at one s and mode 8 at -q = -a_8^2 <= 0, all others dead, from s_0 > 0
and q_0,

    Lambda_8 <= 32 e^{(q_0 - s_0)/8} / s_0 for all time:

a_8 = -b_8 does not decay to 0; and a small a_8 = b_8, for which q = -a_8^2 <= 0 in the bound, grows
by a bounded factor only, because the relations that mode 8 separates already have larger margins.

Source: arXiv:2512.04006 for the dead modes; [ceflow] for Theorem 1 in this form and for the
example.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import (
    ALL_MATRICES,
    RATIONAL,
    SCALAR,
    Step,
    by_chain_rule,
    entries,
    identity,
    nonnegative,
    residuals_of,
    vanish,
)
from ._quoted import MANIFOLDS, MONOTONE
from ._schemes import Model, Scheme, cyclic, hadamard, hamming
from ._sums import normal, other, summed

WRONG = {"one more negative eigenvalue": {"index_shift": 1}, "rates of the other sign": {"rate_sign": -1}}

HESSIANS = (  # K, w, h: critical points at which the whole Hessian is computed
    (2, (0,), (0,)),
    (3, (0,), (0,)),
    (3, (0, 0), (0, 0)),
    (4, (0, 0), (0, 0)),
    (2, (3,), (2,)),
    (3, (1, 2), (0, 0)),
    (3, (1, -1), (3, 4)),
)
SCHEMES = ((hadamard(4), (3,)), (hadamard(4), (2, 3)), (cyclic(5), (2,)), (hamming(2, 3), (1,)))


def spectrum(K: int, d: int, h_squared: object, index_shift: int = 0) -> dict[sp.Expr, int]:
    """Return the eigenvalues of the Hessian at W = 1 w^T, H = h 1^T, with multiplicities (coinciding ones merged)."""
    h_squared = sp.sympify(h_squared)
    root = sp.sqrt(h_squared**2 + 4)
    found: dict[sp.Expr, int] = {}
    for value, count in (
        (sp.S.Zero, 2 * d - index_shift),
        (sp.S.One, (K - 1) * (d - 1)),
        (sp.S.NegativeOne, (K - 1) * (d - 1) + index_shift),
        ((h_squared + root) / 2, K - 1),
        ((h_squared - root) / 2, K - 1),
    ):
        found[value] = found.get(value, 0) + count
    return {value: count for value, count in found.items() if count}


def derivation(index_shift: int = 0, rate_sign: int = 1) -> Iterator[Step]:
    """Yield the proof; arguments are an error of the index (taken from the zeros), and the sign of the rates."""
    yield from _no_others()
    yield from _hessian()
    for K, w, h in HESSIANS:
        yield _explicit_hessian(K, w, h, index_shift)
    yield from _dead_modes(rate_sign)
    yield from _bounded_growth()


def _no_others() -> Iterator[Step]:
    K, j, c, r = sp.Symbol("K", integer=True, positive=True), *sp.symbols("j c r", integer=True)
    P, x = sp.IndexedBase("P", positive=True), sp.IndexedBase("x", real=True)
    gap = sp.IndexedBase("g", nonnegative=True)
    columns = [(summed, P[summed, other], sp.S.One)]
    yield nonnegative(
        "Let x be a column of W with x^T (I - p) = 0, and c a class where x is largest, g_j = x_c - x_j >= 0. Every "
        "p_jc is positive, so 0 = (x^T (I - p))_c, the sum below, has all g_j = 0: W^T G = 0 if and only if W = 1 "
        "w^T.",
        x[c] - sp.Sum(x[j] * P[j, c], (j, 1, K)),
        sp.Sum(P[j, c] * gap[j], (j, 1, K)),
        "every K, symbolic",
        by=lambda e: vanish(normal(e.xreplace({gap[j]: x[c] - x[j]}), columns)),
    ).on("reduction.loss", "reduction.H", name="classifier")
    y, uniform = sp.IndexedBase("y", real=True), sp.KroneckerDelta(j, c) - 1 / K
    yield identity(
        "Then the columns of Z = 1 w^T H are constant, p = J/K, and G H^T = 0 says that every row y of H equals its "
        "mean: H = h 1^T.",
        sp.Sum(uniform * y[c], (c, 1, K)),
        y[j] - sp.Sum(y[r], (r, 1, K)) / K,
        "every K, symbolic",
        by=lambda e: vanish(normal(e, [])),
    ).on("reduction.W", ".classifier", name="critical")


def _hessian() -> Iterator[Step]:
    K, d, j, c = *sp.symbols("K d", integer=True, positive=True), *sp.symbols("j c", integer=True)
    step, shift = sp.Symbol("ε", real=True), sp.Symbol("v", real=True)
    x, y, q = sp.IndexedBase("x", real=True), sp.IndexedBase("y", real=True), sp.IndexedBase("q", real=True)
    moved = shift + step * (x[j] + y[c]) + step**2 * q[j, c]
    loss = sp.Sum(sp.log(sp.Sum(sp.exp(moved), (j, 1, K))) - moved.xreplace({j: c}), (c, 1, K))
    second = sp.diff(loss, step, 2).xreplace({step: sp.S.Zero})
    centered = sp.Sum((x[j] - sp.Sum(x[c], (c, 1, K)) / K) ** 2, (j, 1, K))
    coupling = sp.Sum((sp.KroneckerDelta(j, c) - 1 / K) * q[j, c], (j, 1, K), (c, 1, K))
    yield identity(
        "Move to 1 w^T + ε U, h 1^T + ε Y: Z_jc = v + ε (x_j + y_c) + ε^2 q_jc with x = U h, y = Y^T w, q = U Y. The "
        "second derivative of the loss is |G_0 U h|^2 - 2 <G_0, U Y>; w drops out.",
        second,
        centered - 2 * coupling,
        "every K, symbolic",
        by=lambda e: vanish(normal(e, [])),
    ).on(".critical", name="Hessian")
    eta, mu = sp.symbols("η μ", real=True)
    blocks = sp.Matrix([[0, -1], [-1, 0]]), sp.Matrix([[eta**2, -1], [-1, 0]])
    yield identity(
        "In an eigenbasis of G_0 and a basis of R^d with h along its first vector, the form splits into K-1 copies "
        "of: d-1 forms -2 x y, of eigenvalues +1, -1 ...",
        (blocks[0] - mu * sp.eye(2)).det(),
        (mu - 1) * (mu + 1),
        ALL_MATRICES,
    ).on(".Hessian", name="blocks")
    root = sp.sqrt(eta**4 + 4)
    yield identity(
        "... and one form η^2 x^2 - 2 x y, η = |h|, of eigenvalues (η^2 +- sqrt(η^4 + 4))/2. Their product is -1: "
        "one of each sign. Nothing depends on the constant parts of U and Y: 2d zeros.",
        (blocks[1] - mu * sp.eye(2)).det(),
        (mu - (eta**2 + root) / 2) * (mu - (eta**2 - root) / 2),
        ALL_MATRICES,
    ).on(".Hessian", name="block")
    yield identity(
        "All 2 K d dimensions are counted.", 2 * (K - 1) * (d - 1) + 2 * (K - 1) + 2 * d, 2 * K * d, ALL_MATRICES
    ).on(".blocks", ".block", quotes=(MANIFOLDS,))


def _explicit_hessian(K: int, w: tuple[int, ...], h: tuple[int, ...], index_shift: int) -> Step:
    d = len(w)
    W, H = sp.Matrix(K, d, sp.symbols(f"w:{K * d}")), sp.Matrix(d, K, sp.symbols(f"h:{K * d}"))
    z, entries_of = sp.Matrix(K, K, sp.symbols(f"z:{K * K}")), [*W, *H]
    logits = dict(zip(z, W * H, strict=True))
    loss = sum(sp.log(sum(map(sp.exp, z[:, c]))) - z[c, c] for c in range(K))
    at = dict(zip(entries_of, [*(list(w) * K), *(v for v in h for _ in range(K))], strict=True))
    at |= {symbol: value.xreplace(at) for symbol, value in logits.items()}
    gradient = by_chain_rule(loss, logits, entries_of)
    through = [by_chain_rule(g, logits, entries_of) for g in gradient]
    exact = sp.Matrix(
        len(gradient),
        len(gradient),
        lambda i, j: sp.cancel((through[i][j] + sp.diff(gradient[i], entries_of[j])).xreplace(at)),
    )
    mu, h_squared = sp.Symbol("μ"), sum(v * v for v in h)
    claim = sp.prod((mu - value) ** count for value, count in spectrum(K, d, h_squared, index_shift).items())
    return entries(
        f"K = {K}, d = {d}, w = {w}, h = {h}: the gradient of the loss is 0, and its Hessian, {2 * K * d} x "
        f"{2 * K * d}, has the "
        "characteristic polynomial of the theorem.",
        [*((g.xreplace(at), sp.S.Zero) for g in gradient), (exact.charpoly(mu).as_expr(), claim)],
        f"(K, d) = ({K}, {d})",
        how=RATIONAL,
    )


def _dead_modes(rate_sign: int) -> Iterator[Step]:
    for scheme, dead in SCHEMES:
        yield _transverse(scheme, dead, rate_sign)
    lam, a, b = sp.symbols("λ a b", real=True)
    jacobian = sp.Matrix([[0, lam], [lam, 0]])
    yield entries(
        "So the linearized flow of a dead mode is da/dt = λ b, db/dt = λ a: eigenvectors (1, 1) and (1, -1) with the "
        "rates +λ and -λ.",
        [
            (jacobian * sp.Matrix([1, 1]), rate_sign * lam * sp.Matrix([1, 1])),
            (jacobian * sp.Matrix([1, -1]), -rate_sign * lam * sp.Matrix([1, -1])),
        ],
        SCALAR,
    ).on("reduction.modes", "mirror.gradient", name="dead")
    yield identity(
        "The set a = -b is invariant: d(a + b)/dt = λ (a + b).", lam * b + lam * a, lam * (a + b), SCALAR
    ).on("reduction.modes")
    K, d = sp.symbols("K d", integer=True, positive=True)
    n = sp.Symbol("r", integer=True, positive=True)
    O, B = sp.MatrixSymbol("O", n, d), sp.MatrixSymbol("B", n, K)  # noqa: E741
    u, x = sp.MatrixSymbol("u", K, 1), sp.MatrixSymbol("x", d, 1)
    yield identity(
        "Width: if x is orthogonal to the r rows of O that the factors use, H = O^T B, then moving W along u x^T "
        "does not move Z to first order, so G stays, and (u x^T, x u^T) obeys the same linear equation with λ_i for "
        "u in eigenspace i.",
        u * x.T * O.T * B,
        sp.ZeroMatrix(K, K),
        ALL_MATRICES,
        by=lambda e: sp.S.Zero if e.subs(x.T * O.T, sp.ZeroMatrix(1, n)).doit().is_ZeroMatrix else e,
    ).on("reduction.W", "reduction.modes")


def _transverse(scheme: Scheme, dead: tuple[int, ...], rate_sign: int) -> Step:
    """Compare the Hessian of the reduced loss in the dead modes, and its couplings to all others, with the claim."""
    a, b = (sp.symbols(f"{name}1:{scheme.D + 1}", real=True) for name in "ab")
    model = Model(scheme, [x * y for x, y in zip(a, b, strict=True)])
    loss = -model.K * sp.log(model.p0)
    at = {v[i - 1]: sp.S.Zero for v in (a, b) for i in dead}
    pairs = []
    for i in dead:
        for first, partner in ((a, b), (b, a)):
            slope = sp.diff(loss, first[i - 1])
            pairs.append((slope.xreplace(at), sp.S.Zero))
            for variable in (*a, *b):
                force = model.m(i) * model.lam(i) if variable == partner[i - 1] else sp.S.Zero
                pairs.append((sp.diff(slope, variable).xreplace(at), -rate_sign * force.xreplace(at)))
    return entries(
        f"{scheme.name}, modes {dead} dead, the others symbolic: the loss is stationary in their a_i, b_i, its "
        f"second derivative is "
        "-m_i lambda_i in (a_i, b_i), and 0 in all other pairs.",
        pairs,
        scheme.name,
    )


def _bounded_growth() -> Iterator[Step]:
    """Yield the example on hadamard(16) in which the total force on a dead mode is bounded."""
    s, s0, q = *sp.symbols("s s_0", positive=True), sp.Symbol("q", real=True)
    active = (1, 2, 4, 9, 10, 12)
    model = Model(hadamard(16), [s if i in active else -q if i == 8 else 0 for i in range(1, 16)])
    name = "hadamard(16), one family"
    yield entries(
        "hadamard(16), modes 1, 2, 4, 9, 10, 12 at s, mode 8 at -q, the others dead: the six forces agree, so the "
        "six stay equal.",
        [(model.lam(1), model.lam(i)) for i in active[1:]],
        name,
    ).on("closure.force", "reduction.modes", name="six")
    bound = 8 * sp.exp((q - s) / 8)
    relative = sp.exp(q / 8 - s / 8) * (2 * sp.exp(-s / 2) + sp.exp(-3 * s / 4) + 4 * sp.exp((q - 3 * s) / 8))
    lam, (u, w) = sp.symbols("λ_1 λ_8"), sp.symbols("u w", positive=True)
    total = sp.Add(*(sp.exp(model.z(j) - model.z0) for j in range(16)))
    yield nonnegative(
        "The force on mode 8 is at most 8 e^{(q-s)/8} times that on the six: the difference is a sum of positive "
        "terms, S = 1/p_0.",
        bound * model.lam(1) - model.lam(8),
        16 * relative / total,
        name,
        by=lambda e: vanish(e.subs({s: 8 * sp.log(u), q: 8 * sp.log(w)})),  # rational in u = e^{s/8}, w = e^{q/8}
        shows=sp.Eq(bound * lam[0] - lam[1], 16 * relative / sp.Symbol("S"), evaluate=False),
    ).on(".six", "closure.force", name="force")
    lead = sp.Symbol("δ", nonnegative=True)  # s = s_0 + δ
    yield nonnegative(
        "The six are balanced, ds/dt = 2 s λ_1: per unit of s, Λ_8 grows by at most 8 e^{(q-s)/8}/(2 s), hence at most "
        "4 e^{(q-s)/8}/s_0, where s = s_0 + δ: the difference.",
        4 * sp.exp((q - s) / 8) / s0 - bound / (2 * s),
        4 * sp.exp((q - s) / 8) * lead / (s * s0),
        name,
        by=lambda e: vanish(e.subs(s, s0 + lead)),
    ).on(".six", ".force", name="per s")
    yield identity(
        "q only falls, q <= q_0, and the integral from s_0 to infinity is finite; e^{Λ_8} is bounded.",
        sp.Integral(4 * sp.exp((q - s) / 8) / s0, (s, s0, sp.oo)),
        32 * sp.exp((q - s0) / 8) / s0,
        name,
        by=lambda e: vanish(sp.powsimp(sp.expand(e.doit()))),
    ).on(".per s", "positivity.positive", quotes=(MONOTONE,))


check = residuals_of(derivation)
