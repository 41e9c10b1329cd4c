"""The landscape of cross-entropy with weight decay, against Hessians by complex steps and brute-force minimizers."""

import itertools
import math

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

import ceflow as cf
from ceflow.theory.landscape import Landscape, are_copies, copies, least_curvature, morse_sums

UNEQUAL = Landscape(4, 5, (0.02, 0.005), samples=2, bias_decay=0.01)
LONE = Landscape(3, 4, 0.03, bias_decay=0.05)


class Direct:
    """f and its gradient, written down with one column a sample, for real and complex numbers."""

    def __init__(self, problem):
        self.p, self.N = problem, problem.classes * problem.samples
        self.Y = np.repeat(np.eye(problem.classes), problem.samples, axis=1)
        self.ends = np.cumsum([problem.classes * problem.width, problem.width * self.N])

    def split(self, x):
        W, H, b = np.split(x, self.ends)
        b = b if self.p.bias_decay is not None else np.zeros(self.p.classes)
        return W.reshape(self.p.classes, -1), H.reshape(self.p.width, self.N), b

    def value(self, x):
        W, H, b = self.split(x)
        Z = W @ H + b[:, None]
        fit = (np.log(np.exp(Z - Z.max(0)).sum(0)) + Z.max(0) - (Z * self.Y).sum(0)).mean()
        lb = self.p.bias_decay or 0.0
        return fit + 0.5 * (self.p.weight_decay[0] * (W**2).sum() + self.p.weight_decay[1] * (H**2).sum() + lb * b @ b)

    def gradient(self, x):
        (W, H, b), (lW, lH), lb = self.split(x), self.p.weight_decay, self.p.bias_decay
        e = np.exp(W @ H + b[:, None])
        g = (e / e.sum(0) - self.Y) / self.N
        parts = [(g @ H.T + lW * W).ravel(), (W.T @ g + lH * H).ravel()]
        return np.concatenate(parts if lb is None else [*parts, g.sum(1) + lb * b])

    def hessian(self, x):
        steps = x + 1e-30j * np.eye(x.size)
        return np.array([self.gradient(row).imag for row in steps]) / 1e-30


def flat(layers):
    return np.concatenate([layer.ravel() for layer in layers])


@pytest.fixture(scope="module")
def lone():
    return LONE.search(90)


def ten_points():
    yield from UNEQUAL.mode_points(cf.hadamard(4))[3:]  # three of rank 1, zero
    yield from Landscape(4, 5, 0.02).mode_points(cf.hadamard(4))[2:5]
    yield from Landscape(5, 3, (0.004, 0.03), samples=3).mode_points(cf.cyclic(5))
    yield from Landscape(6, 6, (0.03, 0.01), bias_decay=0.0).mode_points(cf.johnson(4, 2))


def test_spectrum_is_that_of_the_whole_hessian(lone):
    points = [*ten_points(), *lone]
    assert len([point for point in points if not point.is_global]) >= 10
    for point in points:
        direct, x = Direct(point.landscape), flat(point.layers)
        values = np.linalg.eigvalsh(direct.hessian(x))
        found = np.sort(np.repeat(*point.spectrum))
        assert np.abs(direct.gradient(x)).max() < 1e-13
        np.testing.assert_allclose(found, values, rtol=0, atol=1e-12)
        assert point.objective == pytest.approx(direct.value(x), abs=1e-13)
        assert point.index == (values < -1e-8).sum() and point.nullity == (np.abs(values) < 1e-8).sum()
        if not point.is_global and point.rank < point.landscape.width:
            formula = least_curvature(point.force, point.landscape.weight_decay)
            assert formula == pytest.approx(values[0], abs=1e-12) and formula < 0


@pytest.mark.parametrize(
    ("modes", "objective", "index", "nullity"),
    [((), 1.38629436, 15, 0), ((1,), 0.82187376, 10, 4), ((1, 2), 0.25745317, 3, 7), ((1, 2, 3), 0.22219035, 0, 9)],
)
def test_subsets_of_modes(modes, objective, index, nullity):
    points = UNEQUAL.mode_points(cf.hadamard(4))
    assert len(points) == 8
    (point,) = [point for point in points if point.modes == modes]
    assert point.objective == pytest.approx(objective, abs=5e-9)
    assert (point.index, point.nullity) == (index, nullity)
    assert point.is_global == (len(modes) == 3)


def test_saddles_without_symmetry_are_found(lone):
    assert [point.objective for point in lone] == pytest.approx([0.2685564, 0.4522750, 0.6295579, 1.0986123], abs=5e-8)
    assert [point.rank for point in lone] == [2, 1, 1, 0]
    assert [point.is_global for point in lone] == [True, False, False, False]
    assert len(LONE.mode_points(cf.complete(3))) == 2
    assert lone[0].objective == pytest.approx(LONE.least_objective, abs=1e-14)


def matrices(point):
    """All that permutations of the classes make of the logits and the bias, by brute force."""
    Z, K = point.W @ point.X, point.landscape.classes
    return [
        np.column_stack([Z[np.ix_(order, order)], point.bias[list(order)]])
        for order in itertools.permutations(range(K))
    ]


