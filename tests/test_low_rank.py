"""Deep relu layers with squared error and decay: coefficients of families, their layers, and flows from them."""

import itertools
import math

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

import ceflow as cf
from ceflow.theory import low_rank

OPTIONS = {"loss": "squared_error", "targets": "one-hot", "weight_decay": 0.004}


def edges(vertices, depth, name="relu"):
    """Classes the edges of a complete graph, hidden units its vertices and edges."""
    return cf.SpectralFlow(
        cf.subsets(vertices, (1, 2)),
        class_fibres=1,
        depth=depth,
        activation=low_rank.activations(depth, name),
        **OPTIONS,
    )


def kneser(vertices):
    pairs = list(itertools.combinations(range(vertices), 2))
    return np.array([[float(not set(a) & set(b)) for b in pairs] for a in pairs])


def outputs(layers):
    """Pre-activations M_2, ..., Z of layers W, ..., H, in plain NumPy."""
    found = [layers[-2] @ layers[-1]]
    for layer in layers[-3::-1]:
        found.append(layer @ np.maximum(found[-1], 0.0))
    return found


# -- coefficients ------------------------------------------------------------------------------------------------------


def cheapest(vertices, depth, norm):
    """C by a geometric program in the singular values of every layer: log variables, SLSQP, products as constraints."""
    r, count = vertices, depth - 1  # layers but W_L
    rho, constant = math.sqrt(2 * (r - 1) / (r - 2)), (r - 1) * (r - 4) / 2
    rows, least = [], []  # of products of standard values and, of each activation that relu passes, of the ratio
    for layer in range(1, depth - 2):
        row = np.zeros(2 * count)
        row[: layer + 1], row[count : count + layer + 1] = 1.0, -1.0
        rows.append(row)
        least.append(math.log(rho))
    standard, constants = np.zeros(2 * count), np.zeros(2 * count)
    standard[count:], constants[:count] = 1.0, 1.0
    equal, values = [standard], [math.log(r - 2)]
    if constant:
        equal, values = [standard, constants], [*values, math.log(constant)]
    weights = np.append(np.ones(count), np.full(count, r - 1.0))
    if not constant:
        weights[count - 1] = 0.0  # nothing of the constants passes the last layer

    def cost(v):  # log of the sum of squares: depth norms that agree, by scale
        squares = weights * np.exp(2.0 * v)
        total = squares.sum()
        return count * math.log(total / count), count * 2.0 * squares / total

    constraints = [{"type": "eq", "fun": lambda v: np.array(equal) @ v - values, "jac": lambda v: np.array(equal)}]
    if rows:
        constraints.append(
            {"type": "ineq", "fun": lambda v: np.array(rows) @ v - least, "jac": lambda v: np.array(rows)}
        )
    found = scipy.optimize.minimize(
        cost, np.zeros(2 * count), jac=True, constraints=constraints, method="SLSQP",
        options={"maxiter": 3000, "ftol": 1e-16},
    )  # fmt: skip
    return depth * math.exp((found.fun + math.log(norm)) / depth)


@pytest.mark.parametrize("vertices", [4, 5, 6, 7, 10, 20])
@pytest.mark.parametrize("depth", [3, 4, 5, 7])
def test_coefficients_are_those_of_a_geometric_program(vertices, depth):
    inverse = np.linalg.inv(kneser(vertices))
    norm = (inverse**2).sum()
    assert low_rank.inverse_adjacency_norm(vertices) == pytest.approx(norm, rel=1e-12)
    for sign, w in (("-", norm), ("+", len(inverse))):
        expected = cheapest(vertices, depth, w)
        assert low_rank.graph_coefficient(vertices, depth=depth, sign=sign) == pytest.approx(expected, rel=1e-9)


