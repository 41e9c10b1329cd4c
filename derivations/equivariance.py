"""Equivariance: a start that a permutation group fixes stays fixed, in networks of any depth.

Setting. Z = W_1 σ_1(W_2 σ_2(... W_L) + b_2 1^T) + b_1 1^T, with entrywise activations σ_l, column c
of Z for sample c. A permutation g of all points (classes, hidden units, samples, each among
themselves) acts on the layers by W_l -> P_{l-1} W_l P_l^T and on biases by b_l -> P_{l-1} b_l.

Theorem. Let the loss not change when a group Γ permutes the rows and columns of Z. This holds, for
relations r(j, c) that Γ preserves and labels that go with the samples, y(g c) = g y(c), for

    L(Z) = sum_{jc} phi_{r(j,c)}(Z_jc)   and for
    L(Z) = sum_c o_c phi(sum_j exp(Z_jc + δ_j), Z_{y(c) c})

with any functions phi: squared errors, cross-entropy, focal loss, with weights o_c and adjustments
δ_j constant on orbits. Add decay, a constant of its own for each layer and each bias. If every g in
Γ fixes the start, then gradient flow stays in the subspace of fixed layers: entries are equal
wherever g takes one to the other. So 2-orbits of Γ suffice, whatever the activation.

Proof in general. Permutations are orthogonal, and they commute with entrywise functions and leave
|W_l|^2 alone. So the objective obeys F(g θ) = F(θ), and its gradient the chain rule ∇F(g θ) = g
∇F(θ). If g θ = θ, then g ∇F(θ) = ∇F(θ). The velocity is tangent to the subspace {g θ = θ for all
g}; solutions are unique where the velocity is locally Lipschitz, hence they stay in it. Layers that
are frozen, or move with rates of their own for each layer, change nothing. At a kink of the
activation (ReLU) solutions need not be unique; the set of velocities is convex there and goes into
itself under Γ, so it contains a fixed one, and a solution that stays exists.

Coherent configurations that are no orbits of a group are covered by `coherent`: the velocity is
made of products, transposes and entrywise functions.

The steps prove the two rules for layers of symbolic shape, and differentiate whole objectives by
every entry, with arbitrary σ, phi and all entries of all layers symbolic.

Source: [ceflow]; the argument is classical (principle of symmetric criticality).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import sympy as sp

from ._proof import ALL_MATRICES, IDENTITY, Step, by_chain_rule, entries, identity, residuals_of, vanish_matrix
from ._quoted import EXISTENCE, INCLUSIONS

WRONG = {
    "samples of one orbit with different weights": {"weights": "samples"},
    "hidden units of one orbit with different activations": {"activations": "units"},
    "a logit adjustment that differs within an orbit": {"adjustment": "classes"},
    "a target that the group does not preserve": {"targets": "free"},
}


class Activation(sp.Function):
    """An arbitrary activation σ_l(x), as a function of its number l and x."""

    nargs = 2

    def fdiff(self, argindex: int = 2) -> sp.Expr:
        """Return σ_l'(x)."""
        return Slope(*self.args)


class Slope(sp.Function):
    """Its derivative."""

    nargs = 2


class Entry(sp.Function):
    """An arbitrary loss phi_r(z) of one logit, as a function of its relation r and z."""

    nargs = 2

    def fdiff(self, argindex: int = 2) -> sp.Expr:
        """Return phi_r'(z)."""
        return EntrySlope(*self.args)


class EntrySlope(sp.Function):
    """Its derivative."""

    nargs = 2


