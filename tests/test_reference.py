"""The exact solution against other methods, and the true errors of ceflow against the exact solution."""

import math
import sys

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import ceflow as cf

mpmath = pytest.importorskip("mpmath")
from ceflow import reference  # noqa: E402
from ceflow.reference._precision import context  # noqa: E402

LN10 = math.log(10.0)


def small(scheme, seed=0, scale=1e-3):
    return scale * np.random.default_rng(seed).uniform(0.1, 1.0, scheme.modes)


# -- the reference itself ----------------------------------------------------------------------------------------------


def matrix_force(scheme, loss):
    """s -> -(dL/ds_i) / m_i = tr(E_i G) / m_i, from the logit matrix itself: no margins, no residuals."""
    basis, columns, K = scheme.basis(), scheme.columns, scheme.classes
    eps, f = (loss.parameters.get(name, 0.0) for name in ("smoothing", "focusing"))

    def force(s):
        Z = (basis * np.append(0.0, s)[columns]) @ basis.T
        P = np.exp(Z - Z.max(axis=0))
        P /= P.sum(axis=0)
        if loss.name == "squared_error":
            G = np.eye(K) - 1.0 / K - Z
        elif not f:
            G = (1.0 - eps) * np.eye(K) + eps / K - P
        else:  # focal, (1 - p_0)^f (-log p_0), by its slope in p_0 and dp_0/dz = p_0 (onehot - p)
            p0 = np.diag(P)
            q = 1.0 - p0
            slope = f * q ** (f - 1.0) * np.log(p0) - q**f / p0
            G = -slope * p0 * (np.eye(K) - P)
        return np.bincount(columns, np.einsum("xi,xy,yi->i", basis, G, basis))[1:] / scheme.multiplicities[1:]

    return force


def layer_equations(force, start, t, decay, unit):
    """Layers (n, L, D) at times t by scipy."""
    depth, modes = start.shape

    def velocity(_, u):
        layers = u.reshape(depth, modes)
        others = np.array([np.delete(layers, k, axis=0).prod(axis=0) for k in range(depth)])
        return (others * force(layers.prod(axis=0)) * unit - decay * layers).ravel()

    run = solve_ivp(velocity, (0.0, t[-1]), start.ravel(), method="DOP853", rtol=3e-13, atol=1e-15, t_eval=t)
    assert run.success
    return run.y.T.reshape(len(t), depth, modes)


LOSSES = [cf.losses.CrossEntropy(), cf.losses.SquaredError(), cf.losses.label_smoothing(0.2), cf.losses.focal(2.5)]


@pytest.mark.parametrize(("depth", "decay"), [(2, 0.0), (2, 0.03), (3, 0.03), (4, 0.0)])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_losses_depths_and_decay_against_the_matrix_equations(loss, depth, decay):
    scheme = cf.hamming(2, 3) if depth == 3 else cf.cyclic(5)
    start = np.random.default_rng(depth).uniform(-0.3, 0.9, (depth, scheme.modes))
    t = np.array([1e-3, 0.1, 1.0, 5.0, 20.0])
    reduction, unit = ("mean", 1.0 / scheme.classes) if decay else ("sum", 1.0)
    flow = cf.SpectralFlow(scheme, loss=loss, depth=depth, weight_decay=decay, reduction=reduction)
    exact = reference.solve(flow, start, np.log(t), digits=16)
    force = matrix_force(scheme, loss)
    found = layer_equations(force, start, t, decay, unit)
    np.testing.assert_allclose(exact.layers.astype(float), found, rtol=0, atol=1e-11 * np.abs(found).max())
    product = exact.layers.prod(axis=1)
    assert max(abs(float(x)) for x in (product - exact.singular_values).ravel()) < 1e-16


@pytest.mark.parametrize("depth", [2.5, 3.0])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_depths_between_the_integers(loss, depth):
    """ds/dt = L s^(2 - 2/L) lambda - L mu s; a negative s stays negative, and approaches 0 or falls."""
    scheme, t, decay = cf.cyclic(5), np.array([0.1, 1.0, 10.0]), 0.02
    flow = cf.SpectralFlow(scheme, loss=loss, depth=depth, weight_decay=decay, reduction="sum")
    s0, force = np.array([0.5, -0.2]), matrix_force(scheme, loss)
    found = reference.solve(flow, s0, np.log(t), digits=16)

    def velocity(_, s):
        return depth * (np.abs(s) ** (2.0 - 2.0 / depth) * force(s) - decay * s)

    run = solve_ivp(velocity, (0.0, 10.0), s0, method="DOP853", rtol=1e-12, atol=1e-15, t_eval=t)
    np.testing.assert_allclose(found.singular_values.astype(float), run.y.T, rtol=1e-9)