def test_coefficients_over_those_of_deep_collapse():
    """Four digits, computed by hand for five and twenty vertices; one at four vertices and three layers."""
    table = {
        (4, 3): 1.0, (4, 5): 0.9633, (5, 3): 1.0620, (5, 4): 0.9234, (5, 5): 0.8168, (5, 6): 0.7527, (5, 8): 0.6795,
        (6, 5): 0.7834, (7, 5): 0.7623, (10, 4): 0.9403, (10, 5): 0.7002, (20, 4): 0.8510, (20, 8): 0.2937,
    }  # fmt: skip
    for (r, depth), expected in table.items():
        collapse = low_rank.collapse_coefficient(r * (r - 1) // 2, depth=depth)
        ratio = low_rank.graph_coefficient(r, depth=depth) / collapse
        assert ratio == pytest.approx(expected, abs=6e-5)
    assert low_rank.graph_coefficient(10, depth=4, sign="+") == pytest.approx(4 * 45, rel=2e-4)


@pytest.mark.parametrize(("depth", "least"), [(3, math.inf), (4, 10), (5, 6), (6, 6), (12, 6)])
def test_unions_beat_deep_collapse_from_so_many_classes_on(depth, least):
    assert low_rank.least_classes(depth) == least
    for classes in range(2, 17):
        found = low_rank.union(classes, depth=depth)
        assert sum(found.blocks) == classes
        assert (found.coefficient < depth * classes * (1 - 1e-9)) == (classes >= least)


def test_unions_by_brute_force():
    depth, sizes = 5, {1: 5.0, 6: 0.0, 10: 0.0, 15: 0.0}
    for r, size in ((4, 6), (5, 10), (6, 15)):
        sizes[size] = low_rank.graph_coefficient(r, depth=depth)
    for classes in (12, 16, 18):
        costs = [
            a * sizes[6] + b * sizes[10] + c * sizes[15] + depth * left
            for a in range(4) for b in range(2) for c in range(2) if (left := classes - 6 * a - 10 * b - 15 * c) >= 0
        ]  # fmt: skip
        assert low_rank.union(classes, depth=depth).coefficient == pytest.approx(min(costs), rel=1e-14)


@settings(deadline=None)
@given(st.integers(3, 30), st.floats(0.0, 0.99))
def test_profile_is_the_minimum(depth, share):
    """By a grid and a bounded minimizer; from the threshold on it is zero."""
    p, top = 2.0 / depth, low_rank.threshold(depth)
    found = low_rank.profile(share * top, depth=depth, weight_decay=2.0)
    z = np.linspace(0.0, 1.0, 2001)
    values = 0.5 * (z - 1.0) ** 2 + share * top * z**p
    assert found.loss <= values.min() + 1e-15 and found.loss <= 0.5
    assert (1 - found.scale) * found.scale ** (1 - p) == pytest.approx(p * share * top, rel=1e-12, abs=1e-15)
    assert 0.5 * (found.scale - 1) ** 2 + share * top * found.scale**p == pytest.approx(found.loss, rel=1e-14)
    assert low_rank.profile(1.001 * top, depth=depth, weight_decay=2.0) == (0.0, 0.5)
    assert low_rank.profile(0.9999 * top, depth=depth, weight_decay=2.0).loss == pytest.approx(0.5, abs=1e-3)


def test_losses_of_ten_classes():
    """Deep collapse has the loss of the known equilibrium of linear layers; the decay decides no race."""
    collapse = low_rank.profile(low_rank.collapse_coefficient(10, depth=5), depth=5, weight_decay=0.004)
    assert collapse.scale == pytest.approx(
        cf.theory.equilibrium(10, loss="squared_error", depth=5, weight_decay=0.004), rel=1e-13
    )
    assert collapse.loss == pytest.approx(0.0991798746, abs=1e-10)
    for decay in (1e-6, 1e-3, 0.01):
        losses = [
            low_rank.profile(c, depth=5, weight_decay=decay).loss
            for c in (low_rank.graph_coefficient(5, depth=5), low_rank.graph_coefficient(5, depth=5, sign="+"), 50.0)
        ]
        assert losses == sorted(losses) and len(set(losses)) == 3


def test_decay_of_each_layer_and_samples():
    """The same loss, with relu, by plain NumPy."""
    rng, decays, n = np.random.default_rng(0), np.array([0.3, 0.02, 0.07, 0.5]), 3
    layers = [rng.standard_normal(shape) for shape in ((5, 6), (6, 6), (6, 6), (6, 5))]

    def loss(layers, decays):
        return 0.1 * ((outputs(layers)[-1] - np.eye(5)) ** 2).sum() + 0.5 * sum(
            decay * (layer**2).sum() for decay, layer in zip(decays, layers, strict=True)
        )

    one = low_rank.equal_decay(decays, n)
    times = np.array([1, 1, 1, n])
    scaled = [math.sqrt(d / one) * layer for d, layer in zip(times * decays, layers, strict=True)]
    assert loss(scaled, [one] * 4) == pytest.approx(loss(layers, times * decays), rel=1e-13)


# -- layers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", low_rank.SIGNS)
@pytest.mark.parametrize(("vertices", "depth"), [(4, 5), (5, 3), (5, 4), (5, 5), (7, 6), (8, 4)])
def test_layers_have_their_output_norm_and_rank(vertices, depth, sign):
    layers = low_rank.graph_layers(vertices, depth=depth, scale=0.7, sign=sign)
    found = outputs(layers)
    np.testing.assert_allclose(found[-1], 0.7 * np.eye(len(found[-1])), atol=1e-13)
    norms = [(layer**2).sum() for layer in layers]
    np.testing.assert_allclose(norms, norms[0], rtol=1e-12)
    assert sum(norms) == pytest.approx(
        low_rank.graph_coefficient(vertices, depth=depth, sign=sign) * 0.7 ** (2 / depth), rel=1e-12
    )
    last = vertices - (vertices == 4)
    assert [np.linalg.matrix_rank(part, tol=1e-9) for part in found[:-1]] == [vertices] * (depth - 3) + [last]
    assert np.linalg.matrix_rank(np.maximum(found[-2], 0.0), tol=1e-9) == len(found[-1])
    assert edges(vertices, depth).project(*layers)[1] < 1e-13


def test_objective_at_the_layers_is_the_profile():
    """The conventions: the loss of the paper's model is the objective of the flow."""
    for layers, coefficient in (
        (low_rank.graph_layers(5, depth=5, scale=0.9), low_rank.graph_coefficient(5, depth=5)),
        (low_rank.collapse_layers(10, depth=5, scale=0.9), low_rank.collapse_coefficient(10, depth=5)),
    ):
        flow = cf.MatrixFlow(depth=5, activation=low_rank.activations(5), **OPTIONS)
        expected = 0.5 * 0.1**2 + 0.002 * coefficient * 0.9**0.4
        assert cf.descend(flow, layers, step_size=0.1, steps=1).objective[0] == pytest.approx(expected, rel=1e-13)


# -- flows -------------------------------------------------------------------------------------------------------------


def test_reduced_and_full_agree_with_linear_features():
    """Five layers, softplus in all places but behind H_1: to t = 100, from near the solution of low rank."""
    flow = edges(5, 5, "softplus:20")
    start, _ = flow.project(*low_rank.graph_layers(5, depth=5))
    start = start._replace(flat=start.flat + 0.1 * np.random.default_rng(0).standard_normal(start.flat.size))
    times = [1.0, 10.0, 100.0]
    reduced = cf.integrate(flow, start, t_eval=times, rtol=1e-11)
    full = cf.integrate(flow.full(), flow.lift(start), t_eval=times, rtol=1e-11)
    for mine, theirs in zip(reduced.lifted().factors, full.factors, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-9)
    np.testing.assert_allclose(reduced.objective, full.objective, rtol=1e-9)
    assert reduced.certificate().passed and full.certificate().passed


@pytest.mark.parametrize(
    ("vertices", "depth", "noise", "best"),
    [(4, 5, 0.0, 0.056385), (5, 4, 0.1, 0.072894), (5, 5, 0.0, 0.0809113), (5, 5, 0.1, 0.0809113),
     (6, 5, 0.1, 0.115815)],
)
def test_flow_goes_below_the_closed_form(vertices, depth, noise, best):
    """To losses that a search for minima inside sign cells of relu has found, from a start near the closed form."""
    run = from_closed_form(vertices, depth, noise)
    closed = low_rank.profile(low_rank.graph_coefficient(vertices, depth=depth), depth=depth, weight_decay=0.004)
    assert run.success and np.all(np.diff(run.objective) <= 1e-14)
    assert run.objective[-1] < closed.loss
    assert run.objective[-1] == pytest.approx(best, abs=1e-6)


def from_closed_form(vertices, depth, noise):
    flow, coefficient = edges(vertices, depth), low_rank.graph_coefficient(vertices, depth=depth)
    scale = low_rank.profile(coefficient, depth=depth, weight_decay=0.004).scale
    start, _ = flow.project(*low_rank.graph_layers(vertices, depth=depth, scale=scale))
    moved = start.flat + noise * np.random.default_rng(1).standard_normal(start.flat.size)
    return cf.integrate(flow, start._replace(flat=moved), t_end=1e5, rtol=1e-8)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: low_rank.graph_coefficient(3, depth=5), ValueError, "vertices must be from 4"),
        (lambda: low_rank.graph_coefficient(5, depth=2), ValueError, "depth must be from 3"),
        (lambda: low_rank.graph_coefficient(5, depth=5, sign="x"), ValueError, "sign must be one of"),
        (lambda: low_rank.graph_layers(5.0, depth=5), TypeError, "vertices must be an integer"),
        (lambda: low_rank.profile(-1.0, depth=5, weight_decay=0.1), ValueError, "coefficient must be"),
        (lambda: low_rank.profile(1.0, depth=5, weight_decay=math.nan), ValueError, "weight_decay must be"),
        (lambda: low_rank.union(1, depth=5), ValueError, "classes must be"),
        (lambda: low_rank.union(10**6, depth=5), ValueError, "classes must be at most"),
        (lambda: low_rank.equal_decay([0.1, 0.0]), ValueError, "weight_decay must be"),
        (lambda: low_rank.collapse_layers(5, depth=5, scale=-1.0), ValueError, "scale must be"),
    ],
)
def test_bad_input_is_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


