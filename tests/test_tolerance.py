"""The tolerance holds at the knots of a run and between them, against references of other kinds."""

import itertools

import numpy as np
import pytest
from reference import balanced_flow

import ceflow as cf


def between(run, n: int = 5) -> np.ndarray:
    """Log times at the knots of a run, from the second on, and at n - 1 places between each two."""
    knots = run.log_t[1:]
    return np.unique(np.concatenate([np.linspace(low, high, n + 1) for low, high in itertools.pairwise(knots)]))


def worst(run, exact, log_t) -> float:
    """Largest relative error of a singular value at the log times, in tolerances."""
    return float(np.abs(run.at(log_t=log_t).singular_values / exact - 1.0).max() / run.rtol)


def test_nearly_equal_modes_at_a_loose_tolerance():
    """The last step is long, dense output is all there is at the end, and the modes are merged: it must be right."""
    flow = cf.SpectralFlow(cf.hadamard(4))
    run = cf.integrate(flow, [8.7e-4, 7.5e-4, 7.6e-4], 1e6, rtol=1e-6)
    np.testing.assert_allclose(run.singular_values[-1], [17.31544870, 17.28324438, 17.28670007], rtol=3e-6)


@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-7])
def test_many_nearly_equal_starts_at_loose_tolerances(rtol):
    rng = np.random.default_rng(1)
    for classes in (4, 8, 16):
        flow = cf.SpectralFlow(cf.hadamard(classes))
        for _ in range(10):
            start = 10 ** rng.uniform(-4, -1) * rng.uniform(0.7, 1.0, classes - 1)
            t_end = 10 ** rng.uniform(2, 10)
            run, best = (cf.integrate(flow, start, t_end, rtol=r) for r in (rtol, 1e-12))
            log_t = between(run)
            assert worst(run, best.at(log_t=log_t).singular_values, log_t) < 3.0


@pytest.fixture(scope="module")
def two_merged_modes():
    """Depth 4: two modes merge and a third lags behind, see `reference.balanced_flow`."""
    scheme, start = cf.hadamard(4), np.array([0.411, 2.178, 1.105])
    gaps = 1.0 - scheme.eigenmatrix[1:, 1:]
    return cf.SpectralFlow(scheme, depth=4, reduction="sum"), start, balanced_flow(gaps, start, 4, 100.0)


@pytest.mark.parametrize("rtol", [1e-6, 1e-8, 1e-10, 1e-12])
def test_merged_modes_of_a_deep_network_at_knots_and_between(two_merged_modes, rtol):
    flow, start, at = two_merged_modes
    run = cf.integrate(flow, start, log_t_end=60.0, rtol=rtol)
    log_t = between(run)
    assert worst(run, np.array([at(x) for x in log_t]), log_t) < 3.0
