"""Features under the simplex ETF nearest to them: a polar decomposition, a matrix, rays and spheres.

Setting. Features F (d, K), one column a class, of mean 0; J = I - 11^T/K, c^2 = K/(K - 1); W = c J P^T
with P^T P = I nearest to F: |F/|F| - P J/sqrt(K - 1)|^2 + (δ/2) |P - P_0|^2 is least. The flow is
that of cross-entropy, G = I - softmax(W F), in the units of a sum over classes.

Theorem. (i) P is the polar factor of A = (2/sqrt(K - 1)) F/|F| J + δ P_0, whatever δ. (ii) Without the proximal term Z
= W F = c S, S = (F^T F)^(1/2). (iii) With s_i the eigenvalues of S, in its eigenbasis, dS_ij/dt = c (s_i G_ij + s_j
G_ji)/(s_i + s_j) if W counts as a constant, and dS_ij/dt = 2 c (s_i^2 + s_j^2)/(s_i + s_j)^2 (G_ij + G_ji)/2 with the
gradient through the argmin. The factor is 1 on the diagonal and from 1 to 2 elsewhere. Both agree where G is diagonal
in this basis, as on association schemes, and for the inner objective; not in general. (iv) Collapsed features, s_i =
s/c, take t = (e^s - e^{s_0} + (K - 1)(s - s_0))/(c^2 K) from s_0 to s, singular values of Z. A balanced free classifier
is faster from s = c^2/2 on. (v) On spheres |h| = τ the optimum is h_k = τ w_k, with the margin τ K/(K - 1) and
probabilities p of each wrong class. Deviations orthogonal to the span of W decay at the rate K p/τ. Those in its span
with mean 0 decay at K p/τ + p c^2. Those that shift the mean, δ_k = (I - w_k w_k^T) a, decay at K p/τ + p c^2 (1 + q K
(K - 2))/(K - 1)^2, q = 1 - (K - 1) p: the bias -W μ takes their mean off.

Source: the system is that of arXiv:2411.01248; all that is proved here is [ceflow].
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import SCALAR, Step, entries, identity, nonnegative, residuals_of
from ._quoted import POLAR

ALL = "every number of classes and every width, symbolic"

WRONG = {
    "the proximal term counts half": {"proximal": sp.Rational(1, 2)},
    "Z = S": {"scale": 0},
    "the argmin gradient does not rotate eigenvectors faster": {"factor": 1},
    "by the envelope theorem the gradient is 0 for cross-entropy": {"envelope": 1},
    "fixed-ray time with c in place of c^2": {"power": 1},
    "nearest ETF lowers the terminal-phase loss faster": {"terminal": -1},
    "orthogonal deviations decay at K p": {"radius": 0},
    "the mean decays like the rest of the span": {"mean": 1},
}


def derivation(
    proximal: sp.Expr = sp.S.One,
    scale: int = 1,
    factor: int = 2,
    envelope: int = 0,
    power: int = 2,
    terminal: int = 1,
    radius: int = 1,
    mean: int = 0,
) -> Iterator[Step]:
    """Yield the proof.

    Arguments are the weight of the proximal term in A, the power of c in Z = c S, the constant in the factor of (iii),
    whether both flows of S are claimed to agree, the power of c in the ray time, the sign of the advantage of a free
    classifier, the power of 1/τ in the rate of unseen deviations, and whether the mean is claimed to decay like the
    rest of the span.
    """
    yield from _polar(proximal)
    yield from _logits(scale)
    yield from _velocities(factor, envelope)
    yield from _ray(power, terminal)
    yield from _spheres(radius)
    yield from _mean(mean)


def _polar(proximal: sp.Expr) -> Iterator[Step]:
    """Yield (i)."""
    K, delta = sp.symbols("K δ", positive=True)
    near, before = sp.symbols("a b", real=True)  # tr(P^T F J)/|F| and tr(P^T P_0)
    objective = 1 - 2 * near / sp.sqrt(K - 1) + (K - 1) / (K - 1) + delta / 2 * (2 * K - 2 * before)
    yield identity(
        "As P^T P = I, |P J|^2 = tr J = K - 1 and |P|^2 = |P_0|^2 = K: up to a constant the objective is -tr(P^T A).",
        objective,
        2 + delta * K - (2 / sp.sqrt(K - 1) * near + proximal * delta * before),
        ALL,
    ).on(name="objective")
    s, inner = sp.Symbol("s_i", nonnegative=True), sp.Symbol("x", real=True)
    distance = sp.Symbol("y", nonnegative=True)  # |u_i - P v_i|^2
    yield nonnegative(
        "With A = U diag(s) V^T, tr A^T U V^T - tr A^T P is the sum of s_i (1 - u_i.P v_i). Both vectors have norm 1, "
        "so that u.Pv = 1 - |u - Pv|^2/2: no P does better than U V^T, and none as well if all s_i > 0.",
        (s * (1 - inner)).subs(inner, 1 - distance / 2),
        s * distance / 2,
        ALL,
    ).on(".objective", name="polar", quotes=(POLAR,))


def _logits(scale: int) -> Iterator[Step]:
    """Yield (ii), by symbols that do not commute."""
    c = sp.Symbol("c", positive=True)
    B, Bt, U, Ut, V, Vt, s = sp.symbols("B B^T U U^T V V^T Σ", commutative=False)

    def product(expr: sp.Expr) -> sp.Expr:
        for pair in (Ut * U, Bt * B, Vt * V):
            expr = sp.expand(expr).subs(pair, 1)
        return expr

    F = U * s * Vt * Bt  # B an orthonormal basis of mean 0, so that J = B B^T and F B = U Σ V^T
    S = B * V * s * Vt * Bt
    yield identity("S^2 = F^T F.", product(S * S), product(B * V * s * Ut * F), ALL, by=product).on(
        name="S", quotes=(POLAR,)
    )
    yield identity(
        "The nearest ETF is W = c B V U^T, and W F = c S: logits are symmetric and positive, whatever the width.",
        product(c * B * V * Ut * F),
        c**scale * S,
        ALL,
        by=product,
    ).on(".polar", ".S", name="logits")


def _velocities(factor: int, envelope: int) -> Iterator[Step]:
    """Yield (iii), entry by entry in an eigenbasis of S."""
    c, si, sj = sp.symbols("c s_i s_j", positive=True)
    g, h = sp.symbols("G_ij G_ji", real=True)
    both, half = (g + h) / 2, (g - h) / 2
    direct = c * (si * g + sj * h) / (si + sj)
    yield identity(
        "W constant: dF = c V G with F = V S and V^T V = I, so d(S^2) = c (S G + G^T S) = S dS + dS S.",
        (si + sj) * direct,
        c * (si * g + sj * h),
        SCALAR,
    ).on("reduction.H", ".logits", name="direct")
    Y = both / (si + sj)
    yield identity("Y solves S Y + Y S = (G + G^T)/2.", si * Y + Y * sj, both, SCALAR).on(name="Y")
    through = factor * c * (si**2 + sj**2) / (si + sj) ** 2 * both
    yield identity(
        "Through the argmin: -df = c <(G + G^T)/2, dS> = c <Y, S dS + dS S> = 2 c <F Y, dF>, so dF = 2 c F Y and "
        "d(S^2) = 2 c (Y S^2 + S^2 Y).",
        (si + sj) * through,
        2 * c * (si**2 + sj**2) * Y,
        SCALAR,
    ).on(".Y", ".logits", "reduction.loss", name="through")
    ratio = (si - sj) / (si + sj)
    size = 2 * (si**2 + sj**2) / (si + sj) ** 2
    yield nonnegative("The factor is at least 1, and 1 where s_i = s_j.", size - 1, ratio**2, SCALAR).on(".through")
    yield nonnegative("It is less than 2.", 2 - size, 4 * si * sj / (si + sj) ** 2, SCALAR).on(".through")
    gap = 0 if envelope else c * ratio * (ratio * both - half)
    yield identity(
        "The gradient through the argmin is what both differ by. It vanishes where G is diagonal in the basis, which "
        "holds where S and G are in the algebra of a scheme, and for the inner objective, whose G is the identity.",
        through - direct,
        gap,
        SCALAR,
    ).on(".direct", ".through")
    yield identity("On the diagonal both agree.", (through - direct).subs({sj: si, h: g}), sp.S.Zero, SCALAR).on(
        ".direct", ".through"
    )


def _ray(power: int, terminal: int) -> Iterator[Step]:
    """Yield (iv)."""
    K, s, x = sp.symbols("K s x", positive=True)
    s0 = sp.Symbol("s_0", real=True)
    p = 1 / (sp.exp(s) + K - 1)
    yield identity(
        "At Z = s J the columns of G are 1 - p_own = (K - 1) p on the diagonal and -p off it: G = λ J, λ = K p.",
        (K - 1) * p,
        K * p * (1 - 1 / K),
        ALL,
    ).on("ray.force", name="ray")
    c = sp.sqrt(K / (K - 1))
    time = (sp.exp(s) - sp.exp(s0) + (K - 1) * (s - s0)) / (c**power * K)
    yield identity("dZ/dt = c^2 J G J, so ds/dt = c^2 λ(s).", sp.diff(time, s), 1 / (c**2 * K * p), ALL).on(
        ".ray", ".direct", name="time"
    )
    yield identity("The time is 0 at the start.", time.subs(s, s0), sp.S.Zero, ALL)
    force = sp.Symbol("λ", positive=True)
    late = K / (K - 1) / 2 + x
    yield nonnegative(
        "A balanced free classifier has ds/dt = 2 s λ: at s = c^2/2 + x it is ahead by 2 x λ, and the loss is a "
        "falling function of s. The nearest ETF is faster only before.",
        terminal * (2 * late * force - K / (K - 1) * force),
        2 * x * force,
        ALL,
    ).on("ray.time", ".time")


def _spheres(radius: int) -> Iterator[Step]:
    """Yield (v) without the mean."""
    K, tau, p = sp.symbols("K τ p", positive=True)
    square = K / (K - 1)
    yield identity(
        "w_j.w_k = -1/(K - 1), so h_k = τ w_k has the margin τ K/(K - 1).", tau + tau / (K - 1), tau * square, ALL
    )
    yield identity(
        "There G = K p J, and W^T G J = K p W^T points outwards. The constraint removes it, with the multiplier K p/τ: "
        "deviations "
        "orthogonal to W have no other force, and decay at this rate.",
        (K * p) * 1 / tau,
        K * p / tau**radius,
        ALL,
    ).on(".ray", name="sphere")
    z, total = sp.symbols("z_j Σ", real=True)  # changes of wrong logits, whose sum is -z_kk, as W^T 1 = 0
    q = 1 - (K - 1) * p
    mean = (q * -total + p * total).subs(total, 0)
    yield entries(
        "A deviation orthogonal to w_k changes its logit by 0, hence the sum of the others too. With mean 0 the bias "
        "is unchanged, and the change of -softmax is -(diag p - p p^T) z = -p z.",
        [(-p * (z - mean), -p * z), ((-q * (-total - mean)).subs(total, 0), sp.S.Zero)],
        ALL,
    ).on(".ray", name="span")
    n = sp.Symbol("n", positive=True)
    yield identity(
        "W W^T = c^2 J, so W^T W is c^2 on the span of W, n = |δ|^2: the force is -p c^2 δ, and none of it radial.",
        square**2 * n / square,
        square * n,
        ALL,
    ).on(".sphere", ".span")


def _mean(mean: int) -> Iterator[Step]:
    """Yield the rate of the mean, with α_j = w_j.a, whose sum over j is 0."""
    K, p = sp.symbols("K p", positive=True)
    aj, ak = sp.symbols("α_j α_k", real=True)
    square, q = K / (K - 1), 1 - (K - 1) * p
    shrunk = 1 - square / K
    yield identity("The mean of δ_k is (1 - c^2/K) a, as Σ w_k w_k^T = c^2.", shrunk, (K - 2) / (K - 1), ALL).on(
        name="shrunk"
    )
    other = aj + ak / (K - 1) - shrunk * aj  # w_j.(δ_k - mean), δ_k = a - w_k α_k
    own = ak - ak - shrunk * ak
    yield entries(
        "Without its mean it changes logits by (α_j + α_k)/(K - 1), the own one by -α_k (K - 2)/(K - 1); the sum is 0.",
        [
            (other, (aj + ak) / (K - 1)),
            (own, -ak * (K - 2) / (K - 1)),
            (((K - 1) * ak - ak) / (K - 1) + own, sp.S.Zero),  # Σ_{j≠k} α_j = -α_k
        ],
        ALL,
    ).on(".shrunk", name="changes")
    average = q * own - p * own
    change = -q * (own - average)
    yield identity("The own column of G changes by -q K p z_kk.", change, -q * K * p * own, ALL).on(
        ".changes", name="own"
    )
    tangent = -p * square / (K - 1)  # of P_k a in W^T dG_k: Σ_{j≠k} w_j α_j is c^2 a along the sphere
    radial = square * change / ak  # of w_k α_k, as w_k.W^T g = c^2 g_k for columns of sum 0
    centre = tangent * shrunk + radial * square / K  # the mean over k
    rate = p * square * (1 if mean else (1 + q * K * (K - 2)) / (K - 1) ** 2)
    yield identity(
        "W^T dG_k is -p c^2/(K - 1) P_k a + ρ α_k w_k, ρ = c^2 q K p (K - 2)/(K - 1). Without its mean over classes "
        "its part along the sphere is -rate P_k a: these deviations keep their form.",
        tangent - centre,
        -rate,
        ALL,
    ).on(".shrunk", ".own")


check = residuals_of(derivation)
