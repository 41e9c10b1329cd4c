"""Steps of a proof: each has a statement, a formula and residuals that must be exactly zero.

A derivation is a generator of `Step` objects in the order of the proof. Its keyword arguments are constants and signs
of the theorem, with the true values as defaults, so that the same steps can be run on a false claim. There are three
kinds of steps: an identity, entries of a matrix identity, and an expression rewritten as a sum of terms with manifest
signs. There are no floating-point comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import sympy as sp
from sympy.core.function import AppliedUndef

IDENTITY = "symbolic identity"
TERMS = "sum of non-negative terms"
RATIONAL = "exact rational evaluation"

ALL_SCHEMES = "every symmetric scheme, symbolic K"
ALL_MATRICES = "all matrices, symbolic K and width"
SCALAR = "scalar equation, symbolic parameters"


@dataclass(frozen=True)
class Step:
    """One line of a proof.

    Attributes
    ----------
    says : str
        The statement, one or two sentences.
    shows : sympy.Basic or None
        The formula to print.
    residuals : tuple of sympy.Expr
        Simplified differences: the step holds if and only if all of them are exactly 0. A term that is not manifestly
        non-negative, as required, is also listed here.
    how : str
        `IDENTITY`, `TERMS` or `RATIONAL`.
    scope : str
        Values of K and schemes for which the step is proved.
    name : str
        Name for references by other steps; "" if there are none.
    premises : tuple of str
        Premises of the step: "module" for another derivation, "module.name" for one of its steps, ".name" for an
        earlier step of the same derivation. The command line checks that they exist and hold.
    quotes : tuple of str
        Quoted theorems that are needed for the statement and are not checked here.
    """

    says: str
    shows: sp.Basic | None
    residuals: tuple[sp.Basic, ...]
    how: str
    scope: str
    name: str = ""
    premises: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()

    def on(self, *premises: str, name: str = "", quotes: tuple[str, ...] = ()) -> Step:
        """Return the same step with its premises, its name, and quoted theorems."""
        return replace(self, premises=premises, name=name, quotes=quotes)

    @property
    def holds(self) -> bool:
        """Whether there are residuals and all of them are 0."""
        return bool(self.residuals) and all(residual == 0 for residual in self.residuals)


def vanish(expr: sp.Expr) -> sp.Expr:
    """Simplify an expression that should be zero; return 0 exactly when sympy reduces it to 0.

    The numerator over a common denominator is expanded, first with every exponential replaced by an independent symbol
    (an identity between polynomials implies the identity between exponentials), then with exponentials kept.
    """
    expr = sp.sympify(expr)
    if expr.has(sp.Float):
        raise ValueError(f"floating point in a proof: {expr}")
    if expr == 0:
        return sp.S.Zero
    exponentials = {e: sp.Dummy(positive=True) for e in expr.atoms(sp.exp)}
    if exponentials and _numerator(expr.xreplace(exponentials)) == 0:
        return sp.S.Zero
    if surely_not_zero(expr):
        return expr
    numerator = _numerator(expr)
    return numerator if numerator == 0 or numerator.has(sp.Sum) else sp.simplify(numerator)


def _numerator(expr: sp.Expr) -> sp.Expr:
    return sp.expand(sp.fraction(sp.together(expr))[0])


def surely_not_zero(expr: sp.Expr) -> bool:
    """Whether a numerical value with 20 digits shows that `expr` is not 0; saves simplifying false claims."""
    if expr.has(sp.Sum, sp.Integral, sp.Indexed, sp.Derivative) or expr.atoms(AppliedUndef):
        return False
    point = {x: sp.Rational(2 * n + 3, 7 * n + 5) for n, x in enumerate(sorted(expr.free_symbols, key=str))}
    value = expr.xreplace(point).evalf(20, maxn=20)
    return bool(value.is_number and value.is_finite and abs(value) > sp.Rational(1, 10**9))


def identity(
    says: str,
    left: sp.Expr,
    right: sp.Expr,
    scope: str,
    *,
    by: Callable[[sp.Expr], sp.Basic] = vanish,
    how: str = IDENTITY,
    shows: sp.Basic | None = None,
) -> Step:
    """Return the step `left = right`; `by` simplifies the difference.

    The equation is shown unless `shows` is given, or sympy already writes both sides alike.
    """
    if shows is None and left != right:
        shows = sp.Eq(left, right, evaluate=False)
    return Step(says, shows, (by(left - right),), how, scope)


def entries(
    says: str,
    pairs: Iterable[tuple[object, object]],
    scope: str,
    *,
    by: Callable[[sp.Expr], sp.Basic] = vanish,
    how: str = IDENTITY,
    shows: sp.Basic | None = None,
) -> Step:
    """Return the step that every pair (left, right), of numbers, expressions or matrices, agrees entry by entry."""
    differences = []
    for left, right in pairs:
        difference = left - right
        differences += list(difference) if isinstance(difference, sp.MatrixBase) else [sp.sympify(difference)]
    return Step(says, shows, tuple(by(d) for d in dict.fromkeys(differences)), how, scope)


def nonnegative(
    says: str,
    left: sp.Expr,
    terms: sp.Expr,
    scope: str,
    *,
    by: Callable[[sp.Expr], sp.Basic] = vanish,
    shows: sp.Basic | None = None,
) -> Step:
    """Return the step `left = terms >= 0`: the identity, and the sign of every term read off its form."""
    doubtful = tuple(term for term in sp.Add.make_args(terms) if not manifestly_nonnegative(term))
    shown = sp.Eq(left, terms, evaluate=False) if shows is None else shows
    return Step(says, shown, (by(left - terms), *doubtful), TERMS, scope)


def manifestly_nonnegative(expr: sp.Expr) -> bool:
    """Whether `expr` is manifestly non-negative: squares, exponentials, positive symbols, and combinations of these."""
    if expr.is_nonnegative:
        return True
    if expr.is_Add or expr.is_Mul:
        return all(manifestly_nonnegative(arg) for arg in expr.args)
    if isinstance(expr, sp.Pow):
        even = expr.exp.is_even and expr.base.is_extended_real
        return bool(even or (expr.exp.is_real and manifestly_nonnegative(expr.base)))
    if isinstance(expr, sp.Sum | sp.Integral):
        increasing = isinstance(expr, sp.Sum) or all((b - a).is_nonnegative for _, a, b in expr.limits)
        return bool(increasing) and manifestly_nonnegative(expr.function)
    return False


class MeanExp(sp.Function):
    """The integral of exp(u x) over 0 < u < 1: positive, and (e^x - 1)/x away from x = 0 (see `gap_lemmas`)."""

    is_positive = True

    def doit(self, **hints: object) -> sp.Expr:
        """Return (e^x - 1)/x."""
        (x,) = self.args
        return (sp.exp(x) - 1) / x

    def _pretty(self, printer: object) -> object:
        return printer._print_Function(self, func_name="ε₁")

    def _latex(self, printer: object) -> str:
        return rf"\varepsilon_1\left({printer._print(self.args[0])}\right)"


class ConvexityGap(sp.Function):
    """The integral of u exp((1 - u) x) over 0 < u < 1: positive, and (e^x - 1 - x)/x^2 away from x = 0."""

    is_positive = True

    def doit(self, **hints: object) -> sp.Expr:
        """Return (e^x - 1 - x)/x^2."""
        (x,) = self.args
        return (sp.exp(x) - 1 - x) / x**2

    def _pretty(self, printer: object) -> object:
        return printer._print_Function(self, func_name="ε₂")

    def _latex(self, printer: object) -> str:
        return rf"\varepsilon_2\left({printer._print(self.args[0])}\right)"


GAPS = {MeanExp: "ε₁", ConvexityGap: "ε₂"}  # names of the lemmas in steps


def gap_lemmas(*gaps: type[sp.Function]) -> Iterator[Step]:
    """Yield the integral representations that make the gaps positive; they hold at x = 0 by continuity."""
    x = sp.Symbol("x", real=True, nonzero=True)
    u = sp.Symbol("u", nonnegative=True)
    integrals = {
        MeanExp: sp.Integral(sp.exp(u * x), (u, 0, 1)),
        ConvexityGap: sp.Integral(u * sp.exp((1 - u) * x), (u, 0, 1)),
    }
    for gap in gaps:
        yield nonnegative(
            "Lemma: "
            + ("e^x - 1 has the sign of x" if gap is MeanExp else "e^x lies above its tangent, e^x - 1 - x >= 0")
            + "; the quotient is the integral of a positive function, hence positive also at x = 0.",
            gap(x).doit(),
            integrals[gap],
            SCALAR,
            by=lambda e: vanish(e.doit()),
        ).on(name=GAPS[gap])


def open_gaps(expr: sp.Expr) -> sp.Expr:
    """Replace `MeanExp` and `ConvexityGap` by their definitions."""
    return expr.replace(lambda e: isinstance(e, MeanExp | ConvexityGap), lambda e: e.doit())


def by_chain_rule(outer: sp.Expr, inner: Mapping[sp.Symbol, sp.Expr], variables: Iterable[sp.Symbol]) -> list[sp.Expr]:
    """Return the derivatives of `outer` by the variables, through the symbols that stand for the inner expressions."""
    slopes = [(sp.diff(outer, symbol), value, value.free_symbols) for symbol, value in inner.items()]
    return [sp.Add(*(slope * sp.diff(value, x) for slope, value, of in slopes if x in of)) for x in variables]


def vanish_matrix(expr: sp.MatrixExpr) -> sp.Basic:
    """Return 0 if a matrix expression of symbolic shape expands to the zero matrix, else the expanded expression."""
    expanded = expr.doit().expand().doit()
    return sp.S.Zero if expanded.is_ZeroMatrix else expanded


def residuals_of(derivation: Callable[..., Iterator[Step]]) -> Callable[..., list[sp.Expr]]:
    """Return the function `check` of a module: all residuals of the derivation, in order."""

    def check(**claim: object) -> list[sp.Expr]:
        """Return the residuals of all steps; the theorem is proved if and only if every one is exactly 0.

        Parameters
        ----------
        **claim
            Constants of the theorem that differ from the true ones, such as an entry of `WRONG`.
        """
        return [residual for step in derivation(**claim) for residual in step.residuals]

    return check
