"""Losses from formulas: parsed by SymPy, differentiated, and rewritten without cancellation.

A formula phi is a function of the odds of error ``S = sum_j k_j exp(-margin_j)``, in ``M = sum_j k_j margin_j``, ``Q =
sum_j k_j margin_j^2``, the number K of classes, and named parameters. By the chain rule

    k_j r_j = -dphi/dmargin_j = k_j (exp(-margin_j) phi_S - phi_M - 2 margin_j phi_Q).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple


class Formula(NamedTuple):
    """A formula and its derivatives: SymPy expressions in S, M, Q, the parameters, and N = K - 1."""

    value: Any
    by_odds: Any  # phi_S
    by_sum: Any  # phi_M
    by_squares: Any  # phi_Q


class Centred(NamedTuple):
    """A formula expanded about the mean of the margins, so that large terms do not cancel.

    With margins ``c + x_j`` the symbols are S, N, the parameters, "mean" for the mean of all x_j, with the weights k_j,
    and "spread" for ``sum_j k_j (x_j - mean)^2``. Then ``r_j = exp(-margin_j) by_odds - common - slope (x_j - mean)``.
    """

    centre: Any  # c: zero of the common part if it is linear in the mean, else 0
    value: Any
    by_odds: Any
    common: Any
    slope: Any
    terms: tuple[Any, ...]  # terms of the common part for c = 0


class Forces(NamedTuple):
    """The force on mode i, ``sum_j gap_ij k_j exp(-margin_j) by_odds + common - slope s_i``.

    By the orthogonality of the eigenmatrix ``sum_j k_j gap_ij = K`` and ``sum_j k_j gap_ij margin_j = s_i + M``, with
    ``M = sum_i m_i s_i``, and ``K Q = M^2 + sum_i m_i s_i^2``: terms linear in the margins need no gaps.
    """

    by_odds: Any
    common: Any
    slope: Any


@functools.cache
def parse(formula: str, parameters: tuple[str, ...]) -> Formula:
    """Parse the formula of a loss with these parameters; raise a ValueError if it is invalid."""
    import sympy
    from sympy.codegen.cfunctions import log1p
    from sympy.parsing import sympy_parser

    known = {name: symbol(name) for name in ("S", "M", "Q", *parameters)} | {"K": symbol("N") + 1}
    functions = {"log1p": log1p, "log": sympy.log, "exp": sympy.exp}
    transformations = (*sympy_parser.standard_transformations, sympy_parser.rationalize)
    phi = sympy_parser.parse_expr(formula, local_dict=known | functions, transformations=transformations)
    unknown = phi.free_symbols - {symbol(name) for name in ("S", "M", "Q", "N", *parameters)}
    if unknown:
        names = ", ".join(sorted(map(str, unknown)))
        raise ValueError(f"formula must be a function of S, M, Q, K and the parameters, got {formula!r}, with {names}")
    phi = phi.replace(  # 1 + S would lose small S
        lambda part: isinstance(part, sympy.log) and part.args[0].is_Add and 1 in part.args[0].args,
        lambda part: log1p(part.args[0] - 1),
    )
    return Formula(phi, *(stable(sympy.diff(phi, symbol(name))) for name in "SMQ"))


@functools.cache
def centred(formula: str, parameters: tuple[str, ...]) -> Centred:
    """The formula about the mean of the margins."""
    import sympy

    phi = parse(formula, parameters)
    N, mean, spread = symbol("N"), symbol("mean"), symbol("spread")

    def about(centre: Any, expression: Any) -> Any:
        mu = centre + mean
        moments = {symbol("M"): N * mu, symbol("Q"): spread + N * mu**2, symbol("mean of margins"): mu}
        return stable(expression.subs(moments))

    common = phi.by_sum + 2 * symbol("mean of margins") * phi.by_squares
    centre, plain = sympy.Integer(0), about(sympy.Integer(0), common)
    if plain.is_polynomial(mean) and sympy.degree(plain, mean) == 1:
        slope, constant = sympy.Poly(plain, mean).all_coeffs()
        if not {symbol("S"), spread} & (slope.free_symbols | constant.free_symbols):
            centre = sympy.cancel(-constant / slope)
    terms = sympy.Add.make_args(sympy.expand(plain))
    return Centred(
        centre, about(centre, phi.value), about(centre, phi.by_odds), about(centre, common),
        about(centre, 2 * phi.by_squares), terms,
    )  # fmt: skip


@functools.cache
def forces(formula: str, parameters: tuple[str, ...]) -> Forces:
    """The parts of the forces on the modes."""
    phi = parse(formula, parameters)
    common = -(symbol("N") + 1) * phi.by_sum - 2 * symbol("M") * phi.by_squares
    return Forces(phi.by_odds, stable(common), 2 * phi.by_squares)


def symbol(name: str) -> Any:
    """The symbol of that name, as all formulas use it."""
    import sympy

    return sympy.Symbol(name, positive=True) if name in ("S", "N") else sympy.Symbol(name, real=True)


def stable(expression: Any) -> Any:
    """Form of an expression without subtractions, if there is one."""
    import sympy

    if not any(term.could_extract_minus_sign() for part in expression.atoms(sympy.Add) for term in part.args):
        return expression
    expression = sympy.powsimp(sympy.factor(expression))
    # large powers of large odds would cancel: use powers of S / (1 + S) <= 1
    S, powers = symbol("S"), expression.as_powers_dict()
    if expression.is_Mul and S in powers and S + 1 in powers:
        odds, right = powers.pop(S), powers.pop(S + 1)
        rest = sympy.Mul(*(base**exponent for base, exponent in powers.items()))
        return (S / (S + 1)) ** odds * (S + 1) ** (odds + right) * rest
    return expression


def is_positive(expression: Any, parameters: Mapping[str, float]) -> bool:
    """Whether SymPy proves that an expression with these parameters is nonnegative."""
    import sympy

    values = {symbol(name): sympy.Rational(value) for name, value in parameters.items()}
    return expression.subs(values).is_nonnegative is True


def interpret(expression: Any, values: Mapping[str, Any], number: Any) -> Any:
    """Evaluate an expression with values for its symbols, in their arithmetic.

    Parameters
    ----------
    expression : sympy expression
    values : mapping
        From the names of symbols to numbers, or to objects that have ``+``, ``*``, ``**`` with a number, and the
        methods ``exp``, ``log``, ``log1p``.
    number : function
        Converts a fraction of two integers to a number.
    """
    known: dict[Any, Any] = {}

    def visit(part: Any) -> Any:
        if part not in known:
            known[part] = evaluate(part)
        return known[part]

    def evaluate(part: Any) -> Any:
        if part.is_Symbol:
            return values[part.name]
        if part.is_Rational:
            return number(int(part.p), int(part.q))
        arguments = [visit(argument) for argument in part.args]
        if part.is_Add:
            return functools.reduce(operator.add, arguments)
        if part.is_Mul:
            return functools.reduce(operator.mul, arguments)
        if part.is_Pow:
            return arguments[0] ** arguments[1]
        return getattr(arguments[0], part.func.__name__)()

    return visit(expression)