@pytest.mark.parametrize(("bias_decay", "starts"), [(None, 100), (0.05, 200)])
def test_all_critical_points_of_four_classes(bias_decay, starts):
    """Eleven orbits, four of which a scheme has; two of them have equal objectives and singular values."""
    problem = Landscape(4, 4, 0.03, bias_decay=bias_decay)
    points = problem.search(starts)
    assert len(points) == 11 and morse_sums(points).tolist() == [1, 1, 1]
    for place, point in enumerate(points):
        assert point.gradient < 1e-14
        orbit = matrices(point)
        different = [A for i, A in enumerate(orbit) if all(np.abs(A - B).max() > 1e-4 for B in orbit[:i])]
        assert copies(point) == len(different)
        for other in points[:place]:
            apart = min(np.abs(orbit[0] - B).max() for B in matrices(other))
            assert apart > 1e-2 and not are_copies(point, other)
    twins = [point for point in points if abs(point.objective - 0.92011470306) < 1e-10]
    assert sorted(map(copies, twins)) == ([3, 6] if bias_decay is None else [3])
    modes = [*problem.mode_points(cf.hadamard(4)), *problem.mode_points(cf.cyclic(4))]
    found = [[are_copies(mode, point) for point in points] for mode in modes]
    assert np.sum(found, axis=1).tolist() == [1] * len(modes) and np.any(found, axis=0).sum() == 4


def test_a_missing_orbit_is_seen(lone):
    assert morse_sums(lone).tolist() == [1, 1]
    for missing in lone:
        rest = [point for point in lone if point is not missing]
        assert morse_sums(rest).tolist() != [1, 1]


@pytest.mark.parametrize(
    ("K", "d", "n", "lW", "lH", "lb"),
    [(4, 5, 2, 0.01, 0.01, 0.01), (4, 4, 3, 0.02, 0.005, 0.0), (3, 2, 2, 0.01, 0.01, None), (4, 3, 1, 0.3, 0.4, 0.1)],
)
def test_minimizer_against_bfgs(K, d, n, lW, lH, lb):
    problem = Landscape(K, d, (lW, lH), n, lb)
    point, direct, rng = problem.minimizer(), Direct(problem), np.random.default_rng(0)
    x = flat(point.layers)
    assert np.abs(direct.gradient(x)).max() <= 1e-15 and point.gradient <= 1e-15
    assert point.is_global and point.index == 0
    runs = [
        scipy.optimize.minimize(direct.value, rng.normal(size=x.size), jac=direct.gradient, method="BFGS",
                                options={"gtol": 1e-8, "maxiter": 3000}).fun
        for _ in range(2)
    ]  # fmt: skip
    assert min(runs) == pytest.approx(problem.least_objective, abs=1e-12)
    assert min(runs) >= problem.least_objective - 1e-13
    assert direct.value(x) == pytest.approx(problem.least_objective, abs=1e-14)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 7), st.integers(1, 4), st.floats(1e-4, 1.0), st.floats(1e-4, 1.0))
def test_minimizer_is_balanced_and_the_equilibrium_of_the_flow(K, n, lW, lH):
    problem = Landscape(K, K, (lW, lH), n)
    point = problem.minimizer()
    W, H = point.layers
    np.testing.assert_allclose(lW * W.T @ W, lH * H @ H.T, atol=1e-12)
    np.testing.assert_allclose(W.sum(axis=0), 0, atol=1e-12)
    assert problem.margin == pytest.approx(cf.theory.equilibrium(K, weight_decay=math.sqrt(n * lW * lH)), abs=1e-9)
    assert point.is_global and point.smallest_eigenvalue > -1e-12


@pytest.mark.parametrize("point", [*UNEQUAL.mode_points(cf.hadamard(4))[1:]], ids=lambda point: str(point.modes))
def test_direction_of_negative_curvature(point):
    direct, D = Direct(point.landscape), flat(point.direction)
    assert np.linalg.norm(D) == pytest.approx(1, abs=1e-13)
    hessian = direct.hessian(flat(point.layers))
    np.testing.assert_allclose(hessian @ D, point.smallest_eigenvalue * D, atol=1e-13)
    # the direction of the theorem, whose curvature is 2 (sqrt(lW lH) - |g|)
    lW, lH = point.landscape.weight_decay
    dW, dH = (part / np.linalg.norm(part) for part in point.direction[:2])
    D = flat((dW * (lH / lW) ** 0.25, dH * (lW / lH) ** 0.25, np.zeros(4)))
    assert D @ hessian @ D == pytest.approx(2 * (point.landscape.balance - point.force), abs=1e-13)


def test_saddle_of_full_rank_has_a_direction_too():
    (point,) = [p for p in Landscape(4, 2, 0.02).mode_points(cf.hadamard(4)) if p.modes == (1, 2)]
    hessian, D = Direct(point.landscape).hessian(flat(point.layers)), flat(point.direction)
    assert D @ hessian @ D == pytest.approx(np.linalg.eigvalsh(hessian)[0], abs=1e-13)


