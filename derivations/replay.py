"""Two tasks with replay on clustered inputs: unseen samples, and thresholds for old classes.

Setting. Features H = W1 X of inputs with X^T X = Θ, Θ = r0 + r [same class] + v [same sample], r0 +
r + v = 1. Task f has K_f classes of n_f trained samples, each of weight o_f; of an old task n is
the buffer B. dW/dt = G O H^T - lW W, dH/dt = W^T G O Θ - lH H, G = Y - softmax. Differences between
classes of a task are one mode: a of W, b of trained features, c of unseen ones, with the force λ.

Theorem. (i) The modes obey da/dt = n o λ b - lW a, db/dt = (r n + v) o λ a - lH b and dc/dt = r n
o λ a - lH c.
(ii) c = π b, π = r n/(r n + v), stays so once it is so, and is so at rest; deviations from it decay
like e^{-lH t}. Means of the buffer are 1/π = 1 + v/(r n) times as long as those of unseen samples.
(iii) At s = a b = 0 the force is 1, whatever else the logits are. The mode grows from there if and
only if n o^2 (r n + v) > lW lH. At rest it is 0, or λ = sqrt(lW lH/(n o^2 (r n + v))).
(iv) With uniform weights, o = 1/(K_A B + K_B n), the condition fails for some B > 0 at every decay;
for fixed B it holds as the decay goes to 0. With balanced weights, o = 1/(2 K_A B), n o^2 (r n + v)
is (r + v/B)/(4 K_A^2): it falls with B.
(v) Without replay, o = 0, a = a_0 e^{-lW t} and c = c_0 e^{-lH t}.

Source: [ceflow], a model of arXiv:2512.07400, of which we read public notes.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import SCALAR, Step, entries, identity, nonnegative, residuals_of
from ._quoted import MONOTONE

NUMBERS = "every number of classes and of samples, symbolic"

WRONG = {
    "unseen samples have the private part": {"private": 1},
    "inflation v/(r B)": {"inflation": 0},
    "threshold without the weight squared": {"weight": 1},
    "any non-zero replay keeps separability at fixed decay": {"any_replay": 1},
    "balanced weights: small buffers are less safe": {"balanced": -1},
    "features decay like the classifier": {"decay": 1},
}


def derivation(
    private: int = 0, inflation: int = 1, weight: int = 2, any_replay: int = 0, balanced: int = 1, decay: int = 0
) -> Iterator[Step]:
    """Yield the proof.

    Arguments are whether unseen samples share the private part, the constant in the inflation, the power of o in the
    threshold, whether any buffer is claimed to be enough, the sign of the effect of the buffer with balanced weights,
    and whether features are claimed to decay with lW.
    """
    yield from _modes(private)
    yield from _mixture(inflation, private)
    yield from _threshold(weight)
    yield from _replay(any_replay, balanced)
    yield from _without(decay)


def _modes(private: int) -> Iterator[Step]:
    """Yield (i), from what a column of Θ does to equal columns of a class."""
    K, n = sp.symbols("K n", integer=True, positive=True)
    r0, r, v = sp.symbols("r_0 r v", positive=True)
    k, c = sp.symbols("k c", integer=True)
    pull = sp.IndexedBase("u")  # W^T g_k o of one sample of class k; in the mode their sum over the task is 0
    total = sp.Sum(pull[k], (k, 1, K))

    def moved(own: sp.Expr) -> sp.Expr:
        """Return sum_j Θ_ij u_j over all trained samples of the task, for a sample of class c; v counts `own` times."""
        return r0 * n * total + r * n * pull[c] + own * v * pull[c]

    yield entries(
        "A sample of class c moves by the sum of Θ_ij W^T g_j o over trained samples j. In a difference between "
        "classes the pulls of all classes sum to 0, so r0 drops out: a trained sample moves by r n + v times the pull "
        "of its own class, an unseen one by r n.",
        [
            (moved(sp.S.One).xreplace({total: sp.S.Zero}), (r * n + v) * pull[c]),
            (moved(sp.S(private)).xreplace({total: sp.S.Zero}), r * n * pull[c]),
        ],
        NUMBERS,
        by=sp.expand,
    ).on("reduction.H", "reduction.W", name="moves")
    own, p_o, p_x, others = sp.symbols("p_d p_o p_x M", positive=True)
    yield identity(
        "A column of G has 1 - p_d at its class, -p_o at others of the task: on differences G is λ = 1 - p_d + p_o, "
        "and as p_d + (K - 1) p_o + M p_x = 1 that is K p_o + M p_x, a sum of positive terms.",
        (1 - own + p_o).subs(own, 1 - (K - 1) * p_o - others * p_x),
        K * p_o + others * p_x,
        NUMBERS,
    ).on("reduction.loss", name="force")


def _mixture(inflation: int, private: int) -> Iterator[Step]:
    """Yield (ii)."""
    n, r, v, o, force, a, b, c, lH = sp.symbols("n r v o λ a b c l_H", positive=True)
    pi = r * n / (r * n + v)
    b_rate = (r * n + v) * o * force * a - lH * b
    c_rate = (r * n + private * v) * o * force * a - lH * c
    yield identity(
        "c - π b has no force: it decays like e^{-lH t}, along every trajectory.",
        c_rate - pi * b_rate,
        -lH * (c - pi * b),
        SCALAR,
    ).on(".moves", name="mixture")
    yield identity("The inverse of π is the inflation.", 1 / pi, inflation + v / (r * n), SCALAR)
    yield identity("π/(1 - π) is linear in the buffer.", pi / (1 - pi), r * n / v, SCALAR)
    yield nonnegative("π grows with the buffer.", sp.diff(pi, n), r * v / (r * n + v) ** 2, SCALAR)


def _threshold(weight: int) -> Iterator[Step]:
    """Yield (iii)."""
    K = sp.Symbol("K", integer=True, positive=True)
    n, r, v, o, lW, lH, x, others = sp.symbols("n r v o l_W l_H x M", positive=True)
    p = 1 / (K + others * x)  # of every class of the task at s = 0; of others x times that
    yield identity(
        "At s = 0 all classes of the task have one probability, so λ = K p_o + M p_x is 1, however large p_x is.",
        K * p + others * x * p,
        sp.S.One,
        NUMBERS,
    ).on(".force", name="at zero")
    growth = sp.Symbol("γ", real=True)
    jacobian = sp.Matrix([[-lW, n * o], [(r * n + v) * o, -lH]])
    index = n * o**weight * (r * n + v) - lW * lH
    yield identity(
        "There (a, b) grows linearly at rates γ, with (γ + lW)(γ + lH) = n o^2 (r n + v): one is positive if and "
        "only if n o^2 (r n + v) > lW lH.",
        (jacobian - growth * sp.eye(2)).det(),
        growth**2 + (lW + lH) * growth - index,
        SCALAR,
    ).on(".moves", ".at zero", name="threshold")
    force = sp.sqrt(lW * lH / (n * o**weight * (r * n + v)))
    a = sp.Symbol("a", positive=True)
    b = (r * n + v) * o * force * a / lH
    yield identity(
        "At rest a = n o λ b/lW and b = (r n + v) o λ a/lH, so a = 0 or λ as said.", n * o * force * b, lW * a, SCALAR
    ).on(".moves")


def _replay(any_replay: int, balanced: int) -> Iterator[Step]:
    """Yield (iv)."""
    B, n, r, v, K, M = sp.symbols("B n r v K_A K_B", positive=True)
    decay = sp.Symbol("q", positive=True)  # lW lH
    uniform = 1 / (K * B + M * n)
    index = B * uniform**2 * (r * B + v)
    yield identity(
        "Uniform weights: the index n o^2 (r n + v) goes to 0 with the buffer, so small buffers lose the old "
        "classes at every decay lW lH = q.",
        sp.limit(index / decay, B, 0, "+"),
        sp.oo if any_replay else sp.S.Zero,
        SCALAR,
        by=lambda e: e,
    ).on(".threshold")
    yield identity(
        "For a fixed buffer it outgrows the decay as that goes to 0.",
        1 / sp.limit(index / decay, decay, 0, "+"),
        sp.S.Zero,
        SCALAR,
    ).on(".threshold")
    shared = 1 / (2 * K * B)
    fair = B * shared**2 * (r * B + v)
    yield identity("Balanced weights: the index is (r + v/B)/(4 K_A^2).", fair, (r + v / B) / (4 * K**2), SCALAR).on(
        ".threshold", name="balanced"
    )
    yield nonnegative("It falls as the buffer grows.", -balanced * sp.diff(fair, B), v / (4 * K**2 * B**2), SCALAR).on(
        ".balanced", quotes=(MONOTONE,)
    )


def _without(decay: int) -> Iterator[Step]:
    """Yield (v)."""
    t, lW, lH, a, c = sp.symbols("t l_W l_H a_0 c_0", positive=True)
    features = c * sp.exp(-(lW if decay else lH) * t)
    classifier = a * sp.exp(-lW * t)
    yield entries(
        "Without sample weight only decay remains in da/dt and dc/dt.",
        [(sp.diff(classifier, t), -lW * classifier), (sp.diff(features, t), -lH * features)],
        SCALAR,
    ).on(".moves")


check = residuals_of(derivation)
