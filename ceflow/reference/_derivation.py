"""Derivatives of formulas of losses, and forms of them without cancellation, by SymPy."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import sympy
from sympy.codegen.cfunctions import log1p
from sympy.parsing import sympy_parser
from sympy.printing.str import StrPrinter

from ._formula import Centred, Forces, Formula


class _Printer(StrPrinter):
    """Texts with powers in place of square roots."""

    def _print_Pow(self, expr: Any, rational: bool = False) -> str:
        return super()._print_Pow(expr, rational=True)


_text = _Printer().doprint


def symbol(name: str) -> Any:
    """The symbol of that name, as all formulas use it."""
    return sympy.Symbol(name, positive=True) if name in ("S", "N") else sympy.Symbol(name, real=True)


def expression(text: str, parameters: tuple[str, ...]) -> Any:
    """SymPy's form of a formula or expression; raise a ValueError if it is invalid."""
    symbols = {name: symbol(name) for name in ("S", "M", "Q", "N", "mean", "spread", *parameters)}
    known = symbols | {"K": symbol("N") + 1, "log1p": log1p, "log": sympy.log, "exp": sympy.exp}
    transformations = (*sympy_parser.standard_transformations, sympy_parser.rationalize)
    found = sympy_parser.parse_expr(text, local_dict=known, transformations=transformations)
    if unknown := found.free_symbols - set(symbols.values()):
        wrong = ", ".join(sorted(map(str, unknown)))
        raise ValueError(f"formula must be a function of S, M, Q, K and the parameters, got {text!r}, with {wrong}")
    return found


def _parts(formula: str, parameters: tuple[str, ...]) -> list[Any]:
    """The formula, and its derivatives in S, M and Q."""
    phi = expression(formula, parameters).replace(  # 1 + S would lose small S
        lambda part: isinstance(part, sympy.log) and part.args[0].is_Add and 1 in part.args[0].args,
        lambda part: log1p(part.args[0] - 1),
    )
    return [phi, *(stable(sympy.diff(phi, symbol(name))) for name in "SMQ")]


@functools.cache
def parse(formula: str, parameters: tuple[str, ...]) -> Formula:
    """Parse the formula of a loss with these parameters; raise a ValueError if it is invalid."""
    return Formula(*map(_text, _parts(formula, parameters)))


@functools.cache
def centred(formula: str, parameters: tuple[str, ...]) -> Centred:
    """The formula about the mean of the margins."""
    value, by_odds, by_sum, by_squares = _parts(formula, parameters)
    N, mean, spread, mean_of_margins = map(symbol, ("N", "mean", "spread", "mean of margins"))

    def about(centre: Any, expression: Any) -> Any:
        mu = centre + mean
        moments = {symbol("M"): N * mu, symbol("Q"): spread + N * mu**2, mean_of_margins: mu}
        return stable(expression.subs(moments))

    common = by_sum + 2 * mean_of_margins * by_squares
    centre, plain = sympy.Integer(0), about(sympy.Integer(0), common)
    if plain.is_polynomial(mean) and sympy.degree(plain, mean) == 1:
        slope, constant = sympy.Poly(plain, mean).all_coeffs()
        if not {symbol("S"), spread} & (slope.free_symbols | constant.free_symbols):
            centre = sympy.cancel(-constant / slope)
    parts = centre, *(about(centre, part) for part in (value, by_odds, common, 2 * by_squares))
    terms = sympy.Add.make_args(sympy.expand(plain))
    return Centred._make([*map(_text, parts), tuple(map(_text, terms))])


@functools.cache
def forces(formula: str, parameters: tuple[str, ...]) -> Forces:
    """The parts of the forces on the modes."""
    _, by_odds, by_sum, by_squares = _parts(formula, parameters)
    common = -(symbol("N") + 1) * by_sum - 2 * symbol("M") * by_squares
    return Forces(*map(_text, (by_odds, stable(common), 2 * by_squares)))


def stable(expression: Any) -> Any:
    """Form of an expression without subtractions, if there is one."""
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


def is_positive(text: str, parameters: Mapping[str, float]) -> bool:
    """Whether SymPy proves that an expression with these parameters is nonnegative."""
    values = {symbol(name): sympy.Rational(value) for name, value in parameters.items()}
    return expression(text, tuple(parameters)).subs(values).is_nonnegative is True