def test_the_collapsed_ray_to_1e300_by_the_exponential_integral():
    ctx = context(60)
    for K, s0 in ((7, 1e-3), (2, 0.5)):
        flow = cf.SpectralFlow(cf.complete(K))
        log_t = LN10 * np.array([-3.0, 0.0, 1.0, 10.0, 300.0])
        solution = reference.solve(flow, np.array([s0]), log_t, digits=25)
        for time, (s,) in zip(log_t, solution.singular_values, strict=True):
            first = ctx.mpf(s0)
            t = (ctx.ei(s) - ctx.ei(first) + (K - 1) * ctx.log(s / first)) / 2  # "mean"
            assert abs(ctx.log(t) - ctx.mpf(float(time))) < ctx.mpf(10) ** -23


@pytest.mark.parametrize(
    ("scheme", "options"),
    [
        (cf.hadamard(4), {}),
        (cf.cyclic(5), {"loss": "focal", "depth": 3}),
        (cf.johnson(5, 2), {"loss": "label_smoothing"}),
        (cf.hamming(2, 3), {"weight_decay": 0.01}),
    ],
    ids=str,
)
def test_more_digits_confirm_the_digits(scheme, options):
    """Other orders and other steps, to t = 1e300; decay and label smoothing come to rest on the way."""
    flow, log_t = cf.SpectralFlow(scheme, **options), LN10 * np.array([-3.0, 0.5, 2.0, 5.0, 30.0, 300.0])
    s0 = small(scheme, scale=0.1)
    rough, fine = (reference.solve(flow, s0, log_t, digits=digits).singular_values for digits in (10, 16))
    assert np.abs((rough / fine - 1).astype(float)).max() < 1e-10


def test_at_rest_the_equations_vanish():
    """Where decay or smoothing end a run, -dL/ds balances the decay: checked by the logit matrix."""
    scheme, eps = cf.cyclic(5), 0.1

    def end(s0, log_t, **options):
        flow = cf.SpectralFlow(scheme, reduction="sum", **options)
        return reference.solve(flow, np.array(s0), [log_t], digits=16).singular_values[0].astype(float)

    s = end([0.5, 1.0], 400.0, loss="label_smoothing")
    np.testing.assert_allclose(s, math.log((1.0 - eps + eps / 5) / (eps / 5)), rtol=1e-13)  # p_j = eps / K: collapse
    s = end([0.5, 1.0], 400.0, weight_decay=0.01)
    np.testing.assert_allclose(matrix_force(scheme, cf.losses.CrossEntropy())(s), 0.01, rtol=1e-10)
    np.testing.assert_array_equal(end([0.5, 2.0], 690.0, loss="squared_error"), 1.0)


def test_special_starts():
    flow = cf.SpectralFlow(cf.hadamard(4), reduction="sum")
    at_rest = reference.solve(flow, np.zeros(3), [-math.inf, 0.0, 690.0])
    assert at_rest.steps <= 1 and not at_rest.singular_values.any()
    fading = reference.solve(flow, np.array([0.1, -0.2, 0.0]), [-math.inf, 0.0, 20.0], digits=16)
    s = fading.singular_values.astype(float)
    np.testing.assert_array_equal(s[0], [0.1, -0.2, 0.0])
    assert -0.03 < s[1, 1] < 0.0 == s[2, 2] and s[2, 1] == 0.0 and s[2, 0] > 30.0
    # layers that are opposite but for the last bit: what is left of their sum takes over, and all of it counts
    layers = np.array([[0.3, 0.5, 0.2], [-np.nextafter(0.3, 1.0), 0.5, 0.2]])
    rough, fine = (reference.solve(flow, layers, [3.0, 5.0], digits=digits).singular_values for digits in (12, 18))
    assert np.abs((rough / fine - 1).astype(float)).max() < 1e-12


def test_forces_that_differ_by_more_than_all_digits():
    flow, start = cf.SpectralFlow(cf.hadamard(4), depth=3), np.array([0.1, -0.2, -0.3])
    s = reference.solve(flow, start, [100.0], digits=12).singular_values.astype(float)
    assert s[0, 0] == pytest.approx(213.70486722060934, rel=1e-12)  # found with 80 digits