class Column(sp.Function):
    """An arbitrary loss phi(S, z) of one column: S its partition sum, z the logit of its class."""

    nargs = 2

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return the derivative by S (1) or z (2)."""
        return ColumnSlope(argindex, *self.args)


class ColumnSlope(sp.Function):
    """Its derivatives, numbered by the argument."""

    nargs = 3


@dataclass(frozen=True)
class Network:
    """A small network with a permutation group.

    Attributes
    ----------
    name : str
        What is permuted.
    sizes : tuple of int
        Number of classes, of units of each hidden layer, and of samples.
    generators : tuple of tuple of tuple of int
        Generators of the group: a permutation of each of these sets.
    target : tuple of int
        Class of every sample, for cross-entropy.
    """

    name: str
    sizes: tuple[int, ...]
    generators: tuple[tuple[tuple[int, ...], ...], ...]
    target: tuple[int, ...]

    def orbits(self, *sides: int) -> dict[tuple[int, ...], tuple[int, ...]]:
        """Return the first member of the orbit of every tuple of points on these sides, as one side or a pair."""
        found: dict[tuple[int, ...], tuple[int, ...]] = {}
        for start in product(*(range(self.sizes[side]) for side in sides)):
            todo = [start]
            while todo:
                at = todo.pop()
                if at not in found:
                    found[at] = start
                    todo += [tuple(g[side][x] for side, x in zip(sides, at, strict=True)) for g in self.generators]
        return found

    def parameters(self) -> dict[sp.Symbol, tuple[int, tuple[int, ...]]]:
        """Return the symbol of every entry of every layer and bias, with its layer and its indices."""
        named = {}
        for layer in range(len(self.sizes) - 1):
            for i in range(self.sizes[layer]):
                named |= {
                    sp.Symbol(f"w{layer}_{i}_{j}", real=True): (layer, (i, j)) for j in range(self.sizes[layer + 1])
                }
                named[sp.Symbol(f"b{layer}_{i}", real=True)] = (layer, (i,))
        return named


SWAPS = Network(  # classes 0 and 1 with their units and samples; the two samples of both; class 2 stands alone
    "classes {0, 1} + {2}, two samples and one",
    (3, 3, 5),
    (((1, 0, 2), (1, 0, 2), (2, 3, 0, 1, 4)), ((0, 1, 2), (0, 1, 2), (1, 0, 3, 2, 4))),
    (0, 0, 1, 1, 2),
)
ROTATIONS = Network("three layers, rotations of 3", (3, 3, 3, 3), (((1, 2, 0),) * 4,), (0, 1, 2))
EXCHANGES = Network(  # two hidden units exchanged with the classes, a third that stays; one more sample for each class
    "two classes, three units, exchange", (2, 3, 4), (((1, 0), (1, 0, 2), (1, 0, 3, 2)),), (0, 1, 0, 1)
)
NETWORKS = (SWAPS, EXCHANGES, ROTATIONS)


def derivation(
    weights: str = "orbits", activations: str = "layers", adjustment: str = "orbits", targets: str = "orbits"
) -> Iterator[Step]:
    """Yield the proof; arguments say on what weights, activations, logit adjustments and targets are constant."""
    yield from _rules()
    for network in NETWORKS:
        losses = {
            "a function of (logit, relation) for each entry": _entrywise(network, targets),
            "a function of (partition sum, own logit) for each column": _columnwise(network, weights, adjustment),
        }
        for name, loss in losses.items():
            yield from _on_entries(network, name, loss, activations)


def _rules() -> Iterator[Step]:
    """Yield the two rules, forward and backward, for layers of symbolic shape."""
    K, d, N = sp.symbols("K d N", integer=True, positive=True)
    P, Q, S = sp.MatrixSymbol("P", K, K), sp.MatrixSymbol("Q", d, d), sp.MatrixSymbol("S", N, N)
    W, X, G = sp.MatrixSymbol("W", K, d), sp.MatrixSymbol("X", d, N), sp.MatrixSymbol("G", K, N)
    b, row = sp.MatrixSymbol("b", K, 1), sp.OneMatrix(1, N)
    orthogonal = {Q.T * Q: sp.Identity(d), S.T * S: sp.Identity(N), P.T * P: sp.Identity(K)}

    def vanish(e: sp.MatrixExpr) -> sp.Basic:
        e = e.doit().expand().subs(orthogonal)
        return vanish_matrix(e.subs(row * S.T, row))

    w, x = P * W * Q.T, Q * X * S.T
    yield identity(
        "Forward: W -> P W Q^T, X -> Q X S^T, b -> P b take W X + b 1^T to P (W X + b 1^T) S^T, since Q^T Q = I and "
        "1^T S^T = 1^T.",
        w * x + P * b * row,
        P * (W * X + b * row) * S.T,
        ALL_MATRICES,
        by=vanish,
    )
    for says, left, right in (
        ("Backward: with G -> P G S^T the gradient by the layer, G X^T, goes the way of W", P * G * S.T * x.T, P),
        ("... the gradient by the input, W^T G, goes the way of X", w.T * P * G * S.T, Q),
    ):
        claimed = right * G * X.T * Q.T if right == P else right * W.T * G * S.T
        yield identity(says + ".", left, claimed, ALL_MATRICES, by=vanish)
    p, q, f = sp.eye(3)[[1, 2, 0], :], sp.eye(2)[[1, 0], :], sp.Function("σ")
    A, B = sp.Matrix(3, 2, sp.symbols("a:6")), sp.Matrix(3, 2, sp.symbols("b:6"))
    yield entries(
        "Entrywise functions and products do not depend on the position of an entry: σ(P X Q^T) = P σ(X) Q^T for "
        "permutations "
        "P, Q, and the same for products entry by entry.",
        [
            ((p * A * q.T).applyfunc(f), p * A.applyfunc(f) * q.T),
            ((p * A * q.T).multiply_elementwise(p * B * q.T), p * A.multiply_elementwise(B) * q.T),
        ],
        "a cycle of 3 rows, an exchange of 2 columns",
    )


def _logits(network: Network, activations: str) -> tuple[sp.Matrix, sp.Expr]:
    """Return Z and the decay of all layers and biases."""
    depth = len(network.sizes) - 1
    X, decay = None, sp.S.Zero
    for layer in reversed(range(depth)):
        rows, columns = network.sizes[layer : layer + 2]
        W = sp.Matrix(rows, columns, lambda i, j, n=layer: sp.Symbol(f"w{n}_{i}_{j}", real=True))
        b = sp.Matrix(rows, 1, lambda i, _, n=layer: sp.Symbol(f"b{n}_{i}", real=True))
        X = (W if X is None else W * X) + b * sp.ones(1, W.cols if X is None else X.cols)
        for name, M in ((f"λ{layer}", W), (f"μ{layer}", b)):
            decay += sp.Symbol(name, positive=True) / 2 * sum(v**2 for v in M)
        if layer:
            number = (lambda i, n=layer: 10 * n + i) if activations == "units" else (lambda _, n=layer: 10 * n)
            X = sp.Matrix(X.rows, X.cols, lambda i, j, X=X, number=number: Activation(number(i), X[i, j]))
    return X, decay


def _entrywise(network: Network, targets: str) -> object:
    """Return the loss sum phi_r(Z_jc), with one function for each orbit on pairs (class, sample)."""
    orbit = network.orbits(0, len(network.sizes) - 1)
    number = {pair: n for n, pair in enumerate(orbit if targets == "free" else dict.fromkeys(orbit.values()))}
    if targets == "free":
        return lambda Z: sum(Entry(number[j, c], Z[j, c]) for j in range(Z.rows) for c in range(Z.cols))
    return lambda Z: sum(Entry(number[orbit[j, c]], Z[j, c]) for j in range(Z.rows) for c in range(Z.cols))


def _columnwise(network: Network, weights: str, adjustment: str) -> object:
    """Return the loss sum_c o_c phi(sum_j exp(Z_jc + δ_j), Z_{y(c) c}); cross-entropy is phi = log S - z."""
    sample, kind = network.orbits(len(network.sizes) - 1), network.orbits(0)
    o = [sp.Symbol(f"o{c if weights == 'samples' else sample[c,][0]}", positive=True) for c in range(network.sizes[-1])]
    delta = [sp.Symbol(f"δ{j if adjustment == 'classes' else kind[j,][0]}") for j in range(network.sizes[0])]

    def loss(Z: sp.Matrix) -> sp.Expr:
        total = sp.S.Zero
        for c, y in enumerate(network.target):
            total += o[c] * Column(sum(sp.exp(Z[j, c] + delta[j]) for j in range(Z.rows)), Z[y, c])
        return total

    return loss


def _on_entries(network: Network, name: str, loss: object, activations: str) -> Iterator[Step]:
    """Differentiate by every entry; rename the entries by each generator, then set them equal on orbits.

    Both sides come out as the same expression: nothing is simplified.
    """
    Z, decay = _logits(network, activations)
    z = sp.Matrix(*Z.shape, sp.symbols(f"z:{len(Z)}", real=True))
    logits = dict(zip(z, Z, strict=True))
    where = network.parameters()
    at = {place: symbol for symbol, place in where.items()}
    slopes = by_chain_rule(loss(z), logits, where)
    slope = {x: through.xreplace(logits) + sp.diff(decay, x) for x, through in zip(where, slopes, strict=True)}

    def image(g: tuple[tuple[int, ...], ...], symbol: sp.Symbol) -> sp.Symbol:
        layer, indices = where[symbol]
        return at[layer, tuple(g[layer + side][x] for side, x in enumerate(indices))]

    pairs = []
    for g in network.generators:
        rename = {symbol: image(g, symbol) for symbol in where}
        pairs += [(slope[symbol].xreplace(rename), slope[rename[symbol]]) for symbol in where]
    yield entries(
        f"{network.name}; {name}; any activation: the gradient by each of the {len(where)} entries of layers and "
        "biases, at layers permuted by a generator, is the gradient by the permuted entry.",
        pairs,
        network.name,
        by=sp.sympify,
        how=IDENTITY,
    )
    fixed = {}
    for symbol, (layer, indices) in where.items():
        orbit = network.orbits(*range(layer, layer + len(indices)))
        fixed[symbol] = at[layer, orbit[indices]]
    velocity = {symbol: value.xreplace(fixed) for symbol, value in slope.items()}
    yield entries(
        f"{network.name}; {name}: at entries that are equal on the {len(set(fixed.values()))} orbits, the velocity is "
        "equal on orbits too.",
        [(velocity[symbol], velocity[fixed[symbol]]) for symbol in where],
        network.name,
        by=sp.sympify,
        how=IDENTITY,
    ).on(quotes=(EXISTENCE, INCLUSIONS))


check = residuals_of(derivation)
