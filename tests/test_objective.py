"""The options of an objective on the full flow, held against losses and simulations that are written down here."""

import json
import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import ceflow as cf
from ceflow.flow import Objective
from ceflow.losses import focal, label_smoothing

K, D = 3, 4
LABELS = (0, 1, 1, 2, 0, 0)
RNG = np.random.default_rng(11)
ROOT = RNG.standard_normal((6, 6))
THETA = ROOT @ ROOT.T / 6.0
Y = RNG.standard_normal((2, 5))

CASES = {
    "samples": dict(samples=(100, 10, 1)),
    "samples, sum": dict(samples=7, reduction="sum", weights=(0.5, 0.0, 2.0)),
    "labels": dict(labels=LABELS, weights=(1.0, 0.5, 0.0, 2.0, 1.0, 1.0)),
    "adjusted": dict(samples=(9, 2, 1), logit_adjustment=(1.0, 0.0, -2.0), logit_scale=(1.0, 0.7, 1.6)),
    "decay of each layer": dict(weight_decay=(0.03, 0.2), samples=(3, 1, 1), reduction="sum"),
    "bias": dict(bias=True, bias_decay=0.3, weight_decay=0.1, samples=(3, 1, 2)),
    "smoothing": dict(loss=label_smoothing(0.2), labels=LABELS, bias=True),
    "focal": dict(loss=focal(1.5), labels=LABELS, weights=(1.0, 3.0, 0.0, 1.0, 1.0, 1.0)),
    "squared": dict(loss="squared_error", samples=(2, 1, 4)),
    "one-hot": dict(loss="squared_error", targets="one-hot", labels=LABELS, bias=True),
    "regression": dict(loss="squared_error", targets=Y, weight_decay=(0.1, 0.2), bias=True),
    "kernel": dict(labels=LABELS, kernel=THETA, weight_decay=(0.02, 0.05)),
    "frozen W": dict(frozen=("W",), weight_decay=0.1, bias=True),
    "frozen H, b": dict(frozen=("H", "b"), bias=True, samples=(2, 1, 1)),
    "softplus": dict(activation="softplus:3", samples=(5, 1, 1), bias=True),
    "relu": dict(activation="relu", labels=LABELS),
    "deep": dict(depth=3, samples=(5, 1, 2), weight_decay=(0.1, 0.0, 0.2), bias=True, frozen=(1,)),
    "deep softplus": dict(depth=4, activation="softplus:5", labels=LABELS, kernel=THETA, weight_decay=0.05),
    "deep relu, regression": dict(depth=3, activation="relu", loss="squared_error", targets=Y, samples=(1, 2, 1, 3, 1)),
}


def start_of(options, scale=0.7, rng=5, batch=()):
    rng = np.random.default_rng(rng)
    rows, columns = K, len(LABELS) if "labels" in options else K
    if not isinstance(options.get("targets", ""), str):
        rows, columns = options["targets"].shape
    widths = [rows, *range(D, D + options.get("depth", 2) - 1), columns]
    start = [scale * rng.standard_normal((*batch, *pair)) for pair in zip(widths[:-1], widths[1:], strict=True)]
    return (*start, scale * rng.standard_normal((*batch, rows))) if options.get("bias") else tuple(start)


def by_autograd(options, start):
    """Loss, objective and velocities of one start, sample by sample, by automatic differentiation."""
    torch = pytest.importorskip("torch")
    depth, kernel = options.get("depth", 2), options.get("kernel")
    parts = [torch.tensor(part, requires_grad=True) for part in start]
    n = torch.tensor(np.broadcast_to(options.get("samples", 1), start[depth - 1].shape[-1]).copy())
    weights = torch.tensor(np.broadcast_to(options.get("weights", 1.0), len(n)).copy()).repeat_interleave(n)
    weights = weights / float(n.sum()) if options.get("reduction", "mean") == "mean" else weights
    H = parts[depth - 1].detach().repeat_interleave(n, dim=1).requires_grad_()  # every sample by itself
    x, name = H, options.get("activation", "linear")
    for factor in parts[depth - 2 :: -1]:
        if name != "linear":
            x = torch.relu(x) if name == "relu" else torch.nn.functional.softplus(x, float(name[9:]), threshold=300)
        x = factor @ x
    x = x + parts[depth][:, None] if options.get("bias") else x
    labels = torch.tensor(options.get("labels", range(len(n)))).repeat_interleave(n)
    loss, targets = options.get("loss", "cross_entropy"), options.get("targets", "centred")
    if loss == "squared_error":
        if isinstance(targets, str):
            wanted = torch.eye(len(x), dtype=x.dtype)[:, labels] - (1.0 / len(x) if targets == "centred" else 0.0)
        else:
            wanted = torch.tensor(targets).repeat_interleave(n, dim=1)
        each = 0.5 * ((x - wanted) ** 2).sum(0)
    else:
        scale, shift = (
            torch.tensor(np.broadcast_to(options.get(key, usual), len(x)).copy())[:, None]
            for key, usual in (("logit_scale", 1.0), ("logit_adjustment", 0.0))
        )
        smoothing = getattr(loss, "smoothing", 0.0)
        each = torch.nn.functional.cross_entropy((scale * x + shift).T, labels, reduction="none", label_smoothing=smoothing)
        each = (1.0 - torch.exp(-each)) ** loss.focusing * each if hasattr(loss, "focusing") else each
    fit = (weights * each).sum()
    fit.backward()
    decays = list(np.broadcast_to(options.get("weight_decay", 0.0), depth)) + [options.get("bias_decay", 0.0)]
    gradients = [part.grad for part in parts]
    gradients[depth - 1] = torch.stack([g.mean(dim=1) for g in H.grad.split(n.tolist(), dim=1)], dim=1)
    frozen = {{"W": 0, "H": depth - 1, "b": depth}.get(item, item) for item in options.get("frozen", ())}
    velocities, penalty = [], 0.0
    for i, (part, gradient, decay) in enumerate(zip(start, gradients, decays, strict=False)):
        push = -gradient.numpy()
        push = push @ kernel if kernel is not None and i == depth - 1 else push
        velocities.append(0.0 * part if i in frozen else push - decay * part)
        square = (part**2 * n.numpy()).sum() if i == depth - 1 else (part**2).sum()
        if kernel is not None and i == depth - 1:
            square = np.trace(part @ np.linalg.inv(kernel) @ part.T)
        penalty += 0.0 if i in frozen else 0.5 * decay * square
    fit = fit.item()
    return fit, fit + penalty, velocities


