"""Symmetries: coherent configurations and their adapted bases, against dense matrices."""

import json
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ceflow as cf
from ceflow import symmetry
from ceflow.symmetry import _closure

QUATERNIONS = [[1, 2, 3, 0, 5, 6, 7, 4], [4, 7, 6, 5, 2, 1, 0, 3]]  # the regular representation of Q_8
SYMMETRIES = {
    "hadamard": lambda: cf.hadamard(8),
    "cyclic": lambda: cf.cyclic(7),
    "johnson": lambda: cf.johnson(5, 2),
    "step": lambda: cf.direct_sum(5, 5),
    "schemes": lambda: cf.direct_sum(cf.hadamard(8), cf.cyclic(5)),
    "three groups": lambda: cf.direct_sum(3, 1, cf.hamming(2, 2)),
    "single classes": lambda: cf.direct_sum(1, 1),
    "vertices and edges": lambda: cf.subsets(5, (1, 2)),
    "subsets of three sizes": lambda: cf.subsets(6, (1, 2, 3)),
    "complex": lambda: cf.orbitals([[1, 2, 3, 4, 0]]),
    "complex, two fibres": lambda: cf.orbitals([[1, 2, 3, 4, 0, 6, 7, 8, 9, 5]]),
    "quaternionic": lambda: cf.orbitals(QUATERNIONS),
    "no symmetry": lambda: cf.trivial(4),
    "sum with subsets": lambda: cf.direct_sum(cf.subsets(4, (1, 2)), 1, cf.cyclic(5), cf.orbitals([[1, 2, 0]])),
}
by_symmetry = pytest.mark.parametrize("name", SYMMETRIES)


def split(found, flat):
    """Blocks of flat entries."""
    ends = np.cumsum(found.sizes**2)
    return [part.reshape(n, n) for part, n in zip(np.split(flat, ends[:-1]), found.sizes, strict=True)]


def dense(found, blocks):
    """The matrix of blocks."""
    return sum(
        np.einsum("xam,ab,ybm->xy", found.vectors(i), block, found.vectors(i)) for i, block in enumerate(blocks)
    )


def check(found, rng):
    """All that a symmetry promises, on random matrices of its algebra."""
    labels, n, scale = found.relations(), found.points, 1e-13 * found.points**2
    assert sorted(np.bincount(found.fibre_of)) == sorted(found.fibres) and labels.shape == (n, n)
    assert found.sizes @ found.multiplicities == n
    every = np.concatenate([found.vectors(i).reshape(n, -1) for i in range(len(found.sizes))], axis=1)
    np.testing.assert_allclose(every.T @ every, np.eye(n), atol=scale)
    x, y = rng.standard_normal((2, found.rank))
    X, Y = x[labels], y[labels]
    mine, yours = split(found, found.blocks_of(x)), split(found, found.blocks_of(y))
    np.testing.assert_allclose(dense(found, mine), X, atol=scale)
    np.testing.assert_allclose(found.entries(found.blocks_of(x)), x, atol=scale)
    np.testing.assert_allclose(dense(found, [a @ b for a, b in zip(mine, yours, strict=True)]), X @ Y, atol=scale)
    np.testing.assert_allclose(dense(found, [a.T for a in mine]), X.T, atol=scale)
    np.testing.assert_array_equal(found.transposed[labels], labels.T)
    for r in range(found.rank):
        pairs = np.argwhere(labels == r)
        assert set(found.fibre_of[pairs[:, 0]]) == {found.row_fibre[r]}
        assert set(found.fibre_of[pairs[:, 1]]) == {found.column_fibre[r]}
        assert len(pairs) == found.valencies[r] * found.fibres[found.column_fibre[r]]
    np.testing.assert_array_equal(np.diagonal(labels), found.diagonals[found.fibre_of])
    maps = found.logit_maps
    own = found.diagonals[found.column_fibre[maps.relations]]
    margins = maps.margins(maps.weights * found.blocks_of(x))
    np.testing.assert_allclose(margins, x[own] - x[maps.relations], atol=scale)
    mass = rng.random(maps.relations.size)
    values = np.zeros(found.rank)
    values[maps.relations] = -mass / found.valencies[maps.relations]
    np.add.at(values, own, mass)
    for forces in (maps.forces, maps.single_forces):
        np.testing.assert_allclose(forces(mass), found.blocks_of(values), atol=scale)


@by_symmetry
def test_blocks_are_the_matrices(name):
    check(SYMMETRIES[name](), np.random.default_rng(0))


@by_symmetry
def test_a_symmetry_comes_back(name):
    found = SYMMETRIES[name]()
    for again in (symmetry.from_spec(json.loads(json.dumps(found.spec))), pickle.loads(pickle.dumps(found))):
        assert again == found and hash(again) == hash(found) and repr(again) == repr(found)
        np.testing.assert_array_equal(again.relations(), found.relations())
    assert found != cf.direct_sum(2, 3, 4, 5)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 8), st.integers(1, 2), st.integers(0, 10_000))
