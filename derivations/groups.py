"""Groups of classes of different size: the exact reduction of an imbalanced flow to a few numbers.

Setting. G groups of K_g classes, each with n_g samples of weight o_g, all samples of a class equal:
one column of H a class stands for n_g of them. ν_g = n_g o_g; o_g = 1 for "sum", and o_g = 1/N, N =
sum_g K_g n_g, for "mean". Logits get δ_g added in the loss (logit adjustment). The objective is

    F = sum_c n_c o_c (log sum_j exp(Z_jc + δ_j) - Z_cc - δ_c)
        + (lW/2) |W|^2 + (lH/2) sum_c n_c |h_c|^2.

Theorem, two groups A and B, any sizes. With K = K_A + K_B, f_A = 1_A/√K_A, f_B alike, u = (√K_B f_A
- √K_A f_B)/√K, Π_A and Π_B the projectors on the deviations within a group, and O with O O^T = I,
let

    W = (a_A Π_A + a_B Π_B + w u u^T) O,    H = O^T (b_A Π_A + b_B Π_B + u (y_A f_A - y_B f_B)^T).

Gradient flow stays of this form (each sample moves by its own gradient), and the seven numbers obey

    da_A/dt = ν_A λ_A b_A - lW a_A,     db_A/dt = o_A λ_A a_A - lH b_A,      B alike,
    dw/dt = ν_A g_A y_A + ν_B g_B y_B - lW w,
    dy_A/dt = o_A w g_A - lH y_A,               dy_B/dt = o_B w g_B - lH y_B.

A column of A has the logits z_d = m_A + s_A (1 - 1/K_A) of its class, z_o = m_A - s_A/K_A of the
others in A, z_x = -t_A/√(K K_B) in B; s_A = a_A b_A, t_A = w y_A, m_A = √(K_B/K) t_A/K_A. With the
softmax p_o, p_x of these, λ_A = K_A p_o + K_B p_x, g_A = √(K K_B) p_x. B: exchange A and B. Groups
of one class have no mode a, b.

Any number of groups: x_g of Π_g and the G x G block on the constants (f_g^T W f_h) obey the same
equations as the matrices themselves, products of blocks in place of products of matrices. Each
group may be any symmetric scheme: its mode i has da_i/dt = ν_g λ_i b_i - lW a_i, db_i/dt = o_g λ_i
a_i - lH b_i, λ_i = sum_{j>0} p_j (k_j - P_ij) + (probability of the other groups in a column of
this one).

Proof in general. Groups of classes are a coherent configuration, so the velocity stays in its
algebra (`coherent`, `equivariance`); its matrices multiply as `coherent` proves. What is left is to
insert. The last steps differentiate F itself by every entry of W and of every single sample.

Source: [ceflow]; arXiv:2512.04006 for one group.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._configurations import Groups
from ._proof import Step, by_chain_rule, entries, identity, residuals_of, vanish
from ._quoted import EXISTENCE
from ._sums import Generic, normal

TWO = "two groups, symbolic sizes, samples, weights, decays"

WRONG = {
    "features that move with n o instead of o": {"column_weight": "n o"},
    "a force without the other group": {"across": 0},
    "no factor sqrt(K K_B) in g": {"root": 0},
    "decay of the features by that of the classifier": {"decays": ("W", "W")},
}


class Two:
    """The seven numbers, their logits and forces, as expressions; index 0 is group A, 1 is group B.

    Parameters
    ----------
    sizes : pair of sympy.Expr, optional
        K_A and K_B, symbols unless given.
    """

    def __init__(self, sizes: tuple[object, object] | None = None) -> None:
        self.sizes = tuple(
            map(sp.sympify, sizes or sp.symbols("K_A K_B", integer=True, positive=True)),
        )
        self.K = sum(self.sizes)
        self.n, self.o = sp.symbols("n_A n_B", positive=True), sp.symbols("o_A o_B", positive=True)
        self.nu = tuple(n * o for n, o in zip(self.n, self.o, strict=True))
        self.a, self.b = sp.symbols("a_A a_B", real=True), sp.symbols("b_A b_B", real=True)
        self.w, self.y = sp.Symbol("w", real=True), sp.symbols("y_A y_B", real=True)
        self.delta = sp.symbols("δ_A δ_B", real=True)
        self.lW, self.lH = sp.symbols("l_W l_H", nonnegative=True)

    def element(self, x: object, Y: object) -> Groups:
        """Return the matrix with these coefficients."""
        return Groups.of(self.sizes, x, Y)

    @property
    def layers(self) -> tuple[Groups, Groups]:
        """The matrices A of W = A O and B of H = O^T B."""
        return self.classifier(*self.a, self.w), self.features(*self.b, *self.y)

    def classifier(self, x_A: sp.Expr, x_B: sp.Expr, x: sp.Expr) -> Groups:
        """Return x_A Π_A + x_B Π_B + x u u^T."""
        A, B = self.sizes
        Y = [[-x_A / A + x * B / (A * self.K), -x / self.K], [-x / self.K, -x_B / B + x * A / (B * self.K)]]
        return self.element([x_A, x_B], Y)

    def features(self, x_A: sp.Expr, x_B: sp.Expr, y_A: sp.Expr, y_B: sp.Expr) -> Groups:
        """Return x_A Π_A + x_B Π_B + u (y_A f_A - y_B f_B)^T."""
        A, B = self.sizes
        Y = [
            [-x_A / A + y_A * sp.sqrt(B / self.K) / A, -y_B / sp.sqrt(A * self.K)],
            [-y_A / sp.sqrt(B * self.K), -x_B / B + y_B * sp.sqrt(A / self.K) / B],
        ]
        return self.element([x_A, x_B], Y)

    def logits(self, g: int) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
        """Return z_d, z_o, z_x of a column of group g."""
        own, cross = self.sizes[g], self.sizes[1 - g]
        s, t = self.a[g] * self.b[g], self.w * self.y[g]
        m = sp.sqrt(cross / self.K) * t / own
        return m + s * (1 - 1 / own), m - s / own, -t / sp.sqrt(self.K * cross)

    def softmax(self, g: int) -> tuple[sp.Expr, sp.Expr]:
        """Return p_o, p_x of a column of group g."""
        (z_d, z_o, z_x), own, cross = self.logits(g), self.delta[g], self.delta[1 - g]
        below = sp.exp(z_d + own) + (self.sizes[g] - 1) * sp.exp(z_o + own) + self.sizes[1 - g] * sp.exp(z_x + cross)
        return sp.exp(z_o + own) / below, sp.exp(z_x + cross) / below

    def velocity(
        self,
        p_o: tuple[sp.Expr, sp.Expr],
        p_x: tuple[sp.Expr, sp.Expr],
        column_weight: str = "o",
        across: int = 1,
        root: int = 1,
        decays: tuple[str, str] = ("W", "H"),
    ) -> dict[str, sp.Expr]:
        """Return the velocities of the theorem by name; the other arguments are those of `derivation`."""
        lam = [K * o + across * L * x for K, L, o, x in zip(self.sizes, self.sizes[::-1], p_o, p_x, strict=True)]
        g = [sp.sqrt(self.K * L) ** root * x for L, x in zip(self.sizes[::-1], p_x, strict=True)]
        o = self.o if column_weight == "o" else self.nu
        lW, lH = ({"W": self.lW, "H": self.lH}[name] for name in decays)
        result = {"w": self.nu[0] * g[0] * self.y[0] + self.nu[1] * g[1] * self.y[1] - lW * self.w}
        for k, name in enumerate("AB"):
            result[f"a_{name}"] = self.nu[k] * lam[k] * self.b[k] - lW * self.a[k]
            result[f"b_{name}"] = o[k] * lam[k] * self.a[k] - lH * self.b[k]
            result[f"y_{name}"] = o[k] * self.w * g[k] - lH * self.y[k]
        return result


def derivation(
    column_weight: str = "o", across: int = 1, root: int = 1, decays: tuple[str, str] = ("W", "H")
) -> Iterator[Step]:
    """Yield the proof.

    Arguments are the weight by which a column of H moves, whether the force includes the other group, the power of √(K
    K_B) in g_A, and whose decay acts on W and on H.
    """
    claim = {"column_weight": column_weight, "across": across, "root": root, "decays": decays}
    yield _loss()
    yield from _insert(claim)
    yield from _block()
    yield from _schemes()
    for sizes, samples in (((2, 1), (2, 1)), ((3, 2), (1, 2))):
        yield _gradient(sizes, samples, claim)


def _loss() -> Step:
    """Return the slope of the weighted loss along any direction, with symbolic K."""
    K = sp.Symbol("K", integer=True, positive=True)
    c, j, step = sp.Symbol("c", integer=True), sp.Symbol("j", integer=True), sp.Symbol("ε", real=True)
    Z, X, P, S, nu, delta = (sp.IndexedBase(name, real=True) for name in ("Z", "X", "P", "S", "ν", "δ"))
    moved = Z[j, c] + step * X[j, c] + delta[j]
    total = sp.Sum(sp.exp(moved), (j, 1, K))
    loss = sp.Sum(nu[c] * (sp.log(total) - moved.xreplace({j: c})), (c, 1, K))
    slope = sp.diff(loss, step).xreplace({step: sp.S.Zero})
    column = sp.Sum(sp.exp(Z[j, c] + delta[j]), (j, 1, K))
    probability = sp.exp(Z[j, c] + delta[j]) / S[c]
    return identity(
        "Move the logits along X: the weighted loss changes by -<G diag(ν), X>, G = I - p, p_jc = exp(Z_jc + δ_j)/S_c. "
        "Hence (see reduction) dW/dt = G diag(ν) H^T - lW W; one of n_c samples moves by dh/dt = o_c W^T g_c - lH h.",
        slope,
        sp.Sum(nu[c] * P[j, c] * X[j, c], (j, 1, K), (c, 1, K)) - sp.Sum(nu[c] * X[c, c], (c, 1, K)),
        "every K, symbolic",
        by=lambda e: vanish(normal(e.xreplace({column: S[c], P[j, c]: probability}), [])),
    ).on("reduction.W", "reduction.H", name="loss")


def _insert(claim: dict[str, object]) -> Iterator[Step]:
    """Yield the equations of two groups, with symbolic sizes."""
    two = Two()
    A, B = two.layers
    size_A, size_B = two.sizes
    parts = [two.classifier(*v) for v in sp.eye(3).tolist()]
    y_A, y_B = two.features(0, 0, 1, 0), two.features(0, 0, 0, 1)
    yield entries(
        "Π_A, Π_B, u u^T are orthogonal projectors with sum I - 1 1^T/K; u f_A^T, -u f_B^T are what their names say.",
        [
            *(((M @ M).Y, M.Y) for M in parts),
            *(
                (sp.Matrix((M @ L).coefficients), sp.zeros(6, 1))
                for M, L in ((parts[0], parts[1]), (parts[0], parts[2]))
            ),
            ((parts[0] + parts[1] + parts[2]).Y, -sp.ones(2) / two.K),
            *(((M @ M.T).Y, parts[2].Y) for M in (y_A, y_B)),
            ((y_A.T @ y_A).Y, sp.diag(1 / size_A, 0)),
            ((y_B.T @ y_B).Y, sp.diag(0, 1 / size_B)),
            ((y_A.T @ y_B).Y, sp.Matrix([[0, -1 / sp.sqrt(size_A * size_B)], [0, 0]])),
        ],
        TWO,
        by=_vanish,
    ).on("coherent.product", name="projectors")
    Z = A @ B
    yield entries(
        "The layers multiply to the logits of the theorem: of the own class, of another in the group, of the other "
        "group, in a column of A and of B.",
        [
            (entry, z)
            for g in (0, 1)
            for entry, z in zip((Z.own(g), Z.other(g, g), Z.other(1 - g, g)), two.logits(g), strict=True)
        ],
        TWO,
        by=_vanish,
    ).on("coherent.product", name="logits")
    e = [sp.symbols(f"e_d{g} e_o{g} e_x{g}", positive=True) for g in "AB"]  # exponentials of the adjusted logits
    exponentials = two.element(
        [e[g][0] - e[g][1] for g in (0, 1)],
        [[e[0][1], e[1][2]], [e[0][2], e[1][1]]],
    )
    below = [exponentials.column_sum(g) for g in (0, 1)]
    p_o, p_x = [e[g][1] / below[g] for g in (0, 1)], [e[g][2] / below[g] for g in (0, 1)]
    G = two.element([1, 1], sp.zeros(2)) - exponentials.columns_times([1 / s for s in below])
    own = two.sizes
    lam = [own[g] * p_o[g] + claim["across"] * own[1 - g] * p_x[g] for g in (0, 1)]
    yield entries(
        "G = I - p, with columns divided by their sums e_d + (K_A - 1) e_o + K_B e_x, has λ_A and λ_B on the "
        "deviations within groups; nothing cancels in it.",
        [*zip(G.x, lam, strict=True), (G.Y, -sp.Matrix([[p_o[0], p_x[1]], [p_x[0], p_o[1]]]))],
        TWO,
    ).on("coherent.product", "coherent.columns", ".loss", ".logits", name="force")
    o, x = sp.symbols("p_oA p_oB", positive=True), sp.symbols("p_xA p_xB", positive=True)
    forces = two.element(
        [own[g] * o[g] + own[1 - g] * x[g] for g in (0, 1)],
        [[-o[0], -x[1]], [-x[0], -o[1]]],
    )
    v = two.velocity(o, x, **claim)
    dA = forces.columns_times(two.nu) @ B.T - two.lW * A
    yield entries(
        "G diag(ν) B^T - lW A is again a combination of Π_A, Π_B and u u^T: the velocities of a_A, a_B, w.",
        zip(dA.coefficients, two.classifier(v["a_A"], v["a_B"], v["w"]).coefficients, strict=True),
        TWO,
        by=_vanish,
    ).on("coherent.product", ".loss", ".force", ".projectors", name="classifier")
    dB = A.T @ forces.columns_times(two.o) - two.lH * B
    yield entries(
        "A^T G diag(o) - lH B is again a combination of Π_A, Π_B and u (y_A f_A - y_B f_B)^T: the velocities of b_A, "
        "b_B, y_A, y_B.",
        zip(dB.coefficients, two.features(v["b_A"], v["b_B"], v["y_A"], v["y_B"]).coefficients, strict=True),
        TWO,
        by=_vanish,
    ).on("coherent.product", ".loss", ".force", ".projectors", name="features", quotes=(EXISTENCE,))


def _vanish(expr: sp.Expr) -> sp.Expr:
    """Simplify an expression with square roots of the sizes, named so that they are polynomials."""
    root_A, root_B, root = sp.symbols("r_A r_B r", positive=True)
    K_A, K_B = sp.symbols("K_A K_B", integer=True, positive=True)
    whole = sp.Symbol("k", positive=True)
    expr = sp.sympify(expr).xreplace({K_A + K_B: whole}).subs({whole: root**2})
    expr = sp.powdenest(expr.subs({K_A: root_A**2, K_B: root_B**2}), force=True)
    return vanish(sp.expand(sp.fraction(sp.together(expr))[0]).subs(root_B, sp.sqrt(root**2 - root_A**2)))


def _schemes() -> Iterator[Step]:
    """Yield logits and forces of a group that is any symmetric scheme, beside other groups."""
    g = Generic()
    i, mean, rest = g.i, sp.Symbol("c", real=True), sp.Symbol("q", positive=True)
    yield entries(
        "A group may be any symmetric scheme: its logits are z_j + c, z_j those of the scheme alone and K_g c the "
        "entry of the block on the constants; they have eigenvalue s_i on mode i > 0, and K_g c on the constant.",
        [
            (g.z0 + mean + g.sum(lambda j: g.P(i, j) * (g.z(j) + mean)), g.s(i)),
            (g.z0 + mean + g.sum(lambda j: g.k(j) * (g.z(j) + mean)), g.K * mean),
        ],
        g.name,
        by=g.vanish,
    ).on("closure.axioms", "closure.logits", name="scheme")
    yield identity(
        "With probability q in a column for the other groups, p_0 = 1 - q - sum_j k_j p_j, its force is the scheme's "
        "plus q: every mode of every group stays one number.",
        1 - (g.p0 - rest) - g.sum(lambda j: g.P(i, j) * g.p(j)),
        g.sum(lambda j: g.p(j) * (g.k(j) - g.P(i, j))) + rest,
        g.name,
        by=g.vanish,
    ).on("closure.softmax", ".scheme", name="scheme force")


def _block() -> Iterator[Step]:
    """Yield the product of blocks for three groups: what makes the same equations hold for any number of groups."""
    sizes = sp.symbols("K1:4", positive=True)
    X, Y = (Groups.of(sizes, sp.symbols(f"{v}1:4"), sp.Matrix(3, 3, sp.symbols(f"{v}{v}:9"))) for v in "xy")
    yield entries(
        "Any number of groups: the block on the constants, C_gh = f_g^T X f_h = x_g δ_gh + √(K_g K_h) Y_gh, of a "
        "product is the product of the blocks, and that of the transpose is the transpose; x_g multiplies by itself.",
        [(constants(X @ Y), constants(X) * constants(Y)), (constants(X.T), constants(X).T)],
        "three groups, symbolic sizes",
        by=sp.expand,
    ).on("coherent.product", name="blocks")


def constants(X: Groups) -> sp.Matrix:
    """Return the G x G block of a matrix on the normalized constants of the groups."""
    return sp.Matrix(
        X.count, X.count, lambda g, h: (X.x[g] if g == h else 0) + sp.sqrt(X.sizes[g] * X.sizes[h]) * X.Y[g, h]
    )


def _gradient(sizes: tuple[int, int], samples: tuple[int, int], claim: dict[str, object]) -> Step:
    """Differentiate the objective by every entry of W and of every sample, then insert the form of the theorem."""
    two, K = Two(sizes), sum(sizes)
    group = [g for g, size in enumerate(sizes) for _ in range(size)]
    label = [c for c in range(K) for _ in range(samples[group[c]])]
    W, H = (sp.Matrix(K, n, sp.symbols(f"{name}:{K * n}")) for name, n in (("w", K), ("h", len(label))))
    Z = W * H
    z = sp.Matrix(*Z.shape, sp.symbols(f"z:{len(Z)}"))
    moved = sp.Matrix(*Z.shape, lambda j, i: z[j, i] + two.delta[group[j]])
    loss = sum(two.o[group[c]] * (sp.log(sum(map(sp.exp, moved[:, i]))) - moved[c, i]) for i, c in enumerate(label))
    decay = two.lW / 2 * sum(v**2 for v in W) + two.lH / 2 * sum(v**2 for v in H)
    A, B = (M.matrix() for M in two.layers)
    at = dict(zip([*W, *H], [*A, *(B[r, c] for r in range(K) for c in label)], strict=True))

    exact, exponentials, probability = [], {}, {}
    p_o, p_x = zip(*(sp.symbols(f"p_o{g} p_x{g}", positive=True) for g in "AB"), strict=True)
    for g, name in enumerate("AB"):
        e_d, e_o, e_x = sp.symbols(f"e_d{name} e_o{name} e_x{name}", positive=True)
        below = e_d + (sizes[g] - 1) * e_o + sizes[1 - g] * e_x
        probability |= {p_o[g]: e_o / below, p_x[g]: e_x / below}
        for j, i in ((j, i) for j in range(K) for i, c in enumerate(label) if group[c] == g):
            kind = 0 if j == label[i] else 1 if group[j] == g else 2
            exponentials[sp.exp(moved[j, i])] = (e_d, e_o, e_x)[kind]
            exact.append((Z[j, i].xreplace(at), two.logits(g)[kind]))

    v = two.velocity(p_o, p_x, **claim)
    numbers = dict(zip(two.n, map(sp.sympify, samples), strict=True))
    claimed_W = two.classifier(v["a_A"], v["a_B"], v["w"]).matrix()
    claimed_H = two.features(v["b_A"], v["b_B"], v["y_A"], v["y_B"]).matrix()
    claimed = [*claimed_W, *(claimed_H[r, c] for r in range(K) for c in label)]
    slopes = by_chain_rule(loss, dict(zip(z, Z, strict=True)), [*W, *H])
    pairs = [
        (
            -(slope.xreplace(exponentials) + sp.diff(decay, entry)).xreplace(at),
            value.xreplace(numbers).xreplace(probability),
        )
        for entry, slope, value in zip([*W, *H], slopes, claimed, strict=True)
    ]
    return entries(
        f"{sizes[0]} + {sizes[1]} classes with {samples[0]} and {samples[1]} samples: the gradient of F by each entry "
        "of W and of every sample, one column each, is minus the velocity of the theorem.",
        [*exact, *pairs],
        f"{sizes[0]} + {sizes[1]} classes, {samples[0]} and {samples[1]} samples",
    )


check = residuals_of(derivation)
