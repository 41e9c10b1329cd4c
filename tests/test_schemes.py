"""Association schemes against their definitions, exact arithmetic and each other."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from fractions import Fraction
from itertools import permutations
from math import comb, prod
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ceflow import symmetry
from ceflow.symmetry import (
    _relations,
    complete,
    cyclic,
    from_relations,
    from_spec,
    hadamard,
    hamming,
    johnson,
    parse,
)

EPS = np.finfo(float).eps
deterministic = settings(deadline=None, derandomize=True, max_examples=40)


def graph_labels(adjacency):
    """Relations of a strongly regular graph: 1 for adjacent, 2 for not adjacent."""
    adjacency = np.asarray(adjacency, int)
    return 2 - adjacency - 2 * np.eye(len(adjacency), dtype=int)


def cayley_labels(connection, points=16):
    """The graph on Z_2^n that joins x to x XOR c for every c in the connection set."""
    x = np.arange(points)
    return graph_labels(np.isin(np.bitwise_xor.outer(x, x), connection))


def paley_labels(prime):
    x = np.arange(prime)
    return graph_labels(np.isin(np.subtract.outer(x, x) % prime, [i * i % prime for i in range(1, prime)]))


def petersen_labels():
    return graph_labels(johnson(5, 2).relations() == 2)


def symmetric_group_labels():
    """Z[x, y] depends on {g, g^-1}, g = x^-1 y in S_3: squares of such matrices are again of the kind, products not."""
    group = list(permutations(range(3)))
    inverse = {g: tuple(int(i) for i in np.argsort(g)) for g in group}
    classes = sorted({min(g, inverse[g]) for g in group})
    quotients = [[tuple(inverse[x][i] for i in y) for y in group] for x in group]
    return np.array([[classes.index(min(g, inverse[g])) for g in row] for row in quotients])


FACTORY_MADE = {
    scheme.name: scheme
    for scheme in [
        *(hadamard(K) for K in (2, 4, 16)),
        *(cyclic(K) for K in (2, 3, 4, 5, 12, 15)),
        *(complete(K) for K in (2, 3, 10)),
        *(hamming(m, q) for m, q in ((1, 4), (4, 2), (2, 3), (3, 4))),
        *(johnson(n, k) for n, k in ((2, 1), (5, 2), (6, 3), (8, 3))),
    ]
}
ALL = FACTORY_MADE | {
    "petersen": from_relations(petersen_labels()),
    "clebsch": from_relations(cayley_labels([1, 2, 4, 8, 15])),
    "paley(13)": from_relations(paley_labels(13)),
    "cyclic(12) from relations": from_relations(cyclic(12).relations()),
}
every_scheme = pytest.mark.parametrize("scheme", ALL.values(), ids=ALL.keys())
every_factory_made = pytest.mark.parametrize("scheme", FACTORY_MADE.values(), ids=FACTORY_MADE.keys())


def dense_margins(scheme, s):
    p, k, m = scheme.eigenmatrix, scheme.valencies, scheme.multiplicities
    z = (m * np.append(0.0, s)) @ (p / k) / scheme.classes
    return z[0] - z[1:]


# --- what makes it an association scheme ----------------------------------------------------------------------------


@every_scheme
def test_relations_have_the_stated_valencies(scheme):
    labels = scheme.relations()
    assert labels.shape == (scheme.classes, scheme.classes)
    np.testing.assert_array_equal(labels, labels.T)
    np.testing.assert_array_equal(labels == 0, np.eye(scheme.classes))
    for j, valency in enumerate(scheme.valencies):
        np.testing.assert_array_equal(np.sum(labels == j, axis=0), valency)


@every_scheme
def test_basis_is_orthonormal_and_diagonalizes_every_relation(scheme):
    q, labels = scheme.basis(), scheme.relations()
    np.testing.assert_allclose(q.T @ q, np.eye(scheme.classes), rtol=0, atol=1e-14)
    assert np.all(q[:, 0] == 1 / np.sqrt(scheme.classes))
    np.testing.assert_array_equal(np.bincount(scheme.columns), scheme.multiplicities)
    assert np.all(np.diff(scheme.columns) >= 0)
    for j in range(scheme.modes + 1):
        expected = q * scheme.eigenmatrix[scheme.columns, j]
        np.testing.assert_allclose((labels == j) @ q, expected, rtol=0, atol=2e-14 * scheme.valencies[j])


@every_scheme
def test_basis_columns_span_the_eigenspaces(scheme):
    coefficients = scheme.multiplicities[:, None] / scheme.classes * scheme.eigenmatrix / scheme.valencies
    for i in range(scheme.modes + 1):
        q = scheme.basis()[:, scheme.columns == i]
        np.testing.assert_allclose(q @ q.T, coefficients[i][scheme.relations()], rtol=0, atol=1e-12)


@every_scheme
def test_orthogonality_relations_of_the_eigenmatrix(scheme):
    p, k, m, K = scheme.eigenmatrix, scheme.valencies, scheme.multiplicities, scheme.classes
    np.testing.assert_array_equal(p[0], k)
    np.testing.assert_array_equal(p[:, 0], 1)
    assert k.sum() == m.sum() == K
    np.testing.assert_allclose((p / k) @ p.T * m, K * np.eye(len(k)), rtol=0, atol=1e-13 * K**1.5)
    dual = m[:, None] * (p / k)  # the second eigenmatrix, transposed
    np.testing.assert_allclose(p.T @ dual, K * np.eye(len(k)), rtol=0, atol=1e-13 * K**1.5)
    np.testing.assert_allclose(m @ p[:, 1:], 0, rtol=0, atol=1e-13 * K)  # the relations have no trace


@every_scheme
def test_gaps_belong_to_the_eigenmatrix(scheme):
    assert np.all(scheme.gaps >= 0)
    expected = 1 - scheme.eigenmatrix[1:, 1:] / scheme.valencies[1:]
    np.testing.assert_allclose(scheme.gaps, expected, rtol=0, atol=1e-14)


# --- exact values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "q"), [(1, 7), (5, 2), (4, 3), (40, 5)])
def test_hamming_is_krawtchouk_exactly(m, q):
    scheme = hamming(m, q)
    for i in range(m + 1):
        for j in range(m + 1):
            p = sum((-1) ** h * (q - 1) ** (j - h) * comb(i, h) * comb(m - i, j - h) for h in range(j + 1))
            k = comb(m, j) * (q - 1) ** j
            assert scheme.eigenmatrix[i, j] == float(p)
            assert i * j == 0 or scheme.gaps[i - 1, j - 1] == float(Fraction(k - p, k))


@pytest.mark.parametrize(("n", "k"), [(7, 1), (7, 3), (12, 6), (80, 30)])
def test_johnson_is_eberlein_exactly(n, k):
    scheme = johnson(n, k)
    for i in range(k + 1):
        for j in range(k + 1):
            p = sum((-1) ** h * comb(i, h) * comb(k - i, j - h) * comb(n - k - i, j - h) for h in range(j + 1))
            valency = comb(k, j) * comb(n - k, j)
            assert scheme.eigenmatrix[i, j] == float(p)
            assert i * j == 0 or scheme.gaps[i - 1, j - 1] == float(Fraction(valency - p, valency))


@pytest.mark.parametrize("K", [9, 10, 97, 360])
def test_gaps_of_cyclic_are_accurate_however_small(K):
    with mpmath.workdps(40):
        exact = [2 * mpmath.sin(mpmath.pi * turns / K) ** 2 if turns else mpmath.mpf(0) for turns in range(K)]
        index = np.arange(1, K // 2 + 1)
        expected = np.array([float(value) for value in exact])[np.outer(index, index) % K]
    np.testing.assert_allclose(cyclic(K).gaps, expected, rtol=4 * EPS)


@pytest.mark.parametrize("K", [8, 9])
def test_basis_of_cyclic_is_cosines_and_sines(K):
    q, x = cyclic(K).basis(), np.arange(K)
    for i in range(1, (K + 1) // 2):
        angle = 2 * np.pi * i * x / K
        np.testing.assert_allclose(q[:, 2 * i - 1], np.sqrt(2 / K) * np.cos(angle), rtol=0, atol=4 * EPS)
        np.testing.assert_allclose(q[:, 2 * i], np.sqrt(2 / K) * np.sin(angle), rtol=0, atol=4 * EPS)
    if K % 2 == 0:
        np.testing.assert_allclose(q[:, -1], (-1.0) ** x / np.sqrt(K), rtol=4 * EPS)


@pytest.mark.parametrize(
    ("labels", "eigenmatrix", "multiplicities"),
    [
        (petersen_labels(), [[1, 3, 6], [1, 1, -2], [1, -2, 1]], [1, 5, 4]),
        (cayley_labels([1, 2, 4, 8, 15]), [[1, 5, 10], [1, 1, -2], [1, -3, 2]], [1, 10, 5]),  # Clebsch
        (cayley_labels([1, 2, 3, 4, 8, 12]), [[1, 6, 9], [1, 2, -3], [1, -2, 1]], [1, 6, 9]),  # 4 x 4 rook
        (1 - np.eye(4), [[1, 3], [1, -1]], [1, 3]),
        (graph_labels(np.kron(np.eye(2), np.ones((2, 2)) - np.eye(2))), [[1, 1, 2], [1, 1, -2], [1, -1, 0]], [1, 1, 2]),
    ],
    ids=["petersen", "clebsch", "rook", "complete", "two disjoint edges"],
)
def test_strongly_regular_graphs_have_their_known_spectra(labels, eigenmatrix, multiplicities):
    scheme = from_relations(labels)
    np.testing.assert_array_equal(scheme.eigenmatrix, eigenmatrix)
    np.testing.assert_array_equal(scheme.multiplicities, multiplicities)


def test_irrational_eigenvalues_of_a_paley_graph():
    root = np.sqrt(13)
    expected = [[1, 6, 6], [1, (root - 1) / 2, -(root + 1) / 2], [1, -(root + 1) / 2, (root - 1) / 2]]
    np.testing.assert_allclose(from_relations(paley_labels(13)).eigenmatrix, expected, rtol=1e-14)


# --- from_relations agrees with the formulas ------------------------------------------------------------------------


def by_rows(scheme):
    """Eigenmatrix and multiplicities in the order of modes of from_relations."""
    order = np.lexsort(-np.round(scheme.eigenmatrix, 9).T[::-1])
    return scheme.eigenmatrix[order], scheme.multiplicities[order]


@every_factory_made
def test_from_relations_finds_the_same_eigenmatrix(scheme):
    found = from_relations(scheme.relations())
    eigenmatrix, multiplicities = by_rows(scheme)
    np.testing.assert_allclose(found.eigenmatrix, eigenmatrix, rtol=0, atol=1e-14 * scheme.classes)
    np.testing.assert_array_equal(found.valencies, scheme.valencies)
    np.testing.assert_array_equal(found.multiplicities, multiplicities)


@pytest.mark.parametrize("scheme", [hamming(3, 4), hamming(7, 2), johnson(9, 4)], ids=str)
def test_from_relations_rounds_rational_gaps_once(scheme):
    np.testing.assert_array_equal(from_relations(scheme.relations()).gaps, scheme.gaps)


def test_from_relations_with_many_relations():
    found, known = from_relations(hadamard(256).relations()), by_rows(hadamard(256))[0]
    np.testing.assert_array_equal(found.eigenmatrix, known)
    found, known = from_relations(cyclic(211).relations()), cyclic(211)  # prime: no two rows begin alike
    np.testing.assert_allclose(found.eigenmatrix, known.eigenmatrix, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.gaps, known.gaps, rtol=1e-11)


@deterministic
@given(st.sampled_from(["hamming(2, 3)", "johnson(6, 3)", "hadamard(16)", "cyclic(15)"]), st.integers(0, 2**32 - 1))
def test_the_numbering_of_points_does_not_matter(name, seed):
    labels = ALL[name].relations()
    order = np.random.default_rng(seed).permutation(len(labels))
    found, known = from_relations(labels[np.ix_(order, order)]), from_relations(labels)
    np.testing.assert_allclose(found.eigenmatrix, known.eigenmatrix, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.multiplicities, known.multiplicities)


@deterministic
@given(st.sampled_from(["hamming(2, 3)", "johnson(6, 3)", "hadamard(16)", "cyclic(15)"]), st.integers(0, 2**32 - 1))
def test_corrupted_labels_are_refused(name, seed):
    labels = ALL[name].relations().copy()
    x, y = np.random.default_rng(seed).choice(len(labels), 2, replace=False)
    labels[x, y] = labels[y, x] = labels[x, y] % ALL[name].modes + 1
    with pytest.raises(ValueError, match="labels must have constant valencies"):
        from_relations(labels)


@deterministic
@given(st.integers(0, 2**32 - 1))
def test_random_regular_relations_are_refused(seed):
    """Unless they are a scheme again, which some fusions of relations are; counted here, by products of relations."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([[0], rng.permutation([1, 1, 1, 2, 2, 2, 3, 3])])[cyclic(16).relations()]
    products = [(labels == i).astype(int) @ (labels == j) for i in range(4) for j in range(4)]
    if all(np.ptp(product[labels == j]) == 0 for product in products for j in range(4)):
        test_orthogonality_relations_of_the_eigenmatrix(from_relations(labels))
    else:
        with pytest.raises(ValueError, match="constant intersection numbers"):
            from_relations(labels)