def test_random_permutation_groups(degree, count, seed):
    rng = np.random.default_rng(seed)
    found = cf.orbitals([rng.permutation(degree) for _ in range(count)])
    assert cf.coherent(found.relations()).rank == found.rank
    check(found, rng)


def test_blocks_of_known_groups():
    """Sizes and multiplicities from the characters of the groups."""
    for found, sizes, multiplicities in (
        (cf.subsets(6, (1, 2, 3)), [[1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 0, 1]], [1, 5, 9, 5]),
        (cf.direct_sum(5, 4), [[1, 1], [1, 0], [0, 1]], [1, 4, 3]),
        (cf.orbitals([[1, 2, 3, 4, 0]]), [[1], [2], [2]], [1, 1, 1]),
        (cf.orbitals(QUATERNIONS), [[1], [1], [1], [1], [4]], [1, 1, 1, 1, 1]),
        (cf.orbitals([[1, 0, 2], [0, 2, 1]]), [[1], [1]], [1, 2]),
    ):
        mine = sorted(zip(found.block_sizes.tolist(), found.multiplicities.tolist(), strict=True))
        assert mine == sorted(zip(sizes, multiplicities, strict=True))


def test_johnson_is_a_case_of_subsets():
    assert np.array_equal(cf.subsets(6, 2).relations(), cf.johnson(6, 2).relations())
    np.testing.assert_allclose(np.sort(cf.subsets(6, 2).multiplicities), np.sort(cf.johnson(6, 2).multiplicities))


def test_intersection_numbers():
    """Of the edges of K_5: the triangular graph T(5) is strongly regular (10, 6, 3, 4)."""
    found = cf.coherent(cf.johnson(5, 2).relations())
    p = found.intersection_numbers
    assert (p[1, 1, 0], p[1, 1, 1], p[1, 1, 2]) == (6, 3, 4)
    labels = found.relations()
    A = (labels[None] == np.arange(3)[:, None, None]).astype(int)
    for i in range(3):
        for j in range(3):
            np.testing.assert_array_equal(A[i] @ A[j], p[i, j][labels])


def test_margins_do_not_cancel():
    """Slow modes of a long circle in a group: right to rounding."""
    found = cf.direct_sum(cf.cyclic(200), 2)
    maps = found.logit_maps
    x = np.zeros(maps.margins.inputs)
    x[4] = 1.0  # frequency 1 of the circle
    near = maps.margins(x)[0]  # one step: 1 - cos(2 pi / 200)
    exact = 2 * np.sin(np.pi / 200) ** 2
    assert abs(near / exact - 1) < 1e-14


def test_forces_between_groups_are_exact():
    """In rational arithmetic: sums of masses, and minus masses times the ratio of the sizes of the groups."""
    found = cf.direct_sum(4, 9)
    mass = np.array([0.25, 0.5, 0.125, 0.75])  # own, other; own, other
    blocks = split(found, found.logit_maps.forces(mass))
    np.testing.assert_allclose(blocks[0], [[0.5, -0.75 * 1.5], [-0.5 / 1.5, 0.75]], rtol=1e-15)
    own = [Fraction(1, 4) * Fraction(4, 3) + Fraction(1, 2), Fraction(1, 8) * Fraction(9, 8) + Fraction(3, 4)]
    np.testing.assert_allclose([blocks[1][0, 0], blocks[2][0, 0]], [float(value) for value in own], rtol=1e-15)


def test_large_direct_sums_are_cheap():
    """10^6 classes: no array is larger than the number of modes."""
    found = cf.direct_sum(500_000, 500_000)
    assert found.rank == 6 and found.images.shape == (6, 6) and found.points == 10**6
    fast = cf.direct_sum(cf.hadamard(2**12), cf.hadamard(2**12))
    maps, rng = fast.logit_maps, np.random.default_rng(0)
    s = rng.standard_normal(2 * (2**12 - 1))
    margins = maps.margins(maps.weights * np.concatenate([np.zeros(4), s]))
    alone = cf.hadamard(2**12).margins(s[: 2**12 - 1])
    np.testing.assert_allclose(margins[: 2**12 - 1], alone, rtol=0, atol=1e-13 * np.abs(alone).max())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[0, 1], [1, 1]], "diagonal"),
        ([[0, 2], [2, 0]], "without gaps"),
        ([[0, 1, 2], [1, 0, 1], [1, 1, 0]], "transposed pairs"),
        ([[0, 1, 2], [1, 0, 1], [2, 1, 0]], "intersection numbers"),
        ([[0, 1, 1]], "square"),
        (np.zeros((0, 0), int), "square"),
    ],
)
def test_labels_that_are_no_configuration(labels, message):
    with pytest.raises(ValueError, match=message):
        cf.coherent(labels)


def test_an_error_says_where():
    labels = cf.direct_sum(3, 3).relations().copy()
    labels[0, 4] = labels.max() + 1
    labels[4, 0] = labels.max() + 1
    with pytest.raises(ValueError, match=r"pairs \(0, \d\) and \(0, \d\)|pairs"):
        cf.coherent(labels)