def test_given_layers_are_classified():
    saddle = UNEQUAL.mode_points(cf.hadamard(4))[2]
    again = UNEQUAL.point(*saddle.layers)
    assert again.index == saddle.index and again.objective == pytest.approx(saddle.objective, abs=1e-15)
    with pytest.raises(ValueError, match="must be a critical point"):
        UNEQUAL.point(saddle.W + 0.1, saddle.H)


@pytest.mark.parametrize("problem", [Landscape(4, 5, 0.02), UNEQUAL], ids=["equal", "unequal, samples, bias"])
def test_escape_at_the_rate_of_the_hessian(problem):
    (saddle,) = [point for point in problem.mode_points(cf.hadamard(4)) if point.modes == (1, 2)]
    found = cf.basins.escape(saddle, 20.0 / saddle.rate, rtol=1e-11)
    assert found.measured == pytest.approx(found.rate, rel=1e-6)
    if problem is not UNEQUAL:
        assert found.rate == pytest.approx(saddle.force - 0.02, abs=1e-14)
        assert found.rate == pytest.approx(0.0184, abs=1e-7)
    assert np.all(np.diff(found.run.objective) <= 1e-12)
    assert found.run.objective[-1] < saddle.objective - 1e-3
    assert found.run.objective[-1] >= problem.least_objective - 1e-13


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_early_singular_values_repel(depth):
    s0 = np.array([3e-7, 2e-7, 1e-7])
    t = 0.7 * (s0[0] ** -(1 - 2 / depth) / (depth - 2) if depth > 2 else 1.0)
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(4), depth=depth, reduction="sum"), s0, t, rtol=1e-12)
    s = run.singular_values[-1]
    np.testing.assert_allclose(cf.theory.early_singular_values(s0, t, depth), s, rtol=1e-4)
    ratio = np.log(run.singular_values[:, 0] / run.singular_values[:, 2])
    assert np.all(np.diff(ratio) >= -1e-6) and (ratio[-1] > ratio[0] + 0.1) == (depth > 2)
    later = cf.theory.early_singular_values(s0, t * 1e-4, depth)
    assert np.log(later[0] / later[2]) - np.log(3) == pytest.approx(
        1e-4 * t * cf.theory.repulsion_rate(s0[0], s0[2], depth), rel=1e-3, abs=1e-14
    )


def test_basin_of_collapse_shrinks_with_depth():
    found = [cf.basins.collapse_probability(cf.hadamard(4), depth, starts=30, size=1.0) for depth in (2, 3, 5)]
    assert found[0].probability == 1.0
    for before, after in itertools.pairwise(found):
        assert after.probability < before.probability - np.hypot(before.standard_error, after.standard_error)
    assert set(found[1].ranks) <= {-1, 2, 3} and (found[1].ranks < 0).mean() < 0.2
    again = cf.basins.collapse_probability(cf.hadamard(4), 5, starts=30, size=1.0)
    np.testing.assert_array_equal(again.ranks, found[2].ranks)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Landscape(4, 5, 0.0), ValueError, "weight_decay"),
        (lambda: Landscape(4, 5, (0.1, 0.1, 0.1)), ValueError, "one for W and one for H"),
        (lambda: Landscape(4, 0, 0.1), ValueError, "width"),
        (lambda: Landscape(4, 5, 0.1, samples=0), ValueError, "samples"),
        (lambda: Landscape(4, 5, 0.1, bias_decay=-1.0), ValueError, "bias_decay"),
        (lambda: Landscape(4, 2, 0.01).minimizer(), ValueError, "width must be at least 3"),
        (lambda: UNEQUAL.mode_points("hadamard"), TypeError, "scheme"),
        (lambda: UNEQUAL.mode_points(cf.hadamard(8)), ValueError, "4 classes"),
        (lambda: UNEQUAL.search(0), ValueError, "starts"),
        (lambda: morse_sums([]), TypeError, "non-empty"),
        (lambda: morse_sums([LONE.minimizer(), UNEQUAL.minimizer()]), ValueError, "one landscape"),
        (lambda: morse_sums([Landscape(4, 3, 0.25).minimizer()]), ValueError, "degenerate"),
        (lambda: Landscape(100, 100, 1e-3).search(200), ValueError, "unknowns"),
        (lambda: UNEQUAL.point(np.zeros((4, 4)), np.zeros((5, 8))), ValueError, "W must be"),
        (lambda: cf.basins.escape(UNEQUAL.minimizer(), 1.0), ValueError, "negative curvature"),
        (lambda: cf.basins.escape(UNEQUAL.mode_points(cf.hadamard(4))[1], 1e-3), ValueError, "t_end"),
        (lambda: cf.basins.escape("saddle", 1.0), TypeError, "point"),
        (lambda: cf.basins.collapse_probability(cf.hadamard(4), starts=0), ValueError, "starts"),
        (lambda: cf.theory.early_singular_values([1e-2], 1e3, 3), ValueError, "diverges"),
        (lambda: cf.theory.repulsion_rate(0.0, 1.0, 3), ValueError, "s must be"),
        (lambda: least_curvature(-1.0, (0.1, 0.1)), ValueError, "force"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
