"""Geometric complexity: the linear model, the floor of the normalized variance, and few-shot classification.

Setting. Inputs of class c are x_c + τ ξ, the x_c orthonormal columns of S, the mean of ξ ξ^T the identity. Features are
A x, logits W A x; training inputs are the x_c. H = A S, B = A (I - S S^T).

Theorem. (i) H follows the unconstrained features model, dH/dt = W^T G - l H, whatever the loss, and dB/dt = -l B: noise
directions are constant, or decay. The geometric complexity is |A|^2 = |H|^2 + |B|^2, and the variance of every class
τ^2 |A|^2; of noise of covariance C at most the largest eigenvalue of C times |A|^2. On a scheme |H|^2 = sum_i m_i
b_i^2, and squared distances d_j^2 = (2/K) sum_i m_i b_i^2 (1 - P_ij/k_j) have the sum sum_j k_j d_j^2 = 2 |H|^2.

(ii) The mean over pairs of classes of the variance over the squared distance is at least τ^2 (K-1)/2,
with equality if and only if all distances agree, the mean of H is 0, and B = 0: at collapse.

(iii) Known means: the error between two classes, Q(|D|^2/(2 τ |A^T D|)), is never less than that of the
inputs, Q(1/(sqrt(2) τ)). Means of n samples each, Gaussian classes of covariance C: the margin
|h - m_j|^2 - |h - m_i|^2 has the mean |D|^2 and the variance

    v = 4 (1 + 1/n) D^T C D + (8/n + 4/n^2) tr C^2,

its sign is wrong with a probability of at most v/(v + |D|^4), and v <= (4 (1 + 1/n) V + (8/n + 4/n^2)
V^2) |D|^4 with V = tr C/|D|^2.

(iv) Under decay lW, lH the complexity at the collapsed equilibrium is (K-1) s sqrt(lW/lH); the
normalized variance there is the floor whatever lW/lH.

Source: [ceflow], a model of the claim of arXiv:2405.15706, of which we read the abstract.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import ALL_MATRICES, ALL_SCHEMES, SCALAR, Step, entries, identity, nonnegative, residuals_of, vanish
from ._quoted import GAUSSIAN
from ._sums import Generic, normal

WRONG = {
    "noise directions are trained": {"seen": 1},
    "a floor of τ^2 K/2": {"classes": 0},
    "few shots: 4/n in place of 8/n": {"quadratic": 4},
    "few shots: as if means were known": {"estimated": 0},
    "Cantelli without the square": {"power": 1},
    "complexity with lH/lW": {"ratio": -1},
}
SYMBOLIC = "every number of classes and features, symbolic"


def derivation(
    seen: int = 0, classes: int = 1, quadratic: int = 8, estimated: int = 1, power: int = 2, ratio: int = 1
) -> Iterator[Step]:
    """Yield the proof.

    Arguments are whether training moves noise directions, what is taken off K in the floor, the factor of tr C^2 / n in
    the variance of the margin and that of D^T C D / (4 n), the power of the mean in Cantelli's inequality, and that of
    lW/lH, halved, in the complexity at rest.
    """
    yield from _model(seen)
    yield from _variance()
    yield from _scheme()
    yield from _floor(classes)
    yield _bayes()
    yield from _moments(quadratic, estimated)
    yield from _cantelli(power)
    yield from _forms()
    yield from _rest(ratio)


def _model(seen: int) -> Iterator[Step]:
    """Yield (i) for all matrices."""
    K, d, D = sp.symbols("K d D", integer=True, positive=True)
    W, A, S = sp.MatrixSymbol("W", K, d), sp.MatrixSymbol("A", d, D), sp.MatrixSymbol("S", D, K)
    G, decay = sp.MatrixSymbol("G", K, K), sp.Symbol("l", nonnegative=True)
    rest, noise = sp.Identity(D) - S * S.T, A - A * S * S.T
    speed = W.T * G * S.T - decay * A

    def by(e: sp.MatrixExpr) -> sp.Basic:
        expanded = e.doit().expand().doit()
        for _ in range(3):  # orthonormal inputs
            expanded = expanded.subs(S.T * S, sp.Identity(K)).doit().expand().doit()
        return sp.S.Zero if expanded.is_ZeroMatrix else expanded

    yield identity(
        "(i) The gradient of any loss of W A S gives dA/dt = W^T G S^T - l A. With S^T S = I, H = A S has dH/dt = W^T "
        "G - l H: the unconstrained features model ...",
        speed * S,
        W.T * G - decay * A * S,
        ALL_MATRICES,
        by=by,
    ).on("reduction.H")
    yield identity(
        "... and B = A (I - S S^T) has dB/dt = -l B.",
        speed * rest,
        -decay * A * rest + seen * W.T * G * S.T,
        ALL_MATRICES,
        by=by,
    ).on("reduction.H")
    yield identity(
        "A A^T = H H^T + B B^T, and the trace of it is the complexity.",
        A * A.T,
        (A * S) * (A * S).T + noise * noise.T,
        ALL_MATRICES,
        by=by,
    )


def _variance() -> Iterator[Step]:
    """Yield the variance of a class, in an eigenbasis of the noise."""
    D, d, i, k = sp.symbols("D d i k", integer=True, positive=True)
    A, slack = sp.IndexedBase("A", real=True), sp.IndexedBase("r", nonnegative=True)
    top = sp.Symbol("c", positive=True)  # the largest eigenvalue; the others are c - r_i
    of = (k, 1, d), (i, 1, D)
    yield nonnegative(
        "Noise of covariance C, of eigenvalues c_i = c - r_i, c the largest: the variance of the features is sum_ki "
        "c_i A_ki^2. It is at most c |A|^2, with equality where all c_i = c, as for C = τ^2 I.",
        top * sp.Sum(A[k, i] ** 2, *of) - sp.Sum((top - slack[i]) * A[k, i] ** 2, *of),
        sp.Sum(slack[i] * A[k, i] ** 2, *of),
        SYMBOLIC,
        by=lambda e: vanish(normal(e, [])),
    )


def _scheme() -> Iterator[Step]:
    """Yield the distances on a scheme."""
    model = Generic()
    K, m, k, P, s = model.K, model.m, model.k, model.P, model.s  # s stands for b^2

    def square(j: sp.Symbol) -> sp.Expr:
        return 2 * model.sum(lambda i: m(i) * s(i) * (1 - P(i, j) / k(j))) / K

    complexity = model.sum(lambda i: m(i) * s(i))
    yield identity(
        "A scheme: sum_j k_j d_j^2 = 2 sum_i m_i b_i^2, as sum_j (k_j - P_ij) = K for every mode.",
        model.sum(lambda j: k(j) * square(j)),
        2 * complexity,
        ALL_SCHEMES,
        by=model.vanish,
    ).on("closure.axioms", "closure.logits")
    yield identity(
        "Where all b_i = b all distances agree, d_j^2 = 2 b^2.",
        model.constant(square(model.j), s=sp.Symbol("b") ** 2),
        2 * sp.Symbol("b") ** 2,
        ALL_SCHEMES,
        by=model.vanish,
    ).on("closure.axioms", "closure.logits")


def _floor(classes: int) -> Iterator[Step]:
    """Yield (ii)."""
    K, N = sp.symbols("K N", integer=True, positive=True)
    i, j, bound = *sp.symbols("i j", integer=True), sp.Symbol("n0", integer=True)
    h, x, w = sp.IndexedBase("h", real=True), sp.IndexedBase("x", positive=True), sp.IndexedBase("w", positive=True)
    over = (i, 1, K), (j, 1, K)
    yield identity(
        "(ii) Squared distances of all ordered pairs, coordinate by coordinate: sum_ij (h_i - h_j)^2 = 2 K (sum_i "
        "h_i^2 - K h̄^2), h̄ the mean.",
        sp.Sum((h[i] - h[j]) ** 2, *over),
        2 * K * (sp.Sum(h[i] ** 2, (i, 1, K)) - sp.Sum(h[i], (i, 1, K)) ** 2 / K),
        SYMBOLIC,
        by=lambda e: vanish(normal(e, [])),
    ).on(name="pairs")
    total = sp.Sum(w[bound], (bound, 1, N))
    pairs = (i, 1, N), (j, 1, N)
    yield nonnegative(
        "Jensen: with weights w_p of sum 1 over the pairs, mean(x) mean(1/x) - 1 is a sum of squares, 0 only where all "
        "x_p agree.",
        sp.Sum(w[i] * w[j] * (x[i] / x[j] + x[j] / x[i]) / 2, *pairs) - 1,
        sp.Sum(w[i] * w[j] * (x[i] - x[j]) ** 2 / (2 * x[i] * x[j]), *pairs),
        SYMBOLIC,
        by=lambda e: vanish(normal(e, []).xreplace({total: sp.S.One})),
    ).on(name="Jensen")
    noise, mean, tau, v = sp.symbols("n q τ v", positive=True)  # |B|^2, K |h̄|^2, and |H|^2 = q + v
    complexity, distance = noise + mean + v, 2 * v / (K - 1)  # mean squared distance, of K (K-1) ordered pairs
    yield nonnegative(
        "So the mean CDNV is at least τ^2 |A|^2 over the mean squared distance 2 (|H|^2 - K |h̄|^2)/(K-1), and that at "
        "least τ^2 (K-1)/2: with |B|^2 = n, K |h̄|^2 = q, |H|^2 = q + v and K = k + 1 the difference is not negative.",
        (tau**2 * complexity / distance - tau**2 * (K - classes) / 2).subs(K, sp.Symbol("k", positive=True) + 1),
        sp.Symbol("k", positive=True) * tau**2 * (noise + mean) / (2 * v),
        SCALAR,
    ).on(".pairs", ".Jensen", name="floor")


def _bayes() -> Step:
    """Return the Cauchy-Schwarz step of (iii)."""
    D, i, j = sp.symbols("D i j", integer=True, positive=True)
    u, v = sp.IndexedBase("u", real=True), sp.IndexedBase("v", real=True)
    return nonnegative(
        "(iii) D = A u, u = x_i - x_j of length sqrt(2), v = A^T D: |D|^2 = u^T v, and |u|^2 |v|^2 - (u^T v)^2 is a "
        "sum of squares. So |D|^2/(2 τ |v|) <= sqrt(2)/(2 τ), the argument of Q for the inputs.",
        sp.Sum(u[i] ** 2, (i, 1, D)) * sp.Sum(v[i] ** 2, (i, 1, D)) - sp.Sum(u[i] * v[i], (i, 1, D)) ** 2,
        sp.Sum((u[i] * v[j] - u[j] * v[i]) ** 2 / 2, (i, 1, D), (j, 1, D)),
        SYMBOLIC,
        by=lambda e: vanish(normal(e, [])),
    ).on(quotes=(GAUSSIAN,))


def _moments(quadratic: int, estimated: int) -> Iterator[Step]:
    """Yield mean and variance of the margin in one coordinate of an eigenbasis of C; coordinates are independent."""
    c, n = sp.symbols("c n", positive=True)
    delta = sp.Symbol("δ", real=True)  # difference of the means
    h, own, other = sp.symbols("h e f", real=True)  # noise of the sample and of both means
    variances = {h: c, own: c / n, other: c / n}
    margin = (delta + h - other) ** 2 - (h - own) ** 2

    def mean(e: sp.Expr) -> sp.Expr:
        for noise, variance in variances.items():
            powers = sp.Poly(sp.expand(e), noise).all_coeffs()[::-1]
            e = sum(
                coefficient * variance ** (k // 2) * sp.factorial2(k - 1)
                for k, coefficient in enumerate(powers)
                if k % 2 == 0
            )
        return sp.expand(e)

    yield identity(
        "Means of n samples: h = μ_i + noise of variance c, m_i and m_j off by noise of variance c/n. The margin has "
        "the mean δ^2 ...",
        mean(margin),
        delta**2,
        SCALAR,
    ).on(name="mean", quotes=(GAUSSIAN,))
    yield identity(
        "... and the variance 4 (1 + 1/n) c δ^2 + (8/n + 4/n^2) c^2; summed over coordinates it is v.",
        mean(margin**2) - mean(margin) ** 2,
        4 * (1 + estimated / n) * c * delta**2 + (quadratic / n + 4 / n**2) * c**2,
        SCALAR,
    ).on(".mean", name="variance")


def _cantelli(power: int) -> Iterator[Step]:
    """Yield the one-sided inequality of Chebyshev."""
    m, v, shift, y = sp.symbols("m v λ y", positive=True)
    yield nonnegative(
        "Cantelli: a margin of m + x with x = -m - y, y >= 0, is counted by (x - λ)^2/(m + λ)^2 >= 1, every λ > 0 ...",
        (-m - y - shift) ** 2 / (m + shift) ** 2 - 1,
        y * (2 * (m + shift) + y) / (m + shift) ** 2,
        SCALAR,
    ).on(".mean", name="Cantelli")
    yield identity(
        "... whose mean is (v + λ^2)/(m + λ)^2: at λ = v/m it is v/(v + m^2).",
        ((v + shift**2) / (m + shift) ** 2).subs(shift, v / m),
        v / (v + m**power),
        SCALAR,
    ).on(".Cantelli", ".variance")


def _forms() -> Iterator[Step]:
    """Yield the bounds on both parts of v."""
    D, i, j = sp.symbols("D i j", integer=True, positive=True)
    delta, c = sp.IndexedBase("δ", real=True), sp.IndexedBase("c", nonnegative=True)
    slack, trace = sp.IndexedBase("r", nonnegative=True), sp.Symbol("T", positive=True)
    yield nonnegative(
        "With T = tr C and c_i = T - r_i, r_i >= 0 the sum of the others: D^T C D <= T |D|^2 ...",
        trace * sp.Sum(delta[i] ** 2, (i, 1, D)) - sp.Sum((trace - slack[i]) * delta[i] ** 2, (i, 1, D)),
        sp.Sum(slack[i] * delta[i] ** 2, (i, 1, D)),
        SYMBOLIC,
        by=lambda e: vanish(normal(e, [])),
    ).on(".variance", name="forms")
    yield nonnegative(
        "... and tr C^2 <= T^2. Divided by |D|^4, v is at most 4 (1 + 1/n) V + (8/n + 4/n^2) V^2.",
        trace * sp.Sum(c[j], (j, 1, D)) - sp.Sum(c[j] * (trace - slack[j]), (j, 1, D)),
        sp.Sum(c[j] * slack[j], (j, 1, D)),
        SYMBOLIC,
        by=lambda e: vanish(normal(e, [])),
    ).on(".forms")


def _rest(ratio: int) -> Iterator[Step]:
    """Yield (iv)."""
    K, lW, lH, s, force, tau = sp.symbols("K l_W l_H s λ τ", positive=True)
    b = sp.sqrt(s * sp.sqrt(lW / lH) ** ratio)
    a = s / b
    yield entries(
        "(iv) At rest λ b = lW a and λ a = lH b, so λ = sqrt(lW lH), a^2 = s sqrt(lH/lW), b^2 = s sqrt(lW/lH): |H|^2 = "
        "(K-1) s sqrt(lW/lH), and B = 0.",
        [
            ((force * b - lW * a).subs(force, sp.sqrt(lW * lH)) / b, sp.S.Zero),
            ((force * a - lH * b).subs(force, sp.sqrt(lW * lH)) / a, sp.S.Zero),
        ],
        SCALAR,
        by=sp.simplify,
    ).on("groups.loss", "ray.equal", name="rest")
    yield identity(
        "There the normalized variance is τ^2 (K-1) b^2/(2 b^2), the floor, whatever lW/lH.",
        tau**2 * (K - 1) * b**2 / (2 * b**2),
        tau**2 * (K - 1) / 2,
        SCALAR,
    ).on(".rest", ".floor")


check = residuals_of(derivation)