def test_nearly_degenerate_combinations_are_drawn_again(monkeypatch):
    original, calls = _relations._eigenspace_gaps, []

    def degenerate_once(labels, representatives, combination):
        calls.append(combination)
        return original(labels, representatives, combination) if len(calls) > 1 else np.zeros((3, 3))

    monkeypatch.setattr(_relations, "_eigenspace_gaps", degenerate_once)
    np.testing.assert_array_equal(from_relations(petersen_labels()).multiplicities, [1, 5, 4])
    assert len(calls) == 2
    monkeypatch.setattr(_relations, "_eigenspace_gaps", lambda *_: np.zeros((3, 3)))
    with pytest.raises(ArithmeticError, match="labels passed all tests, but their eigenspaces could not be separated"):
        from_relations(petersen_labels())


# --- margins and forces ---------------------------------------------------------------------------------------------


@every_scheme
def test_margins_and_forces_are_the_dense_formulas(scheme):
    rng = np.random.default_rng(0)
    s, r = rng.uniform(0, 5, scheme.modes), rng.uniform(0, 1, scheme.modes)
    np.testing.assert_allclose(scheme.margins(s), dense_margins(scheme, s), rtol=1e-13)
    np.testing.assert_allclose(scheme.forces(r), scheme.gaps @ r, rtol=1e-13)
    batch = rng.standard_normal((2, 3, scheme.modes))
    for function in (scheme.margins, scheme.forces):
        assert function(batch).shape == batch.shape
        np.testing.assert_array_equal(function(batch)[1, 2], function(batch[1, 2]))
        assert function(np.empty((0, scheme.modes))).shape == (0, scheme.modes)