# -- ranks, and the lowest of several runs -----------------------------------------------------------------------------


def test_edges_and_vertices_behind_the_last_relu():
    """Six classes: a solution with units of both kinds, below what units of one kind reach."""
    assert from_closed_form(4, 5, 0.1).objective[-1] < 0.05543 < 0.0563 < from_closed_form(4, 5, 0.0).objective[-1]


def test_ranks_of_layers_by_hand():
    layers = low_rank.graph_layers(5, depth=5)
    batch = tuple(np.stack([layer, 0.0 * layer]) for layer in layers)
    found = cf.collapse.layer_ranks(batch, activation=low_rank.activations(5), tolerance=1e-9)
    assert found.before.tolist() == [[5, 5, 5, 5], [0, 0, 0, 0]]
    assert found.after.tolist() == [[10, 5, 5, 5], [0, 0, 0, 0]]
    assert found.output.tolist() == [10, 0]
    linear = cf.collapse.layer_ranks((np.eye(3)[:, :2], np.diag([1.0, 1e-3])))
    assert (linear.before.tolist(), linear.after.tolist(), int(linear.output)) == ([1], [1], 1)
    for arguments, text in (
        ({"factors": layers, "activation": ("relu",)}, "one for each of 4 places"),
        ({"factors": layers[:1]}, "at least two"),
        ({"factors": layers, "tolerance": 2.0}, "tolerance must be"),
        ({"factors": (np.eye(3), np.eye(2))}, "must fit"),
    ):
        with pytest.raises(ValueError, match=text):
            cf.collapse.layer_ranks(**arguments)


def test_ranks_along_runs():
    flow = edges(4, 4)
    run = cf.integrate(flow, flow.random_start(1.0, rng=0), t_eval=[1.0, 10.0], rtol=1e-6)
    mine, theirs = run.layer_ranks, run.lifted().layer_ranks
    assert mine.before.shape == mine.after.shape == (2, 3) and mine.output.shape == (2,)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    full = cf.MatrixFlow(depth=4, activation=low_rank.activations(4), **OPTIONS)
    starts = tuple(np.stack([layer, layer]) for layer in low_rank.graph_layers(4, depth=4))
    assert cf.descend(full, starts, step_size=0.01, steps=2).layer_ranks.before.shape == (3, 2, 3)


def test_lowest_runs_come_first():
    flow = edges(4, 4)
    starts = [flow.random_start(1.0, rng=seed) for seed in range(3)]
    runs = cf.lowest(flow, starts, t_end=30.0, rtol=1e-6)
    ends = [run.objective[-1] for run in runs]
    assert ends == sorted(ends) and len(runs) == 3
    alone = cf.integrate(flow, starts[0], t_end=30.0, rtol=1e-6).objective[-1]
    assert alone in ends
    with pytest.raises(RuntimeError, match="no start"):
        cf.lowest(flow, [])
