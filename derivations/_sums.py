"""Finite sums over the modes and relations of a symbolic scheme: axioms, and a normal form.

`Generic` is the reduced model with symbolic K, D, multiplicities, valencies and eigenmatrix. Its
quantities are written with sympy's `Sum` and `IndexedBase`; `Generic.vanish` decides whether an
expression is zero because of the axioms alone:

1. quantities are replaced by their definitions (logits, forces, means);
2. sums are expanded, common factors are pulled out, and the order of finite sums is exchanged
freely;
3. an inner sum that is the left side of an axiom is replaced by its right side.

The axioms are those of a symmetric association scheme, restricted to the indices 1..D
(`derivations.closure` states and verifies them with the index 0 included):

    sum_i m_i = K - 1             the eigenspaces span R^K, and E_0 has rank 1
    sum_i m_i P_ij = -k_j         trace A_j = 0 for j > 0, and P_0j = k_j
    sum_j k_j = K - 1             the relations partition the pairs, and k_0 = 1
    sum_j P_ij = -1               the all-ones matrix is 0 on eigenspace i > 0, and P_i0 = 1
    sum_j P_ij P_lj / k_j = K delta_il / m_i - 1      orthogonality of the rows of P

and the definition of the mean, sum_i m_i s_i = (K - 1) s̄. Both kinds of indices run from 1 to D: a
symmetric scheme has as many eigenspaces as relations.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import sympy as sp

from ._proof import vanish

Rule = tuple[sp.Symbol, sp.Expr, sp.Expr]

summed, other, third = sp.symbols("a b c", integer=True, cls=sp.Dummy)  # the indices of a rule


def normal(expr: sp.Expr, rules: list[Rule]) -> sp.Expr:
    """Bring an expression with finite sums from 1 to normal form under the rules.

    Parameters
    ----------
    expr : sympy.Expr
        Polynomial in its sums; other functions of sums are normalized inside.
    rules : list of (index, monomial, value)
        "The sum of the monomial over the index is the value", with the index `summed` and `other`, `third` standing for
        any other index.
    """
    if isinstance(expr, sp.Sum):
        result = normal(expr.function, rules)
        for index, _, count in expr.limits:
            result = _total(result, {index: count}, rules)
        return result
    if not expr.has(sp.Sum):
        return sp.expand(expr)
    args = [normal(arg, rules) for arg in expr.args]
    if isinstance(expr, sp.Function):
        args = [sp.cancel(arg) for arg in args]
    return sp.expand(expr.func(*args))


def _total(expr: sp.Expr, bound: dict[sp.Symbol, sp.Expr], rules: list[Rule]) -> sp.Expr:
    """Sum an expression in normal form over the bound indices, given with their counts."""
    for index, count in bound.items():
        terms = sp.Add.make_args(sp.expand(expr))
        expr = sp.Add(*(_total_of_monomial(term, index, count, rules) for term in terms))
    return sp.expand(expr)


def _total_of_monomial(term: sp.Expr, index: sp.Symbol, count: sp.Expr, rules: list[Rule]) -> sp.Expr:
    """Pull out factors that do not depend on the index, and merge the inner sums that do."""
    outside, inside = term.as_independent(index, as_Add=False)
    bound, factors = {index: count}, []
    for factor in sp.Mul.make_args(inside):
        base, power = factor.as_base_exp()
        if not isinstance(base, sp.Sum):
            factors.append(factor)
            continue
        if not (power.is_Integer and power > 0):
            raise ValueError(f"not polynomial in its sums: {factor}")
        for _ in range(int(power)):
            fresh = {old: sp.Dummy(integer=True) for old, *_ in base.limits}
            bound |= {fresh[old]: upper for old, _, upper in base.limits}
            factors.append(base.function.xreplace(fresh))
    return sp.expand(outside * _contract(sp.Mul(*factors), bound, rules))


def _contract(monomial: sp.Expr, bound: dict[sp.Symbol, sp.Expr], rules: list[Rule]) -> sp.Expr:
    """Apply the axioms to a multiple sum of one monomial until none fits, then put it in canonical order."""
    for index, count in bound.items():
        outside, inside = monomial.as_independent(index, as_Add=False)
        rest = {b: n for b, n in bound.items() if b != index}
        if inside == 1:
            return _total(outside * count, rest, rules)
        for delta in inside.atoms(sp.KroneckerDelta):
            (kept,) = set(delta.args) - {index}
            return _total((monomial / delta).xreplace({index: kept}), rest, rules)
        value = _axiom(inside, index, rules)
        if value is not None:
            return _total(outside * value, rest, rules)
    if not bound:
        return monomial
    linked = {next(iter(bound))}
    while grown := {b for f in sp.Mul.make_args(monomial) if f.has(*linked) for b in bound if f.has(b)} - linked:
        linked |= grown
    outside, inside = monomial.as_independent(*linked, as_Add=False)
    first = _canonical(inside, {b: n for b, n in bound.items() if b in linked})
    return first * _total(outside, {b: n for b, n in bound.items() if b not in linked}, rules)


def _canonical(monomial: sp.Expr, bound: dict[sp.Symbol, sp.Expr]) -> sp.Sum:
    """Rename the bound indices so that equal sums become equal expressions."""
    names = [sp.Symbol(f"n{i}", integer=True) for i in range(len(bound))]
    arranged = (
        sp.Sum(
            monomial.xreplace(dict(zip(order, names, strict=True))),
            *((name, 1, bound[b]) for b, name in zip(order, names, strict=True)),
        )
        for order in permutations(bound)
    )
    return min(arranged, key=sp.default_sort_key)


def _axiom(inside: sp.Expr, index: sp.Symbol, rules: list[Rule]) -> sp.Expr | None:
    others = sorted((s for s in inside.free_symbols if s.is_integer and s != index), key=sp.default_sort_key)
    for summed, monomial, value in rules:
        wild = sorted(monomial.free_symbols & {other, third}, key=sp.default_sort_key)
        for choice in permutations(others, len(wild)):
            names = {summed: index, **dict(zip(wild, choice, strict=True))}
            if inside == monomial.xreplace(names):
                return value.xreplace(names)
    return None


class Generic:
    """The reduced model on a symbolic scheme; the methods are those of `derivations._schemes.Model`.

    The quantities are symbols until `unfold` replaces them by their definitions: z_j = (1/K) sum_i m_i s_i P_ij / k_j,
    lambda_i = sum_j p_j (k_j - P_ij), p_0 = 1 - sum_j k_j p_j, and so on. The softmax enters as positive numbers p_j
    with this normalization; proofs that use its form state it.
    """

    name = "every symmetric scheme, symbolic K"

    def __init__(self) -> None:
        self.K, self.D = sp.Symbol("K", integer=True, positive=True), sp.Symbol("D", integer=True, positive=True)
        self.sbar, self.zbar = sp.Symbol("s̄", positive=True), sp.Symbol("z̄", real=True)
        self.z0, self.p0 = sp.Symbol("z_0", real=True), sp.Symbol("p_0", positive=True)
        self._m, self._k = sp.IndexedBase("m", positive=True), sp.IndexedBase("k", positive=True)
        self._s, self._p = sp.IndexedBase("s", positive=True), sp.IndexedBase("p", positive=True)
        self._z, self._lam = sp.IndexedBase("z", real=True), sp.IndexedBase("λ", real=True)
        self._P = sp.IndexedBase("P", real=True)
        self.i, self.l, self.j, self.h = sp.symbols("i l j h", integer=True)
        m, k, P, s = self._m, self._k, self._P, self._s
        self.axioms: list[Rule] = [
            (summed, m[summed], self.K - 1),
            (summed, m[summed] * P[summed, other], -k[other]),
            (summed, k[summed], self.K - 1),
            (summed, P[other, summed], sp.S.NegativeOne),
            (
                summed,
                P[other, summed] * P[third, summed] / k[summed],
                self.K * sp.KroneckerDelta(other, third) / m[other] - 1,
            ),
            (summed, P[other, summed] ** 2 / k[summed], self.K / m[other] - 1),
            (summed, m[summed] * s[summed], (self.K - 1) * self.sbar),
        ]

    def m(self, i: sp.Symbol) -> sp.Expr:
        """Multiplicity of mode i."""
        return self._m[i]

    def k(self, j: sp.Symbol) -> sp.Expr:
        """Valency of relation j."""
        return self._k[j]

    def P(self, i: sp.Symbol, j: sp.Symbol) -> sp.Expr:
        """Eigenvalue of relation j on eigenspace i."""
        return self._P[i, j]

    def s(self, i: sp.Symbol) -> sp.Expr:
        """Singular value of mode i."""
        return self._s[i]

    def z(self, j: sp.Symbol) -> sp.Expr:
        """Logit on relation j."""
        return self._z[j]

    def p(self, j: sp.Symbol) -> sp.Expr:
        """Softmax on relation j."""
        return self._p[j]

    def lam(self, i: sp.Symbol) -> sp.Expr:
        """Force on mode i."""
        return self._lam[i]

    def sum(self, term: Callable[[sp.Symbol], sp.Expr]) -> sp.Expr:
        """Return the sum of term(1), ..., term(D), with a bound index named after what it runs over."""
        bound = sp.Dummy(integer=True)
        body = sp.sympify(term(bound))
        over_modes = any(
            e.indices[0] == bound and e.base in (self._m, self._s, self._lam, self._P) for e in body.atoms(sp.Indexed)
        )
        used = {limit[0] for inner in body.atoms(sp.Sum) for limit in inner.limits} | body.free_symbols
        names = (self.i, self.l) if over_modes else (self.j, self.h)
        name = next(n for n in (*names, *sp.symbols("i1:9", integer=True)) if n not in used)
        return sp.Sum(body.xreplace({bound: name}), (name, 1, self.D))

    def unfold(self, expr: sp.Expr) -> sp.Expr:
        """Replace every quantity by its definition, down to m, k, P, s, p and the mean s̄ of s."""
        definitions = {
            self._lam: lambda i: self.sum(lambda j: self.p(j) * (self.k(j) - self.P(i, j))),
            self._z: lambda j: self.sum(lambda i: self.m(i) * self.s(i) * self.P(i, j)) / (self.K * self.k(j)),
        }
        values = {
            self.p0: 1 - self.sum(lambda j: self.k(j) * self.p(j)),
            self.zbar: self.sum(lambda j: self.k(j) * self.z(j)) / (self.K - 1),
            self.z0: self.sum(lambda i: self.m(i) * self.s(i)) / self.K,
        }
        expr = sp.sympify(expr).xreplace(values)
        return expr.replace(
            lambda e: isinstance(e, sp.Indexed) and e.base in definitions, lambda e: definitions[e.base](*e.indices)
        )

    def normal(self, expr: sp.Expr, extra: tuple[Rule, ...] = ()) -> sp.Expr:
        """Unfold and bring to normal form under the axioms and the extra rules."""
        return normal(self.unfold(expr), [*self.axioms, *extra])

    def constant(self, expr: sp.Expr, **values: sp.Expr) -> sp.Expr:
        """Unfold, then give every member of a family of symbols one value: `constant(expr, s=x)` sets all s_i = x."""
        families = {sp.Symbol(name): value for name, value in values.items()}
        return self.unfold(expr).replace(
            lambda e: isinstance(e, sp.Indexed) and sp.Symbol(str(e.base)) in families,
            lambda e: families[sp.Symbol(str(e.base))],
        )

    def softmax(self, expr: sp.Expr) -> sp.Expr:
        """Replace p_j by p_0 exp(z_j - z_0)."""
        return expr.replace(
            lambda e: isinstance(e, sp.Indexed) and e.base == self._p,
            lambda e: self.p0 * sp.exp(self.z(e.indices[0]) - self.z0),
        )

    def vanish(self, expr: sp.Expr) -> sp.Expr:
        """Return 0 if the axioms imply that the expression is 0, else its normal form."""
        return vanish(self.normal(expr))

    def derivative(self, expr: sp.Expr, velocity: Callable[[sp.Symbol], sp.Expr]) -> sp.Expr:
        """Return d(expr)/dt along ds_i/dt = velocity(i), for an expression in which only s and s̄ move."""
        if any(e.base in (self._z, self._p, self._lam) for e in expr.atoms(sp.Indexed)):
            raise ValueError("unfold the expression first: z, p and lambda move with s")
        step = sp.Dummy("epsilon")
        mean = self.sum(lambda i: self.m(i) * velocity(i)) / (self.K - 1)
        moved = expr.xreplace({self.sbar: self.sbar + step * mean}).replace(
            lambda e: isinstance(e, sp.Indexed) and e.base == self._s, lambda e: e + step * velocity(e.indices[0])
        )
        return sp.diff(moved, step).xreplace({step: sp.S.Zero})