def test_gaps_come_from_relations_alone():
    heptagon = cf.from_relations(cf.cyclic(7).relations())
    for scheme in (cf.hadamard(8), cf.cyclic(9), cf.johnson(7, 3), cf.hamming(3, 3), heptagon):
        gaps = np.array(reference.exact_gaps(scheme), dtype=object)
        np.testing.assert_allclose(gaps.astype(float), scheme.gaps, rtol=1e-14, atol=1e-15)
    ctx = context(50)
    gaps = reference.exact_gaps(cf.cyclic(5), ctx)
    assert abs(gaps[0][0] - (5 - ctx.sqrt(5)) / 4) < ctx.mpf(10) ** -48


def test_an_eigenmatrix_of_other_relations(monkeypatch):
    scheme = cf.cyclic(5)
    monkeypatch.setattr(type(scheme), "eigenmatrix", cf.hamming(2, 3).eigenmatrix)
    with pytest.raises(ValueError, match=r"cyclic\(5\) has an eigenmatrix that does not belong to its relations"):
        reference.exact_gaps(scheme)


def test_without_mpmath(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpmath.ctx_mp", None)
    with pytest.raises(ImportError, match=r"ceflow\.reference needs mpmath"):
        reference.solve(cf.SpectralFlow(cf.hadamard(4)), np.ones(3), [0.0])


def test_bad_input():
    flow = cf.SpectralFlow(cf.hadamard(4))
    for arguments, options, error, match in (
        (("flow", np.ones(3), [0.0]), {}, TypeError, "flow must be"),
        ((flow, np.ones(4), [0.0]), {}, ValueError, "start must have shape"),
        ((flow, np.ones((3, 3)), [0.0]), {}, ValueError, "start must have shape"),
        ((flow, np.array([1.0, np.nan, 1.0]), [0.0]), {}, ValueError, "finite"),
        ((flow, np.ones(3), [1.0, 0.0]), {}, ValueError, "increasing"),
        ((flow, np.ones(3), [np.nan]), {}, ValueError, "log_t"),
        ((flow, np.ones(3), [np.inf]), {}, ValueError, "log_t"),
        ((flow, np.ones(3), [0.0]), {"digits": 5}, ValueError, "digits"),
        ((cf.SpectralFlow(cf.hadamard(4), depth=101), np.ones(3), [0.0]), {}, ValueError, "depth of at most 100"),
        ((cf.SpectralFlow(cf.hadamard(4), depth=2.5), np.ones((2, 3)), [0.0]), {}, ValueError, "start must have shape"),
        ((flow, np.ones(3), [700.0]), {"max_steps": 3}, RuntimeError, "stopped after 3"),
        ((cf.SpectralFlow(cf.hadamard(2048)), np.ones(2047), [0.0]), {}, ValueError, "at most 1024"),
    ):
        with pytest.raises(error, match=match):
            reference.solve(*arguments, **options)


# -- the true errors of ceflow -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [cf.cyclic(5), cf.complete(7), cf.hadamard(4)], ids=str)
def test_true_errors_are_below_10_tolerances(scheme):
    """The part of ``python -m benchmarks accuracy`` that is quick."""
    flow, s0, log_t = cf.SpectralFlow(scheme), small(scheme), LN10 * np.linspace(-3.0, 300.0, 61)
    exact = reference.solve(flow, s0, log_t, digits=16).singular_values
    for rtol in (1e-6, 1e-9, 1e-12):
        found = cf.integrate(flow, s0, log_t_eval=log_t, rtol=rtol)
        error = np.abs((found.singular_values / exact - 1).astype(float))
        assert error.max() < 10 * rtol


@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("depth", [2, 2.5, 3])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_true_errors_of_every_loss_depth_and_decay(loss, depth, decay):
    scheme = cf.cyclic(5)
    flow, log_t = cf.SpectralFlow(scheme, loss=loss, depth=depth, weight_decay=decay), np.linspace(-3.0, 6.0, 19)
    start = np.array([0.4, 0.2]) if depth == 2.5 else np.random.default_rng(0).uniform(0.3, 0.9, (depth, 2))
    exact = reference.solve(flow, start, log_t, digits=12).singular_values
    for rtol in (1e-6, 1e-9):
        found = cf.integrate(flow, start, log_t_eval=log_t, rtol=rtol)
        error = np.abs(((found.singular_values - exact) / np.maximum(np.abs(exact), 1e-100)).astype(float))
        assert error.max() < 20 * rtol  # measured: 5.3