def test_bad_input():
    with pytest.raises(TypeError, match="dtype float64"):
        cf.coherent([[0.0, 1.0], [1.0, 0.0]])
    with pytest.raises(TypeError, match="direct_sum takes"):
        cf.direct_sum(cf.hadamard(4), "cyclic")
    with pytest.raises(ValueError, match="two symmetries"):
        cf.direct_sum(5)
    with pytest.raises(ValueError, match="permutations"):
        cf.orbitals([[0, 0, 1]])
    with pytest.raises(ValueError, match="increase"):
        cf.subsets(5, (2, 1))
    with pytest.raises(ValueError, match="sizes"):
        cf.subsets(5, (5,))
    with pytest.raises(TypeError, match="number of points"):
        cf.trivial(2.5)
    with pytest.raises(ValueError, match="kind one of"):
        symmetry.from_spec({"kind": "none", "args": []})


# -- the symmetry of a start -------------------------------------------------------------------------------------------


def same_partition(one, other):
    """Whether two label matrices sort pairs alike."""
    return len(np.unique(np.stack([one.ravel(), other.ravel()]), axis=1).T) == one.max() + 1 == other.max() + 1


def test_closure_of_a_hadamard_start():
    flow = cf.SpectralFlow(cf.hadamard(8))
    found = cf.symmetry_of(*flow.lift(np.arange(1.0, 8.0), width=11, rng=3))
    assert same_partition(found.relations(), cf.hadamard(8).relations())
    collapsed = cf.symmetry_of(*flow.lift(np.ones(7), width=11, rng=3))
    assert same_partition(collapsed.relations(), cf.complete(8).relations())


def test_closure_of_groups():
    flow = cf.SpectralFlow(cf.direct_sum(3, 4), samples=(5, 1))
    found = cf.symmetry_of(*flow.lift(flow.random_start(0.5, rng=2)))
    assert same_partition(found.relations(), cf.direct_sum(3, 4).relations())


def test_closure_with_hidden_units():
    """Vertices and edges of K_5, three times over: R is what the fibres of the layers have in pairs."""
    edges = cf.SpectralFlow(
        cf.subsets(5, (1, 2)), class_fibres=1, depth=3, activation="softplus:5", loss="squared_error", targets="one-hot"
    )
    found = cf.symmetry_of(*edges.lift(edges.random_start(0.5, rng=1)), hidden=True)
    assert found.fibres == (10, 5, 10, 5, 10)
    kinds = "EVEVE"
    assert found.rank == sum({"EE": 3, "VV": 2}.get(a + b, 2) for a in kinds for b in kinds)


def test_a_random_start_has_no_symmetry():
    found = cf.symmetry_of(*cf.random_init(classes=5, width=7, rng=0))
    assert found.rank == 25
    with pytest.raises(ValueError, match="must be"):
        cf.symmetry_of(np.ones((3, 2)), np.ones((3, 3)))


def test_words_of_deep_networks_are_told_apart_by_their_order(monkeypatch):
    """A start for which the exchange of both classes leaves alone the sums of all words that have the same letters.

    Layers are complex matrices as real ones, and the second class is the first times i: for Hermitian matrices X,
    v* X v is real, and so the classes seem alike. The commutator of two of them is not Hermitian.
    """

    def real(matrix):
        return np.kron(matrix.real, np.eye(2)) + np.kron(matrix.imag, [[0, -1], [1, 0]])

    rng = np.random.default_rng(0)
    v, a, b = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape) for shape in ((3, 1), (3, 3), (3, 3)))
    layers = real(v).T, real(a), real(b), np.zeros((6, 2))
    assert cf.symmetry_of(*layers).rank == 4
    monkeypatch.setattr(_closure, "COPIES", 1)
    assert cf.symmetry_of(*layers).rank == 2


def test_weights_of_classes_are_part_of_a_symmetry():
    flow = cf.SpectralFlow(cf.complete(4))
    start = flow.lift([1.0])
    assert cf.symmetry_of(*start).rank == 2
    assert cf.symmetry_of(*start, weights=[10.0, 10.0, 1.0, 1.0]).fibres == (2, 2)
    with pytest.raises(ValueError, match="one for each class"):
        cf.symmetry_of(*start, weights=[1.0, 2.0])


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 7), st.integers(0, 10_000))
def test_closure_recovers_orbitals(degree, seed):
    """A random matrix of an algebra has that algebra as its closure."""
    rng = np.random.default_rng(seed)
    group = cf.orbitals([rng.permutation(degree) for _ in range(2)])
    X = rng.standard_normal(group.rank)[group.relations()]
    found = cf.symmetry_of(X, rng.standard_normal(group.rank)[group.relations()], hidden=False)
    # the closure may be coarser only where the matrices do not generate the algebra
    finer = np.unique(np.stack([group.relations().ravel(), found.relations().ravel()]), axis=1).shape[1]
    assert finer == group.rank >= found.rank
