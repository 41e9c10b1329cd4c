"""Change of the imbalance, which the flow conserves, by a step of gradient descent.

Theorem. Let G be any K x K matrix, so minus the gradient of any loss in the logits Z = W H, and l >= 0
the decay of both layers. A step of size h,

    W+ = W + h (G H^T - l W),    H+ = H + h (W^T G - l H),

changes C = W^T W - H H^T to

    C+ = (1 - h l)^2 C + h^2 (H G^T G H^T - W^T G G^T W).

On a mode, a+ = a + h (λ b - l a) and b+ = b + h (λ a - l b),

    D+ = ((1 - h l)^2 - h^2 λ^2) D,    D = a^2 - b^2,

exactly, whatever the loss and the symmetry; of neighbours in a deeper network λ is multiplied by the
product g of the other layers. At the same s = a b the complexity of the features, b^2 = (sqrt(4 s^2 +
D^2) - D)/2, falls with D^2 where the features are the larger layer (D < 0), and grows where the
classifier is (D > 0): larger steps lower it in the first case only.

Source: [ceflow].
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import ALL_MATRICES, SCALAR, Step, identity, nonnegative, residuals_of, vanish_matrix
from ._quoted import MONOTONE

WRONG = {
    "a step conserves a^2 - b^2": {"second": 0},
    "a step makes a^2 - b^2 grow": {"second": -1},
    "the change is of first order in the step": {"power": 1},
}


def derivation(second: int = 1, power: int = 2) -> Iterator[Step]:
    """Yield the proof; arguments are the factor of the second-order term and its power of the step size."""
    yield from _matrices(second, power)
    yield from _modes(second, power)
    yield from _complexity()


def _matrices(second: int, power: int) -> Iterator[Step]:
    """Yield the change of balance for all matrices, between any two layers."""
    K, d = sp.symbols("K d", integer=True, positive=True)
    h, c = sp.symbols("h c", positive=True)  # c = 1 - h l
    W, H, G = sp.MatrixSymbol("W", K, d), sp.MatrixSymbol("H", d, K), sp.MatrixSymbol("G", K, K)
    new = c * W + h * G * H.T, c * H + h * W.T * G
    yield identity(
        "Two layers, c = 1 - h l: the terms of first order, c h (W^T G H^T + H G^T W), are the same in both.",
        new[0].T * new[0] - new[1] * new[1].T,
        c**2 * (W.T * W - H * H.T) + second * h**power * (H * G.T * G * H.T - W.T * G * G.T * W),
        ALL_MATRICES,
        by=vanish_matrix,
    ).on("reduction.W", "reduction.H")
    U, V, Y, X = (
        sp.MatrixSymbol(name, *shape) for name, shape in zip("UVYX", ((K, d), (d, d), (d, d), (d, K)), strict=True)
    )
    left, right = U.T * G * X.T * Y.T, V.T * U.T * G * X.T  # the gradients of V and Y, but for their signs
    new = c * V + h * left, c * Y + h * right
    yield identity(
        "Deep: of neighbours V, Y in Z = U V Y X the same, with the velocities M = U^T G (Y X)^T and (U V)^T G X^T.",
        new[0].T * new[0] - new[1] * new[1].T,
        c**2 * (V.T * V - Y * Y.T) + second * h**power * (left.T * left - right * right.T),
        ALL_MATRICES,
        by=vanish_matrix,
    ).on("reduction.W", "reduction.H")


def _modes(second: int, power: int) -> Iterator[Step]:
    """Yield the change on a mode."""
    h, g = sp.symbols("h g", positive=True)
    a, b, force = sp.symbols("a b λ", real=True)
    decay = sp.Symbol("l", nonnegative=True)
    new = a + h * (g * force * b - decay * a), b + h * (g * force * a - decay * b)
    yield identity(
        "A mode, g the product of all layers but these two: the imbalance is multiplied by (1 - h l)^2 - (h g λ)^2.",
        new[0] ** 2 - new[1] ** 2,
        ((1 - h * decay) ** 2 - second * h**power * (g * force) ** 2) * (a**2 - b**2),
        SCALAR,
    ).on("reduction.modes", "depth.squares", name="mode")


def _complexity() -> Iterator[Step]:
    """Yield the consequence for the features at equal logits."""
    s, D = sp.symbols("s D", positive=True)
    root = sp.sqrt(4 * s**2 + D**2)
    square = (root - D) / 2
    yield identity(
        "b^2 = (sqrt(4 s^2 + D^2) - D)/2 is that of a b = s and a^2 = b^2 + D.",
        square * (square + D),
        s**2,
        SCALAR,
        by=sp.simplify,
    ).on(name="square")
    yield nonnegative(
        "The classifier is the larger layer, D > 0: b^2 falls as D grows, so a step, which makes D smaller, raises it.",
        -sp.diff(square, D),
        2 * s**2 / (root * (root + D)),
        SCALAR,
        by=lambda e: sp.simplify(sp.radsimp(e)),
    ).on(".mode", ".square", quotes=(MONOTONE,))
    yield nonnegative(
        "The features are, a^2 - b^2 = -D: b^2 = (sqrt(4 s^2 + D^2) + D)/2 grows with D, so a step lowers it.",
        sp.diff((root + D) / 2, D),
        sp.Rational(1, 2) + D / (2 * root),
        SCALAR,
        by=sp.simplify,
    ).on(".mode", ".square", quotes=(MONOTONE,))


check = residuals_of(derivation)
