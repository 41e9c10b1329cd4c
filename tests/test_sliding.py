"""Relu between layers under a symmetry: runs that cross places where inputs are 0, and slide along them."""

import numpy as np
import pytest

import ceflow as cf
from ceflow.network import gates

OPTIONS = {"depth": 4, "loss": "squared_error", "targets": "one-hot", "weight_decay": 0.004}


def edges(activation="relu", **options):
    """Classes the edges of K_5, hidden units its vertices and edges."""
    return cf.SpectralFlow(cf.subsets(5, (1, 2)), class_fibres=1, activation=activation, **OPTIONS | options)


RELU = edges()


@pytest.mark.parametrize("seed", [1, 4])
def test_is_the_limit_of_softplus(seed):
    """At equal times, across the places where sliding begins and ends, the difference falls like 1 / beta."""
    times, start = [10.0, 30.0, 100.0], RELU.random_start(0.7, rng=seed)
    run = cf.integrate(RELU, start, t_eval=times, rtol=1e-9)
    errors = []
    for beta in ("1e3", "1e4"):
        smooth = cf.integrate(edges(f"softplus:{beta}"), start, t_eval=times, rtol=1e-7, max_steps=10**6)
        errors.append(np.abs(smooth.y - run.y).max(axis=1))
    assert errors[1].max() < 4e-3 and errors[0].max() > 2e-3
    assert np.all(errors[1] < 0.25 * errors[0] + 1e-7)


class Dense:
    """Four layers as matrices, with gates as given by the signs of inputs, or by forces where they are 0."""

    def __init__(self, factors):
        self.factors, self.inputs, self.outputs = factors, [], [factors[3]]
        for factor in (*factors[2:0:-1], None):
            self.inputs.insert(0, self.outputs[0])
            below = np.where(self.inputs[0] > 1e-7, self.inputs[0], 0.0)
            self.outputs[0] = below
            if factor is not None:
                self.outputs.insert(0, factor @ below)
        self.open = [entry > 1e-7 for entry in self.inputs]
        self.zero = [np.abs(entry) < 1e-9 for entry in self.inputs]
        self.residual = (np.eye(10) - factors[0] @ self.outputs[0]) / 10

    def backward(self, residual, forces):
        """Velocities without decay, and what comes to each gate."""
        velocities, come = [], []
        for factor, output, is_open, force in zip(self.factors, self.outputs, self.open, forces, strict=False):
            velocities.append(residual @ output.T)
            come.append(factor.T @ residual)
            residual = np.where(is_open, come[-1], 0.0) + force
        return [*velocities, residual], come

    def drift(self, velocities):
        """How the inputs that are 0 move."""
        found, moved = [], velocities[3]
        for layer in (2, 1, 0):
            found.insert(0, moved[self.zero[layer]])
            passed = np.where(self.open[layer], moved, 0.0)
            moved = velocities[layer] @ self.outputs[layer] + self.factors[layer] @ passed
        return np.concatenate(found)

    def placed(self, numbers):
        """Numbers for all inputs that are 0, as forces."""
        ends = np.cumsum([np.count_nonzero(zero) for zero in self.zero])[:-1]
        forces = [np.zeros(entry.shape) for entry in self.inputs]
        for force, zero, own in zip(forces, self.zero, np.split(numbers, ends), strict=True):
            force[zero] = own
        return forces


