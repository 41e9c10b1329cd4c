"""The derivations prove what they state, reject false claims, and are independent of ceflow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import sympy as sp

import derivations
from derivations import _command as cli
from derivations import _configurations, _premises, _proof, _quoted, _schemes, _sums, decay_equilibrium

ROOM = Path(derivations.__file__).parent
VARIANTS = [(name, variant) for name in derivations.NAMES for variant in derivations.load(name).WRONG]


QUOTABLE = {value for name, value in vars(_quoted).items() if name.isupper()}


@pytest.fixture
def axioms_used(monkeypatch):
    """Axioms of a scheme, not definitions, that the normal form has used since the list was cleared."""
    axioms = {str(monomial) for _, monomial, _ in _sums.Generic().axioms[:-1]}
    used, find = [], _sums._axiom

    def spy(inside, index, rules):
        value = find(inside, index, rules)
        if value is not None:
            fits = (str(rule[1]) for rule in rules if find(inside, index, [rule]) is not None)
            used.extend(axioms.intersection(fits))
        return value

    monkeypatch.setattr(_sums, "_axiom", spy)
    return used


@pytest.mark.parametrize("name", derivations.NAMES)
def test_every_residual_is_exactly_zero(name, axioms_used):
    seen = set()
    for step in derivations.load(name).derivation():
        if axioms_used:
            assert {"closure.axioms", ".axioms"} & set(step.premises), step.says
            axioms_used.clear()
        for gap, lemma in _proof.GAPS.items():
            if step.shows is not None and step.shows.has(gap) and step.name != lemma:
                assert f".{lemma}" in step.premises, step.says
        assert set(step.quotes) <= QUOTABLE
        assert step.holds, step.says
        assert not any(sp.sympify(residual).has(sp.Float) for residual in step.residuals)
        assert step.how in {_proof.IDENTITY, _proof.TERMS, _proof.RATIONAL}
        assert step.scope and step.says.rstrip(")").endswith((".", ":"))
        assert step.shows is None or not step.shows.has(sp.Float)
        assert {p[1:] for p in step.premises if p.startswith(".")} <= seen
        above = derivations.NAMES[: derivations.NAMES.index(name)]
        assert set(_premises.modules(step.premises)) <= set(above)
        for module, part in (p.split(".", 1) for p in step.premises if not p.startswith(".") and "." in p):
            assert f'"{part}"' in _source(module), f"{module} has no step {part}"
        assert step.name not in seen
        seen |= {step.name} - {""}


def _source(name):
    return (ROOM / f"{name}.py").read_text(encoding="utf-8")


def _premises_of(name):
    """Premises by the text of a derivation: all string arguments of `.on(...)`, and of loops that pass them on."""
    strings = {n.value for n in ast.walk(ast.parse(_source(name))) if isinstance(n, ast.Constant)}
    return {s.partition(".")[0] for s in strings if isinstance(s, str)} & set(derivations.NAMES)


@pytest.mark.parametrize("name", derivations.NAMES)
def test_who_takes_a_formula_from_a_derivation_rests_on_it(name):
    imported = {
        alias
        for node in ast.walk(ast.parse(_source(name)))
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in ([node.module] if node.module else [a.name for a in node.names])
    }
    assert imported & set(derivations.NAMES) <= _premises_of(name)
    if "Generic(" in _source(name) and name != "closure":
        assert "closure" in _premises_of(name)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_check_rejects_a_false_claim(name, variant):
    # the derivation stops being run at the first step that fails; check lists the same residuals
    module = derivations.load(name)
    failed = next((step for step in module.derivation(**module.WRONG[variant]) if not step.holds), None)
    assert failed is not None
    assert any(residual != 0 for residual in failed.residuals)


def test_check_returns_the_nonzero_residuals():
    module = derivations.load("geometric_mean")
    for claim in module.WRONG.values():
        assert any(residual != 0 for residual in module.check(**claim))


def test_every_module_has_a_theorem_a_source_and_a_false_variant():
    listed = set(derivations.NAMES)
    assert {p.stem for p in ROOM.glob("*.py") if not p.stem.startswith("_")} == listed
    for name in derivations.NAMES:
        module = derivations.load(name)
        assert "Theorem" in module.__doc__ and "Source:" in module.__doc__
        assert module.WRONG


def test_unknown_derivation_is_named():
    with pytest.raises(ValueError, match="no derivation is called 'nope'"):
        derivations.load("nope")


def test_derivations_import_nothing_from_ceflow():
    allowed = sys.stdlib_module_names | {"sympy"}
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots = [alias.name.split(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                roots = [] if node.level else [node.module.split(".")[0]]
            else:
                continue
            assert set(roots) <= allowed, f"{path.name} imports {roots}"


def test_ceflow_is_not_loaded_by_the_derivations():
    code = (
        "import sys, derivations; [derivations.load(n) for n in derivations.NAMES]; import derivations.__main__;"
        "sys.exit(any(m.split('.')[0] in {'ceflow', 'numpy', 'scipy'} for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOM.parent, check=False).returncode == 0


# the shared machinery: what decides that a residual is zero must not decide so wrongly


def test_the_normal_form_uses_the_axioms_and_nothing_else():
    g = _sums.Generic()
    i, j = g.i, g.j
    assert g.vanish(g.sum(lambda a: g.m(a)) - (g.K - 1)) == 0
    assert g.vanish(g.sum(lambda a: g.m(a)) - g.K) != 0
    assert g.vanish(g.sum(lambda a: g.P(i, a)) + 1) == 0
    assert g.vanish(g.sum(lambda a: g.P(a, j)) + 1) != 0  # columns of P have no such sum
    assert g.vanish(g.sum(lambda a: g.m(a) * g.s(a) ** 2) - g.sbar * g.sum(lambda a: g.m(a) * g.s(a))) != 0
    rows = g.sum(lambda a: g.P(i, a) * g.P(g.l, a) / g.k(a))
    assert g.vanish(rows + 1 - g.K * sp.KroneckerDelta(i, g.l) / g.m(i)) == 0
    assert g.vanish(rows + 1) != 0


def test_the_normal_form_exchanges_sums_and_keeps_squares_apart():
    g = _sums.Generic()
    x = sp.IndexedBase("x")
    double = sp.Sum(x[g.i] * x[g.j], (g.i, 1, g.D), (g.j, 1, g.D))
    square = sp.Sum(x[g.i], (g.i, 1, g.D)) ** 2
    assert g.vanish(double - square) == 0
    assert g.vanish(sp.Sum(x[g.i] ** 2, (g.i, 1, g.D)) - square) != 0
    y = sp.IndexedBase("y")
    over = ((g.i, 1, g.D), (g.j, 1, g.D))
    assert g.vanish(sp.Sum(y[g.i, g.j] * x[g.i], *over) - sp.Sum(y[g.j, g.i] * x[g.j], *over)) == 0
    assert g.vanish(sp.Sum(y[g.i, g.j] * x[g.i], *over) - sp.Sum(y[g.i, g.j] * x[g.j], *over)) != 0


@pytest.mark.parametrize(
    "scheme",
    [_schemes.hadamard(4), _schemes.cyclic(5), _schemes.cyclic(6), _schemes.hamming(2, 3), _schemes.johnson(5, 2)],
    ids=lambda scheme: scheme.name,
)
def test_the_axioms_hold_on_schemes(scheme):
    """Every rewriting rule of the normal form, evaluated on a scheme."""
    g, model = _sums.Generic(), _schemes.Model(scheme)
    D = scheme.D
    values = {"m": model.m, "k": model.k, "P": model.P, "s": model.s}

    def read(expr, names):
        expr = sp.sympify(expr).xreplace({**names, g.K: model.K, g.sbar: model.sbar})
        return expr.replace(
            lambda e: isinstance(e, sp.Indexed), lambda e: values[str(e.base)](*(int(n) for n in e.indices))
        )

    for summed, monomial, value in g.axioms:
        for b in range(1, D + 1):
            for c in range(1, D + 1):
                if b == c and sp.KroneckerDelta(_sums.other, _sums.third) in sp.sympify(value).atoms(sp.KroneckerDelta):
                    expected = model.K / model.m(b) - 1
                else:
                    expected = read(value, {_sums.other: sp.Integer(b), _sums.third: sp.Integer(c)})
                total = sum(
                    read(monomial, {summed: sp.Integer(a), _sums.other: sp.Integer(b), _sums.third: sp.Integer(c)})
                    for a in range(1, D + 1)
                )
                assert sp.expand(total - expected) == 0


def test_signs_are_read_off_only_where_they_are_manifest():
    x, y = sp.symbols("x y", real=True)
    p = sp.Symbol("p", positive=True)
    u = sp.Symbol("u", nonnegative=True)
    manifest = _proof.manifestly_nonnegative
    assert manifest(p * (x - y) ** 2 * sp.exp(x))
    assert manifest(sp.Integral(u * sp.exp(u * x), (u, 0, 1)))
    assert not manifest(sp.Integral(u * sp.exp(u * x), (u, 1, 0)))
    for doubtful in (x, x * y, -(x**2), x**3, p - x**2, sp.Symbol("z") ** 2, sp.Integral(x * u, (u, 0, 1))):
        assert not manifest(doubtful)


def test_a_term_of_unclear_sign_is_a_residual():
    x, y = sp.symbols("x y", real=True)
    step = _proof.nonnegative("A product.", x * y, x * y, "test")
    assert not step.holds and step.residuals == (0, x * y)


def test_a_step_without_residuals_proves_nothing():
    assert not _proof.Step("Nothing.", None, (), _proof.IDENTITY, "test").holds


def test_floating_point_is_refused():
    with pytest.raises(ValueError, match="floating point"):
        _proof.vanish(sp.Symbol("x") * sp.Float(1))


def test_vanish_is_not_fooled():
    x, y = sp.symbols("x y", positive=True)
    assert _proof.vanish(sp.exp(x + y) - sp.exp(x) * sp.exp(y)) == 0
    assert _proof.vanish(sp.exp(x) - 1 - x) != 0
    assert _proof.vanish((x**2 - y**2) / (x - y) - x - y) == 0
    assert _proof.vanish(sp.sqrt(5) ** 2 - 5 + sp.Rational(1, 10**40)) != 0


# configurations: the matrices of groups of symbolic size are what explicit matrices are at each size


def test_groups_are_the_matrices_of_the_direct_sum():
    sizes = [sp.Integer(k) for k in (3, 1, 2)]
    X, Y = (_configurations.Groups.of(sizes, [v, 2, -1], sp.Matrix(3, 3, range(v, v + 9))) for v in (sp.Integer(2), 5))
    labels = _configurations.direct_sum(
        *(_configurations.scheme(f"complete({k})", _schemes.complete(int(k)).labels) for k in sizes)
    )
    assert X.matrix() == labels.constant(X.matrix())
    assert (X @ Y).matrix() == X.matrix() * Y.matrix()
    assert (X - 2 * Y).T.matrix() == (X.matrix() - 2 * Y.matrix()).T
    assert X.apply(sp.exp).matrix() == X.matrix().applyfunc(sp.exp)
    factors = sp.diag(7, 7, 7, 8, 9, 9)
    assert X.columns_times([7, 8, 9]).matrix() == X.matrix() * factors
    assert X.rows_times([7, 8, 9]).matrix() == factors * X.matrix()
    sums = sp.ones(1, 6) * X.matrix()
    assert [X.column_sum(g) for g in range(3)] == [sums[0], sums[3], sums[4]]


def test_configurations_have_the_relations_and_fibres_that_they_should():
    names = ("K_4", "sum", "circulant")
    built = (
        _configurations.subsets(4, (1, 2)),
        _configurations.direct_sum(_configurations.subsets(4, (1, 2)), _configurations.POINT),
        _configurations.circulant(5),
    )
    found = {name: (c.n, c.r, [len(fibre) for fibre in c.fibres]) for name, c in zip(names, built, strict=True)}
    assert found == {"K_4": (10, 9, [4, 6]), "sum": (11, 14, [4, 6, 1]), "circulant": (5, 5, [5])}


def test_a_matrix_that_is_not_constant_on_relations_is_seen():
    c = _configurations.circulant(3)
    M = sp.Matrix(c.symbols("x"))
    assert c.constant(M) == M
    M[2, 1] += 1
    assert c.constant(M) != M


def test_the_margin_at_rest_is_a_known_number():
    """Four classes of two samples with all decays 0.01, against a minimum that was found by descent."""
    decay = sp.Rational(1, 100)
    c = decay_equilibrium.strength(sp.Integer(2), decay, decay)
    s = decay_equilibrium.margin(c, sp.Integer(4))
    assert abs(s - 4.21524389) < 1e-8
    assert abs(decay_equilibrium.objective(c, sp.Integer(4), s) - 0.22219035374535792) < 1e-15


# premises: they exist, hold, and stand before what rests on them


def _result(name, *steps):
    return cli.Result(name, name, {}, [s.says for s in steps if not s.holds], len(steps), 0.0, list(steps))


def _step(residual=0):
    return _proof.Step("A step.", None, (sp.sympify(residual),), _proof.IDENTITY, "test")


@pytest.mark.parametrize(
    ("premises", "message"),
    [
        (("first.good", "second", ".own"), None),
        (("first.bad",), "first.bad does not hold"),
        (("first",), "first does not hold"),
        (("first.nope",), "there is no step first.nope"),
        ((".nope",), "there is no step .nope"),
        (("user",), "user is no derivation that stands before user"),
        (("later",), "later is no derivation that stands before user"),
        (("nope",), "nope is no derivation"),
    ],
)
def test_a_premise_must_exist_hold_and_stand_before(premises, message):
    results = {
        "first": _result("first", _step().on(name="good"), _step(1).on(name="bad")),
        "second": _result("second", _step()),
    }
    order = ("first", "second", "user", "later")
    found = _premises.unmet("user", _step().on(*premises), {"own": True}, results, order)
    assert found == [] if message is None else len(found) == 1 and message in found[0]


def test_what_rests_on_a_failed_proof_is_not_proved(monkeypatch, capsys):
    module = derivations.load("ray")
    monkeypatch.setattr(module, "derivation", lambda: iter([_step(1)]))
    monkeypatch.setattr(derivations.load("squared_loss"), "derivation", lambda: iter([_step().on("ray")]))
    monkeypatch.setattr(cli, "NAMES", ("ray", "squared_loss"))
    assert cli.main(["-j", "1"]) == 1
    assert "0 of 2 proved" in (out := capsys.readouterr().out) and "ray does not hold" in out
    assert cli.main(["--dot", "-j", "1"]) == 1
    assert '"squared_loss" -> "ray";' in capsys.readouterr().out


# the command line


def test_the_table_is_printed_and_the_exit_code_is_0(monkeypatch, capsys):
    monkeypatch.setattr(cli, "NAMES", ("centres", "codes", "error_exponents"))
    assert cli.main(["-j", "1"]) == 0
    out = capsys.readouterr().out
    assert "3 of 3 proved" in out and "FAILED" not in out
    assert "every number of centres, symbolic" in out and _proof.TERMS in out and "quotes, unchecked" in out
    assert all(len(line) <= cli.WIDTH for line in out.splitlines())


def test_the_table_is_the_same_with_processes(monkeypatch, capsys):
    monkeypatch.setattr(cli, "NAMES", ("error_exponents", "codes"))
    assert cli.main(["-j", "2"]) == 0
    assert "2 of 2 proved" in capsys.readouterr().out


def test_one_failure_gives_exit_code_1(monkeypatch, capsys):
    module = derivations.load("codes")
    true = module.derivation
    monkeypatch.setattr(module, "derivation", lambda: true(spare=0))
    monkeypatch.setattr(cli, "NAMES", ("codes", "error_exponents"))
    assert cli.main(["-j", "1"]) == 1
    out = capsys.readouterr().out
    assert "FAILED" in out and "1 of 2 proved" in out and "fails: k - 1 singular values" in out


def test_a_derivation_that_breaks_is_a_failure(monkeypatch, capsys):
    def broken():
        raise ZeroDivisionError("in a proof")
        yield

    monkeypatch.setattr(derivations.load("ray"), "derivation", broken)
    monkeypatch.setattr(cli, "NAMES", ("ray",))
    assert cli.main(["-j", "1"]) == 1
    assert "ZeroDivisionError: in a proof" in capsys.readouterr().out


def test_one_derivation_is_printed(capsys):
    assert cli.main(["lyapunov", "--only"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("The Lyapunov function of balanced flow")
    assert "  1. " in out and "λ[i]" in out and "It rests on closure, reduction: not proved here." in out
    assert out.rstrip().endswith("Proved, if its premises hold.")
    assert all(len(line) <= 100 for line in out.splitlines() if "↪" not in line)


@pytest.mark.parametrize(
    ("premise", "fails"),
    [
        (lambda: _step().on(name="good"), None),
        (lambda: _step(1).on(name="good"), "first: A step."),
        (lambda: _step().on(name="other"), "there is no step first.good to rest on"),
        (lambda: _step().on("codes", name="good"), "codes is no derivation that stands before first"),
    ],
)
def test_with_one_derivation_all_that_it_rests_on_is_proved(premise, fails, monkeypatch, capsys):
    ray, mirror, codes = map(derivations.load, ("ray", "mirror", "codes"))
    modules = {"first": ray, "second": mirror, "codes": codes}
    monkeypatch.setattr(cli, "NAMES", tuple(modules))
    monkeypatch.setattr(cli, "load", modules.get)
    monkeypatch.setattr(ray, "derivation", lambda: iter([premise()]))
    monkeypatch.setattr(mirror, "derivation", lambda: iter([_step().on("first.good", name="half")]))
    monkeypatch.setattr(codes, "derivation", lambda: iter([_step().on("second.half")]))
    assert cli.main(["codes", "-j", "1"]) == (0 if fails is None else 1)
    out = capsys.readouterr().out
    assert "It rests on" in out and "\n  first " in out and "\n  second " in out
    assert fails is None or fails in out
    assert out.rstrip().endswith("NOT proved." if fails else "Proved, with all that it rests on.")
    assert cli.main(["codes", "--only"]) == 0


def test_the_graph_says_what_rests_on_nothing_and_counts(monkeypatch, capsys):
    monkeypatch.setattr(cli, "NAMES", ("error_exponents",))
    assert cli.main(["--graph", "-j", "1"]) == 0
    out = capsys.readouterr().out
    assert "rests on no other derivation" in out and "quotes " in out
    assert "1 derivations, 12 steps with" in out and "2 quoted facts" in out


def test_one_derivation_is_printed_in_latex(capsys):
    assert cli.main(["geometric_mean", "--latex", "--only"]) == 0
    assert r"\sum_{i=1}^{D}" in capsys.readouterr().out


def test_a_false_variant_is_not_proved(capsys):
    assert cli.main(["geometric_mean", "--wrong", "K instead of K/(K - 1)"]) == 1
    out = capsys.readouterr().out
    assert "NOT proved." in out and "are NOT 0" in out


def test_the_list_names_all(capsys):
    assert cli.main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in derivations.NAMES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "no derivation is called 'nope'"),
        (["ray", "--wrong", "nope"], "has no variant 'nope'"),
        (["--latex"], "need the NAME"),
        (["--only"], "need the NAME"),
        (["-j", "0"], "not a positive number"),
    ],
)
def test_wrong_usage_gives_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--help"])
    assert stopped.value.code == 0
    assert "python -m derivations lyapunov" in capsys.readouterr().out