def velocity(flow, start):
    """dy/dt of the flow's own field, in its parts."""
    checked = flow.start(start)
    field = flow._field(checked)
    y, dy = (flow.arrays.asarray(values) for values in (flow.origin(checked), np.zeros(field.size)))
    phi, _ = field.rates(y, dy)
    dy = np.asarray(dy) * math.exp(-float(phi))
    return [part.reshape(other.shape) for part, other in zip(np.split(dy, field.ends[:-1]), checked, strict=True)]


@pytest.mark.parametrize("name", CASES)
def test_velocity_and_objective_are_those_of_autograd(name):
    options = CASES[name]
    start, flow = start_of(options), cf.MatrixFlow(**options)
    fit, objective, exact = by_autograd(options, start)
    size = max(np.abs(part).max() for part in exact)
    for mine, other in zip(velocity(flow, start), exact, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-13 * size)
    run = cf.integrate(flow, start, 1e-3)
    assert run.loss[0] == pytest.approx(fit, rel=1e-12) and run.objective[0] == pytest.approx(objective, rel=1e-12)


@pytest.mark.parametrize("name", [name for name in CASES if "relu" not in name])
def test_runs_are_those_of_scipy(name):
    options = CASES[name]
    start, flow = start_of(options), cf.MatrixFlow(**options)
    shapes, ends = [part.shape for part in start], np.cumsum([part.size for part in start])

    def rhs(_, y):
        parts = [part.reshape(shape) for part, shape in zip(np.split(y, ends[:-1]), shapes, strict=True)]
        return np.concatenate([part.ravel() for part in plain_velocity(options, parts)])

    y0 = np.concatenate([part.ravel() for part in start])
    t = np.array([0.5, 20.0])
    exact = solve_ivp(rhs, (0, t[-1]), y0, method="DOP853", rtol=1e-12, atol=1e-13, t_eval=t).y.T
    run = cf.integrate(flow, start, t_eval=t, rtol=1e-10)
    assert run.success
    assert np.linalg.norm(run.y - exact, axis=1).max() < 1e-8 * np.linalg.norm(exact, axis=1).max()
    whole = cf.integrate(flow, start, 20.0)
    assert np.diff(whole.objective).max() <= 1e-12


def plain_velocity(options, parts):
    """The equations as they stand on paper, in plain NumPy."""
    depth, kernel = options.get("depth", 2), options.get("kernel")
    factors, name = parts[:depth], options.get("activation", "linear")
    beta = float(name[9:]) if name != "linear" else 1.0
    inputs, slopes, x = [], [], factors[-1]
    for factor in factors[-2::-1]:
        slopes.insert(0, 1.0 if name == "linear" else 1.0 / (1.0 + np.exp(-beta * x)))
        x = x if name == "linear" else np.logaddexp(0.0, beta * x) / beta
        inputs.insert(0, x)
        x = factor @ x
    x = x + parts[depth][:, None] if options.get("bias") else x
    n = np.broadcast_to(options.get("samples", 1), x.shape[1]).astype(float)
    o = np.broadcast_to(options.get("weights", 1.0), x.shape[1]) / (n.sum() if options.get("reduction") != "sum" else 1.0)
    labels, loss = np.array(options.get("labels", range(x.shape[1]))), options.get("loss", "cross_entropy")
    targets = options.get("targets", "centred")
    if isinstance(targets, str):
        targets = np.eye(len(x))[:, labels] - (1.0 / len(x) if targets == "centred" else 0.0)
    scale, shift = (
        np.broadcast_to(options.get(key, usual), len(x))[:, None]
        for key, usual in (("logit_scale", 1.0), ("logit_adjustment", 0.0))
    )
    if loss == "squared_error":
        G = targets - x
    else:
        P = np.exp(scale * x + shift)
        P /= P.sum(axis=0)
        one_hot, e = np.eye(len(x))[:, labels], getattr(loss, "smoothing", 0.0)
        G = scale * ((1.0 - e) * one_hot + e / len(x) - P)
        if hasattr(loss, "focusing"):
            f, p = loss.focusing, P[labels, np.arange(len(labels))]
            G = G * ((1.0 - p) ** f - f * (1.0 - p) ** (f - 1.0) * p * np.log(p))
    velocities, back = [], G * o
    for factor, seen, slope in zip(factors, inputs, slopes, strict=False):
        velocities.append((back * n) @ seen.T)
        back = slope * (factor.T @ back)
    velocities.append(back if kernel is None else back @ kernel)
    decays = list(np.broadcast_to(options.get("weight_decay", 0.0), depth)) + [options.get("bias_decay", 0.0)]
    velocities += [(G * o * n).sum(axis=1)] if options.get("bias") else []
    frozen = {{"W": 0, "H": depth - 1, "b": depth}.get(item, item) for item in options.get("frozen", ())}
    return [
        0.0 * part if i in frozen else push - decay * part
        for i, (part, push, decay) in enumerate(zip(parts, velocities, decays, strict=False))
    ]
