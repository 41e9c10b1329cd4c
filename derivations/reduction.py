"""The reduced ODE is the full matrix gradient flow, restricted.

Theorem. Let L(W, H) = -sum_c log softmax(W H)_cc be the cross-entropy of the unconstrained features
model, summed over the classes. Then -dL/dW = G H^T and -dL/dH = W^T G with G = I - softmax(W H) by
columns. If W = A O and H = O^T B with A, B in the Bose-Mesner algebra of a symmetric scheme and O a
K x d matrix with orthonormal rows (d >= K), then the gradient flow keeps this form, and the
eigenvalues a_i of A and b_i of B obey

    da_i/dt = b_i lambda_i(s),    db_i/dt = a_i lambda_i(s),    s_i = a_i b_i.

Any Q diag(a) R^T and R diag(b) Q^T, with Q an orthonormal basis of eigenvectors (repeated values
within an eigenspace) and R^T R = I, are of this form with O = Q R^T. A and B have eigenvalue 0 on
the constant vector; lambda_0 = 0 keeps it. Width d = K - 1 is enough if the constant vector is left
out of Q.

The last steps differentiate L itself with respect to every entry of W and H, with a, b symbolic.

Source: arXiv:2512.04006 (Hadamard); [ceflow] for every scheme.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import ALL_MATRICES, Step, by_chain_rule, entries, identity, residuals_of, vanish, vanish_matrix
from ._quoted import EXISTENCE
from ._schemes import Model, Scheme, complete, cyclic, hadamard, johnson
from ._sums import normal

SCHEMES = (complete(3), hadamard(4), cyclic(4), cyclic(5), johnson(4, 2))

WRONG = {
    "flow uphill": {"direction": -1},
    "mean instead of sum": {"scale": lambda K: sp.Rational(1, 1) / K},
}


def derivation(direction: int = 1, scale: object = lambda K: sp.S.One) -> Iterator[Step]:
    """Yield the proof; arguments are the sign of the velocity and its scale as a function of K."""
    K, d = sp.symbols("K d", integer=True, positive=True)
    c, j, step = sp.Symbol("c", integer=True), sp.Symbol("j", integer=True), sp.Symbol("ε", real=True)
    Z, X, P, S = (sp.IndexedBase(name, real=True) for name in "ZXPS")
    moved = Z[j, c] + step * X[j, c]
    loss = sp.Sum(sp.log(sp.Sum(sp.exp(moved), (j, 1, K))) - moved.xreplace({j: c}), (c, 1, K))
    slope = sp.diff(loss, step).xreplace({step: sp.S.Zero})
    column = sp.Sum(sp.exp(Z[j, c]), (j, 1, K))
    yield identity(
        "Move the logits along X: the loss changes by -<G, X>, G = I - p, with p_jc = exp(Z_jc) / S_c and S_c the "
        "sum of column c.",
        slope,
        direction * (sp.Sum(P[j, c] * X[j, c], (j, 1, K), (c, 1, K)) - sp.Sum(X[c, c], (c, 1, K))) * scale(K),
        "every K, symbolic",
        by=lambda e: vanish(normal(e.xreplace({column: S[c], P[j, c]: sp.exp(Z[j, c]) / S[c]}), [])),
    ).on(name="loss")
    r = sp.Symbol("r", integer=True)
    g, u, y, w, h = (sp.IndexedBase(name, real=True) for name in ("G", "U", "Y", "W", "H"))
    for name, says, change, along in (
        (
            "W",
            "Moving W along U moves Z along U H, and <G, U H> = <G H^T, U> by exchanging the sums: the velocity of W.",
            g[j, c] * sp.Sum(u[j, r] * h[r, c], (r, 1, d)),
            sp.Sum(sp.Sum(g[j, c] * h[r, c], (c, 1, K)) * u[j, r], (j, 1, K), (r, 1, d)),
        ),
        (
            "H",
            "Moving H along Y moves Z along W Y, and <G, W Y> = <W^T G, Y>: the velocity of H.",
            g[j, c] * sp.Sum(w[j, r] * y[r, c], (r, 1, d)),
            sp.Sum(sp.Sum(w[j, r] * g[j, c], (j, 1, K)) * y[r, c], (r, 1, d), (c, 1, K)),
        ),
    ):
        total = sp.Sum(change, (j, 1, K), (c, 1, K))
        yield identity(says, total, along, ALL_MATRICES, by=lambda e: vanish(normal(e, []))).on(".loss", name=name)
    G = sp.MatrixSymbol("G", K, K)
    A, B, O = sp.MatrixSymbol("A", K, K), sp.MatrixSymbol("B", K, K), sp.MatrixSymbol("O", K, d)  # noqa: E741
    orthonormal = {O * O.T: sp.Identity(K)}
    for name, says, left, right, premises in (
        (
            "form",
            "On aligned factors Z = A B, in the algebra; hence so is G (see closure).",
            A * O * O.T * B,
            A * B,
            ("closure.axioms", "closure.softmax"),
        ),
        (
            "classifier",
            "The velocity of W is (G B) O: W keeps its form, dA/dt = G B.",
            G * (O.T * B).T,
            G * B.T * O,
            (".loss", ".W", ".form"),
        ),
        (
            "modes",
            "The velocity of H is O^T (A G): H keeps its form, dB/dt = A G.",
            (A * O).T * G,
            O.T * A.T * G,
            (".loss", ".H", ".form", ".classifier", "closure.force"),
        ),
    ):
        yield identity(
            says + " (A, B, G are symmetric and commute; on eigenspace i they are a_i, b_i, lambda_i.)",
            left,
            right,
            ALL_MATRICES,
            by=lambda e: vanish_matrix(e.subs(orthonormal)),
        ).on(*premises, name=name, quotes=(EXISTENCE,) if name == "modes" else ())
    for scheme in SCHEMES:
        yield _gradient(scheme, direction, sp.sympify(scale(scheme.K)))


def _gradient(scheme: Scheme, direction: int, scale: sp.Expr) -> Step:
    """Differentiate the loss by every entry of W and H, and compare on aligned factors of width K + 1."""
    K, D = scheme.K, scheme.D
    W, H = sp.Matrix(K, K + 1, sp.symbols(f"w:{K * (K + 1)}")), sp.Matrix(K + 1, K, sp.symbols(f"h:{K * (K + 1)}"))
    z, product = sp.Matrix(K, K, sp.symbols(f"z:{K * K}")), W * H
    loss = sum(sp.log(sum(map(sp.exp, z[:, c]))) - z[c, c] for c in range(K))
    a, b = sp.symbols(f"a1:{D + 1}", real=True), sp.symbols(f"b1:{D + 1}", real=True)
    A, B = (sum((v * E for v, E in zip(values, scheme.E[1:], strict=True)), sp.zeros(K)) for values in (a, b))
    normal_vector = sp.Matrix([1, *[0] * (K - 2), 2, 2])
    O = (sp.eye(K + 1) - sp.Rational(2, 9) * normal_vector * normal_vector.T)[:K, :]  # noqa: E741
    model = Model(scheme, [x * y for x, y in zip(a, b, strict=True)])
    # e_j stands for exp(z_j), and S for the sum over a column, until the entries have been multiplied by it
    e, total = sp.symbols(f"e0:{D + 1}", positive=True), sp.Symbol("S", positive=True)
    column = sp.Add(*(k * v for k, v in zip(scheme.k, e, strict=True)))
    forces = [sum(e[j] * (scheme.k[j] - scheme.P[i][j]) for j in range(1, D + 1)) / total for i in range(D + 1)]
    G = direction * scale * sum((forces[i] * scheme.E[i] for i in range(1, D + 1)), sp.zeros(K))
    at = dict(zip([*W, *H], [*(A * O), *(O.T * B)], strict=True))
    places = [(j, c) for j in range(K) for c in range(K)]
    exponentials = {sp.exp(z[j, c]): e[scheme.labels[j][c]] for j, c in places}
    slopes = by_chain_rule(loss, dict(zip(z, product, strict=True)), [*W, *H])
    pairs = []
    for slope, velocity in zip(slopes, [*(G * B * O), *(O.T * A * G)], strict=True):
        downhill = -slope.xreplace(exponentials).xreplace({column: total}).xreplace(at)
        pairs.append((sp.expand(sp.expand(total * (downhill - velocity)).xreplace({total: column})), sp.S.Zero))
    exact = [(sp.expand(product[p].xreplace(at)), sp.expand(model.z(scheme.labels[p[0]][p[1]]))) for p in places]
    return entries(
        f"{scheme.name}: the gradient of the loss, by each of the {2 * K * (K + 1)} entries of W and H of width "
        f"{K + 1}, taken at "
        "W = A O, H = O^T B with symbolic a and b, is minus the reduced velocity.",
        [*exact, *pairs],
        scheme.name,
    )


check = residuals_of(derivation)