@pytest.mark.parametrize(("seed", "times"), [(0, [62.0, 80.0, 200.0, 600.0]), (5, [2.0, 50.0, 64.0, 80.0])])
def test_velocity_is_that_of_matrices_held_at_zero(seed, times):
    """Forces at all inputs that are 0, by least squares on matrices: each is a share of what comes to its gate."""
    start = RELU.start(RELU.random_start(0.7, rng=seed))
    run = cf.integrate(RELU, start, t_eval=times, rtol=1e-10)
    for y, log_t in zip(run.y, run.log_t, strict=True):
        field, velocity = RELU.motion(start, y, log_t, 1e-10), np.empty(y.size)
        phi, _ = field.rates(y, velocity)
        dense = Dense(RELU.lift(RELU.state(start, y)))
        count = sum(np.count_nonzero(zero) for zero in dense.zero)
        assert count > 0
        nothing = dense.placed(np.zeros(count))
        still = dense.drift(dense.backward(dense.residual, nothing)[0])
        unit = [dense.drift(dense.backward(0.0 * dense.residual, dense.placed(e))[0]) for e in np.eye(count)]
        numbers = np.linalg.lstsq(np.array(unit).T, -still, rcond=1e-10)[0]
        velocities, come = dense.backward(dense.residual, dense.placed(numbers))
        come = np.concatenate([entry[zero] for entry, zero in zip(come, dense.zero, strict=True)])
        moving = np.abs(numbers) > 1e-12
        assert moving.any() and np.all(numbers * come >= -1e-12) and np.all(np.abs(numbers) <= np.abs(come) + 1e-12)
        mine = RELU.lift(RELU.state(start, velocity * np.exp(-phi)))
        for found, expected, factor in zip(mine, velocities, dense.factors, strict=True):
            np.testing.assert_allclose(found, expected - 0.004 * factor, atol=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_full_flow_agrees_until_it_gives_up(seed):
    """It steps to and fro across the place where here the gates change, and agrees until then; or an implicit step gets
    across, and it agrees to the end."""
    start = RELU.random_start(0.7, rng=seed)
    full = cf.integrate(cf.MatrixFlow(activation="relu", **OPTIONS), RELU.lift(start), t_end=60.0, rtol=1e-9)
    run = cf.integrate(RELU, start, t_end=60.0, rtol=1e-9)
    if not full.success:
        assert full.outcome == cf.Outcome.STEP_TOO_SMALL
        assert run._path.segments[1].log_t[0] == pytest.approx(full.log_t[-1], abs=1e-6)
    lifted = RELU.lift(RELU.state(run.start, run.at(log_t=full.log_t[-1:]).y[0]))
    for mine, theirs in zip(lifted, full.factors, strict=True):
        np.testing.assert_allclose(mine, theirs[-1], atol=1e-6)


@pytest.mark.parametrize("seed", [0, 3, 5])
def test_tolerance_holds_across_changes(seed):
    times, start = [10.0, 100.0, 1000.0], RELU.random_start(0.7, rng=seed)
    best = cf.integrate(RELU, start, t_eval=times, rtol=1e-11)
    for rtol in (1e-6, 1e-9):
        run = cf.integrate(RELU, start, t_eval=times, rtol=rtol)
        assert run.success
        assert np.abs(run.y - best.y).max() < rtol * np.linalg.norm(best.y, axis=1).max()


def test_objective_falls_and_goes_on_to_the_bit(tmp_path):
    """A run that is saved, or cut anywhere, finds its gates again from the state."""
    start = RELU.random_start(0.7, rng=4)
    whole = cf.integrate(RELU, start, t_end=300.0, rtol=1e-7)
    assert np.all(np.diff(whole.objective) <= 0.0) and len(whole._path.segments) > 5
    times = np.geomspace(0.01, 299.0, 200)
    whole.save(tmp_path / "run.npz")
    np.testing.assert_array_equal(cf.load(tmp_path / "run.npz").at(t=times).y, whole.at(t=times).y)
    for cut in (3.0, 15.0, 120.0):
        again = cf.resume(cf.integrate(RELU, start, t_end=cut, rtol=1e-7), t_end=300.0)
        np.testing.assert_array_equal(again.at(t=times).y, whole.at(t=times).y)


def test_units_that_are_off_stay_off_and_decay():
    factors = RELU.lift(RELU.random_start(0.7, rng=2))
    start, off = RELU.project(*factors[:3], -np.abs(factors[3]))
    assert off < 1e-12
    run = cf.integrate(RELU, start, t_eval=[1.0, 100.0], rtol=1e-10)
    expected = RELU.origin(RELU.start(start)) * np.exp(-0.004 * np.array([1.0, 100.0]))[:, None]
    np.testing.assert_allclose(run.y, expected, rtol=1e-8, atol=1e-14)


def test_start_with_inputs_that_are_zero():
    """Where a layer is 0 all its inputs are: they are shut, but those that then rise."""
    factors = RELU.lift(RELU.random_start(0.7, rng=1))
    start, _ = RELU.project(factors[0], 0.0 * factors[1], *factors[2:])
    run = cf.integrate(RELU, start, t_end=300.0, rtol=1e-8)
    assert run.success and np.all(np.diff(run.objective) <= 0.0)


@pytest.mark.parametrize(
    ("symmetry", "options"),
    [
        (cf.trivial(4), {"depth": 3, "weight_decay": (0.01, 0.02, 0.005)}),
        (cf.trivial(4), {"depth": 3, "frozen": ("W",)}),
        (cf.direct_sum(cf.complete(4), cf.complete(3)), {"depth": 4, "samples": (5, 1), "bias": True}),
        (cf.cyclic(5), {"depth": 2}),
    ],
)
def test_other_symmetries_and_losses(symmetry, options):
    """The objective falls to the end; with cross-entropy too, decays of their own, frozen layers, samples and bias."""
    flow = cf.SpectralFlow(symmetry, activation="relu", **options)
    for seed in range(4):
        run = cf.integrate(flow, flow.random_start(0.8, rng=seed), t_end=100.0, rtol=1e-8)
        assert run.success and np.all(np.diff(run.objective) <= 1e-14)


def test_solve_leaves_out_what_does_not_matter():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((5, 3))
    matrix = root @ root.T * rng.uniform(0.5, 2.0, 5)
    right = root @ rng.standard_normal(3)
    x = right.copy()
    gates._solve(matrix.ravel().copy(), x, 5)
    np.testing.assert_allclose(matrix @ x, right, atol=1e-12)
    assert np.count_nonzero(x) == 3
