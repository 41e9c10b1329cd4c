"""Losses from formulas: their derivatives, in forms without cancellation.

A formula phi is a function of the odds of error ``S = sum_j k_j exp(-margin_j)``, in ``M = sum_j k_j margin_j``, ``Q =
sum_j k_j margin_j^2``, the number K of classes, and named parameters. By the chain rule

    k_j r_j = -dphi/dmargin_j = k_j (exp(-margin_j) phi_S - phi_M - 2 margin_j phi_Q).

Expressions are texts, like formulas, with N = K - 1. SymPy derives them (`_derivation`); some are stated (`_stated`).
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple


class Formula(NamedTuple):
    """A formula and its derivatives, in S, M, Q, the parameters, and N."""

    value: str
    by_odds: str  # phi_S
    by_sum: str  # phi_M
    by_squares: str  # phi_Q


class Centred(NamedTuple):
    """A formula expanded about the mean of the margins, so that large terms do not cancel.

    With margins ``c + x_j`` the symbols are S, N, the parameters, "mean" for the mean of all x_j, with the weights k_j,
    and "spread" for ``sum_j k_j (x_j - mean)^2``. Then ``r_j = exp(-margin_j) by_odds - common - slope (x_j - mean)``.
    """

    centre: str  # c: zero of the common part if it is linear in the mean, else 0
    value: str
    by_odds: str
    common: str
    slope: str
    terms: tuple[str, ...]  # terms of the common part for c = 0


class Forces(NamedTuple):
    """The force on mode i, ``sum_j gap_ij k_j exp(-margin_j) by_odds + common - slope s_i``.

    By the orthogonality of the eigenmatrix ``sum_j k_j gap_ij = K`` and ``sum_j k_j gap_ij margin_j = s_i + M``, with
    ``M = sum_i m_i s_i``, and ``K Q = M^2 + sum_i m_i s_i^2``: terms linear in the margins need no gaps.
    """

    by_odds: str
    common: str
    slope: str


@functools.cache
def _tree(expression: str) -> tuple:
    """Nested tuples of a name and its arguments: numbers, symbols, functions of one argument, and + * **."""

    def of(node: ast.expr) -> tuple:
        match node:
            case ast.Constant(int(value)):
                return "number", value
            case ast.Name(name):
                return "symbol", name
            case ast.Call(ast.Name(name), [argument]):
                return name, of(argument)
            case ast.UnaryOp(ast.USub(), part):
                return "*", ("number", -1), of(part)
            case ast.BinOp(left, ast.Sub(), right):
                return "+", of(left), ("*", ("number", -1), of(right))
            case ast.BinOp(left, ast.Div(), right):
                return "*", of(left), ("**", of(right), ("number", -1))
            case ast.BinOp(left, ast.Add() | ast.Mult() | ast.Pow() as sign, right):
                return {ast.Add: "+", ast.Mult: "*", ast.Pow: "**"}[type(sign)], of(left), of(right)
        raise ValueError(f"{expression!r} must consist of integers, symbols, + - * / ** and functions of one argument")

    return of(ast.parse(expression, mode="eval").body)


def names(expressions: Iterable[str]) -> set[str]:
    """Names of the symbols and functions in some expressions."""
    return {node.id for text in expressions for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def interpret(expression: str, values: Mapping[str, Any], number: Callable[[int], Any]) -> Any:
    """Evaluate an expression with values for its symbols, in their arithmetic.

    Parameters
    ----------
    expression : str
    values : mapping
        From the names of symbols to numbers, or to objects that have ``+``, ``*``, ``**`` with a number, and the
        methods ``exp``, ``log``, ``log1p``.
    number : function
        Converts integers to numbers.
    """
    operators = {"+": operator.add, "*": operator.mul, "**": operator.pow}
    known: dict[tuple, Any] = {}

    def visit(part: tuple) -> Any:
        if part not in known:
            known[part] = evaluate(*part)
        return known[part]

    def evaluate(name: str, *arguments: Any) -> Any:
        if name == "number":
            return number(arguments[0])
        if name == "symbol":
            return values[arguments[0]]
        found = [visit(argument) for argument in arguments]
        return operators[name](*found) if name in operators else getattr(found[0], name)()

    return visit(_tree(expression))