@deterministic
@given(st.sampled_from(sorted(ALL)), st.integers(0, 2**32 - 1), st.floats(0.1, 30))
def test_the_softmax_of_the_logits_is_diagonal_with_one_minus_the_forces(name, seed, scale):
    scheme = ALL[name]
    s = np.random.default_rng(seed).uniform(0, scale, scheme.modes)
    q, labels = scheme.basis(), scheme.relations()
    logits = q * np.append(0.0, s)[scheme.columns] @ q.T
    margins = np.append(0.0, scheme.margins(s))[labels]
    np.testing.assert_allclose(logits[0, 0] - logits, margins, rtol=0, atol=1e-13 * scale)
    softmax = np.exp(logits - logits.max(axis=0))
    softmax /= softmax.sum(axis=0)
    off_diagonal = np.bincount(labels[0], softmax[0])[1:]
    expected = 1 - np.append(0.0, scheme.forces(off_diagonal))[scheme.columns]
    np.testing.assert_allclose(q.T @ softmax @ q, np.diag(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scheme", [cyclic(60), hamming(8, 3), johnson(30, 12)], ids=str)
def test_dense_margins_and_forces_keep_every_digit(scheme):
    rng = np.random.default_rng(1)
    x = 10.0 ** rng.uniform(-200, 0, scheme.modes)
    weights = [Fraction(m) / scheme.classes for m in scheme.multiplicities[1:]]
    gaps = [[Fraction(entry) for entry in row] for row in scheme.gaps]
    exact = [Fraction(value) for value in x]
    forces = [float(sum(map(prod, zip(row, exact, strict=True)))) for row in gaps]
    margins = [float(sum(map(prod, zip(column, weights, exact, strict=True)))) for column in zip(*gaps, strict=True)]
    np.testing.assert_allclose(scheme.forces(x), forces, rtol=8 * EPS)
    np.testing.assert_allclose(scheme.margins(x), margins, rtol=8 * EPS)


def test_the_fast_transform_is_accurate_relative_to_the_sum():
    r = 10.0 ** np.random.default_rng(2).uniform(-30, 0, 255)
    np.testing.assert_allclose(hadamard(256).forces(r), hadamard(256).gaps @ r, rtol=0, atol=8 * EPS * r.sum())


@every_scheme
def test_kernel_and_transforms_are_what_the_methods_use(scheme):
    s = np.random.default_rng(3).uniform(0, 1, scheme.modes)
    for matrix in (transform.matrix for transform in scheme.transforms):
        assert matrix.flags.c_contiguous and matrix.dtype == np.float64
        assert matrix.shape == ((0, 0) if scheme.kind == "hadamard" else scheme.gaps.shape)
    margins, forces, single_forces = (
        transform.rows((scheme.multiplicities[1:] * s / scheme.classes if n == 0 else s)[None])[0]
        for n, transform in enumerate(scheme.transforms)
    )
    np.testing.assert_allclose(margins, scheme.margins(s), rtol=1e-14)
    np.testing.assert_array_equal(forces, scheme.forces(s))
    np.testing.assert_allclose(single_forces, scheme.gaps @ s, rtol=1e-14 * scheme.modes)


def test_large_schemes_cost_little():
    scheme = hadamard(2**20)
    assert scheme.modes == 2**20 - 1 and scheme.transforms.margins.matrix.size == 0
    np.testing.assert_allclose(scheme.margins(np.full(scheme.modes, 3.0)), 3, rtol=1e-14)
    for scheme in (complete(10**6), hamming(20, 3), hamming(300, 10), johnson(200, 100)):
        np.testing.assert_allclose(scheme.margins(np.full(scheme.modes, 3.0)), 3, rtol=1e-14)
        np.testing.assert_allclose(scheme.forces(scheme.valencies[1:] / float(scheme.classes)), 1, rtol=1e-13)


# --- objects --------------------------------------------------------------------------------------------------------


@every_scheme
def test_spec_rebuilds_the_scheme(scheme):
    through_json = json.loads(json.dumps(scheme.spec))
    for copy in (from_spec(scheme.spec), from_spec(through_json), pickle.loads(pickle.dumps(scheme))):
        assert copy == scheme and hash(copy) == hash(scheme)
        np.testing.assert_array_equal(copy.gaps, scheme.gaps)


@every_scheme
def test_text_makes_the_scheme_again(scheme):
    if scheme.kind != "from_relations":
        text = f"{scheme.kind}:{','.join(map(str, scheme.args))}"
        assert parse(text) == parse(text, scheme.classes) == scheme
        assert len(scheme.args) > 1 or parse(scheme.kind, scheme.classes) == scheme


def test_classes_that_are_not_said_are_16():
    assert parse("cyclic") == cyclic(16) and parse("hadamard", np.int64(4)) == hadamard(4)
    assert symmetry.forms() == (
        "complete (any K), cyclic (any K), hadamard (K a power of 2), hamming:M,Q (K = Q^M) or "
        "johnson:N,K (K = N choose K)"
    )


SQUARE = """
from ._registry import register
from ._scheme import Scheme
from ._hamming import hamming

@register("K = N^2")
def square(n: int) -> Scheme:
    return hamming(2, n)
"""


def test_a_scheme_is_one_file(tmp_path):
    copy = tmp_path / "ceflow"
    shutil.copytree(Path(symmetry.__file__).parents[1], copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "symmetry" / "_square.py").write_text(SQUARE)
    code = """if True:
        import ceflow as cf
        from ceflow.cli import main
        from ceflow.symmetry import from_spec, parse, square
        assert cf.square is square and "square" in cf.__all__
        print(cf.__file__, square(3), parse("square:3"), from_spec({"kind": "square", "args": [3]}))
        main(["run", "--help"])"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{copy / '__init__.py'} hamming(2, 3) hamming(2, 3) hamming(2, 3)")
    assert "square:N (K = N^2)" in " ".join(done.stdout.split())


def test_two_schemes_of_one_name():
    with pytest.raises(ValueError, match="there is already a scheme hadamard"):
        symmetry.register()(hadamard)


def test_equality_and_names():
    assert len(set(ALL.values())) == len(ALL)
    assert complete(5) != hamming(1, 5) and complete(5) != "complete(5)"
    assert johnson(7, 5) == johnson(7, 2)
    assert hadamard(np.int8(16)) == hadamard(16)
    assert repr(hamming(3, 4)) == hamming(3, 4).name == "hamming(3, 4)"
    assert repr(from_relations(petersen_labels())) == "from_relations(10 x 10 labels)"


@every_scheme
def test_schemes_are_immutable(scheme):
    with pytest.raises(AttributeError):
        scheme.classes = 3
    with pytest.raises(AttributeError):
        scheme.gaps = None
    matrices = (transform.matrix for transform in scheme.transforms)
    dense = (scheme.eigenmatrix, scheme.gaps, scheme.relations(), scheme.basis(), *matrices)
    for array in (scheme.valencies, scheme.multiplicities, *dense):
        assert not array.flags.writeable


def test_labels_are_copied():
    labels = petersen_labels()
    scheme = from_relations(labels)
    labels[:] = 0
    np.testing.assert_array_equal(scheme.relations(), petersen_labels())


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [hadamard, cyclic, complete])
@pytest.mark.parametrize("K", [True, 4.0, "4", None, [4], np.bool_(True)])
def test_class_numbers_that_are_not_integers(make, K):
    with pytest.raises(TypeError, match="K must be an integer, got "):
        make(K)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hadamard(1), "K must be at least 2, got 1"),
        (lambda: hadamard(12), "K must be a power of two from 2 to 268435456, got 12"),
        (lambda: hadamard(2**29), "K must be a power of two from 2 to 268435456, got 536870912"),
        (lambda: cyclic(0), "K must be at least 2, got 0"),
        (lambda: cyclic(10**9), "the gap matrix of cyclic(1000000000) would have shape (500000001, "),
        (lambda: complete(-3), "K must be at least 2, got -3"),
        (lambda: complete(2**1000), "complete must have fewer than 2**1000 classes, got about 2**1000"),
        (lambda: hamming(0, 2), "m must be at least 1, got 0"),
        (lambda: hamming(2, 1), "q must be at least 2, got 1"),
        (lambda: hamming(2000, 2), "hamming must have fewer than 2**1000 classes, got about 2**2000"),
        (lambda: hamming(10**9, 2), "the gap matrix of hamming(1000000000, 2) would have shape"),
        (lambda: johnson(1, 1), "n must be at least 2, got 1"),
        (lambda: johnson(5, 0), "k must be at least 1, got 0"),
        (lambda: johnson(5, 5), "k must be at most n - 1 = 4, got 5"),
        (lambda: johnson(2000, 1000), "johnson must have fewer than 2**1000 classes, got about 2**1994"),
        (lambda: johnson(10**9, 10**8), "the gap matrix of johnson(1000000000, 100000000) would have shape"),
        (
            lambda: hadamard(2**15).gaps,
            "the gap matrix of hadamard(32768) would have shape (32768, 32768);",
        ),
        (lambda: hadamard(2**15).eigenmatrix, "the eigenmatrix of hadamard(32768) would have shape (32768, 32768)"),
        (
            lambda: complete(10**5).relations(),
            "the relation labels of complete(100000) would have shape (100000, ",
        ),
        (lambda: hamming(20, 3).basis(), "the basis of hamming(20, 3) would have shape (3486784401, 3486784401)"),
        (lambda: hamming(20, 3).columns, "the basis columns of hamming(20, 3) would have shape (3486784401,)"),
        (lambda: cyclic(8).margins([1, 2]), "s must have shape (..., 4) for cyclic(8), got (2,)"),
        (lambda: cyclic(8).forces(1.0), "r must have shape (..., 4) for cyclic(8), got ()"),
        (lambda: cyclic(4).forces([1, np.nan]), "r must be finite, got nan"),
        (lambda: cyclic(4).margins([np.inf, 1]), "s must be finite, got inf"),
        (
            lambda: from_spec({"kind": "cyclic"}),
            'spec must be {"kind": ..., "args": ...}, kind one of coherent, complete, cyclic, direct_sum,',
        ),
        (lambda: from_spec({"kind": "magic", "args": [3]}), "got keys kind, args and kind 'magic'"),
        (lambda: parse("star"), "scheme must be complete (any K), cyclic (any K), hadamard (K a power"),
        (lambda: parse(""), "hamming:M,Q (K = Q^M) or johnson:N,K (K = N choose K); got ''"),
        (lambda: parse("from_relations:3"), "scheme must be complete (any K), "),
        (lambda: parse("hamming"), "scheme must be hamming:M,Q with integers in place of the letters, got 'hamming'"),
        (lambda: parse("hamming:2,x"), "scheme must be hamming:M,Q with integers"),
        (lambda: parse("hamming:2,3,4"), "scheme must be hamming:M,Q with integers"),
        (lambda: parse("cyclic:"), "scheme must be cyclic:K with integers"),
        (lambda: parse("cyclic:5", 6), "scheme cyclic:5 has 5 classes, got 6"),
        (lambda: parse("hamming:3,4", 10), "scheme hamming:3,4 has 64 classes, got 10"),
        (lambda: parse("hadamard", 12), "K must be a power of two"),
    ],
)
def test_values_that_are_refused(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hamming(2.0, 3), "m must be an integer, got 2.0"),
        (lambda: hamming(2, False), "q must be an integer, got False"),
        (lambda: johnson("5", 2), "n must be an integer, got '5'"),
        (lambda: johnson(5, 2.5), "k must be an integer, got 2.5"),
        (lambda: cyclic(4).margins([1j, 0]), "s must be an array of real numbers, got dtype complex128"),
        (lambda: cyclic(4).forces([True, False]), "r must be an array of real numbers, got dtype bool"),
        (lambda: from_relations(np.eye(3) == 0), "labels must be a matrix of integers, got dtype bool"),
        (lambda: from_relations([["a"]]), "labels must be a matrix of integers, got dtype <U1"),
        (lambda: from_spec("cyclic(4)"), "spec must be a mapping, got str"),
        (lambda: parse(None), "scheme must be a string, got NoneType"),
        (lambda: parse("cyclic", 4.0), "classes must be an integer, got 4.0"),
    ],
)
def test_types_that_are_refused(call, message):
    with pytest.raises(TypeError) as caught:
        call()
    assert message in str(caught.value)


def test_schemes_cannot_be_made_by_hand():
    with pytest.raises(TypeError, match="abstract"):
        symmetry.Scheme("cyclic", (3,), 3, np.ones(2), np.ones(2))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "labels must be a K x K matrix with K >= 2, got shape (2,)"),
        (np.zeros((2, 3)), "labels must be a K x K matrix with K >= 2, got shape (2, 3)"),
        ([[0]], "labels must be a K x K matrix with K >= 2, got shape (1, 1)"),
        (np.zeros((0, 0)), "labels must be a K x K matrix with K >= 2, got shape (0, 0)"),
        (np.broadcast_to(0, (2**15, 2**15)), "labels would have shape (32768, 32768)"),
        ([[0, 0.5], [0.5, 0]], "labels must be integers from 0 to K - 1, got labels[0, 1] = 0.5"),
        ([[0, np.nan], [1, 0]], "labels must be integers from 0 to K - 1, got labels[0, 1] = nan"),
        ([[0, np.inf], [1, 0]], "labels must be integers from 0 to K - 1, got labels[0, 1] = inf"),
        ([[0, 1], [-1, 0]], "labels must be integers from 0 to K - 1, got labels[1, 0] = -1, [0, 1] = 1"),
        ([[0, 2], [2, 0]], "labels must be integers from 0 to K - 1, got labels[0, 1] = 2"),
        ([[0, 1], [1, 1]], "labels must be 0 on the diagonal and nowhere else, got labels[1, 1] = 1"),
        ([[0, 0], [0, 0]], "labels must be 0 on the diagonal and nowhere else, got labels[0, 1] = 0"),
        ([[0, 1, 2], [1, 0, 1], [1, 1, 0]], "labels must be symmetric, got labels[0, 2] = 2, [2, 0] = 1"),
        (2 * (1 - np.eye(3)), "labels must use all integers from 0 to 2, their largest, got no 1"),
        (
            [[0, 1, 1], [1, 0, 2], [1, 2, 0]],
            "labels must have constant valencies (each label as often in every row), "
            "got label 1 2 times in row 0 and 1 times in row 1",
        ),
    ],
)
def test_labels_that_are_refused(labels, message):
    with pytest.raises(ValueError) as caught:
        from_relations(labels)
    assert message in str(caught.value)


def test_labels_without_constant_intersection_numbers():
    labels = np.minimum(cyclic(6).relations(), 2)  # adjacent on the hexagon, or not
    with pytest.raises(ValueError) as caught:
        from_relations(labels)
    assert str(caught.value) == (
        "labels must have constant intersection numbers, got pairs (0, 3) and (0, 2) of label 2, to which 0 and 1 "
        "points are in relations (1, 1)"
    )
    assert np.sum((labels[0] == 1) & (labels[3] == 1)) == 0 and np.sum((labels[0] == 1) & (labels[2] == 1)) == 1


def test_closure_under_squares_is_not_enough():
    labels = symmetric_group_labels()
    a = np.random.default_rng(0).standard_normal(labels.max() + 1)[labels]
    for j in range(labels.max() + 1):
        assert np.ptp((a @ a)[labels == j]) < 1e-13
    with pytest.raises(ValueError, match="constant intersection numbers"):
        from_relations(labels)
