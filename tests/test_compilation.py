"""Two lives of kernels: the same steps and the same numbers, and when which of them is led."""


import numpy as np
import pytest

import ceflow as cf

RANDOM = np.random.default_rng(3)
PAIR = cf.direct_sum(3, 2)


def blocks(flow):
    return flow.random_start(0.3, rng=1)


def modes(scale=1e-2):
    return lambda flow: scale * np.random.default_rng(0).uniform(0.3, 1.0, flow.scheme.modes)


def layers(flow):
    return np.random.default_rng(0).uniform(0.2, 0.6, (int(flow.depth), flow.scheme.modes))


CASES = {
    "hadamard": (cf.SpectralFlow(cf.hadamard(16)), modes(), 1e12),
    "two classes": (cf.SpectralFlow(cf.hadamard(2)), modes(), 1e6),
    "cyclic": (cf.SpectralFlow(cf.cyclic(9)), modes(), 1e6),
    "complete": (cf.SpectralFlow(cf.complete(5)), modes(), 1e6),
    "hamming": (cf.SpectralFlow(cf.hamming(3, 2)), modes(), 1e6),
    "johnson": (cf.SpectralFlow(cf.johnson(5, 2)), modes(), 1e6),
    "unbalanced": (cf.SpectralFlow(cf.hadamard(4)), layers, 1e6),
    "a mode that dies": (cf.SpectralFlow(cf.hadamard(4)), lambda flow: np.array([0.1, 0.0, -0.2]), 1e6),
    "decay": (cf.SpectralFlow(cf.hadamard(4), weight_decay=1e-3), modes(0.3), 1e6),
    "decay, unbalanced": (cf.SpectralFlow(cf.hadamard(4), weight_decay=1e-2), layers, 1e3),
    "deep": (cf.SpectralFlow(cf.hadamard(8), depth=3), modes(0.3), 1e6),
    "depth between": (cf.SpectralFlow(cf.cyclic(5), depth=2.5), modes(0.3), 1e6),
    "deep, unbalanced": (cf.SpectralFlow(cf.hadamard(4), depth=4), layers, 1e4),
    "sum": (cf.SpectralFlow(cf.hadamard(4), reduction="sum"), modes(), 1e6),
    **{
        loss: (cf.SpectralFlow(cf.hadamard(4), loss=loss), modes(0.3), 1e4)
        for loss in ("squared_error", "label_smoothing", "focal")
    },
    "groups": (cf.SpectralFlow(PAIR, samples=(10, 1), bias=True), blocks, 1e4),
    "groups, deep": (cf.SpectralFlow(PAIR, depth=3, weights=(1.0, 2.0), logit_scale=(1.0, 0.5)), blocks, 1e3),
    "groups, decay": (cf.SpectralFlow(PAIR, weight_decay=(1e-2, 2e-2), logit_adjustment=(0.5, 0.0)), blocks, 1e2),
    "groups, frozen": (cf.SpectralFlow(PAIR, frozen=("W",)), blocks, 1e3),
    "groups, targets": (cf.SpectralFlow(PAIR, loss="squared_error", targets="one-hot"), blocks, 1e2),
    "groups, softplus": (cf.SpectralFlow(PAIR, depth=3, activation="softplus:2"), blocks, 1e2),
    "groups, relu": (cf.SpectralFlow(PAIR, depth=3, activation="relu"), blocks, 1e2),
    "atol": (cf.SpectralFlow(cf.hadamard(4)), modes(), 1e6),
}  # fmt: skip


def values(run):
    return run.singular_values if run.flow.kind == "spectral" else run.flow.logit_blocks(run.start, run.y)


@pytest.mark.parametrize("name", CASES)
def test_both_lives_take_the_same_steps_to_the_same_numbers(name):
    flow, start, end = CASES[name]
    start, times = start(flow), np.geomspace(1e-2, end, 7)
    options = {"atol": 1e-8} if name == "atol" else {}
    runs = [cf.integrate(flow, start, t_eval=times, compiled=compiled, **options) for compiled in (True, False)]
    assert [run.compiled for run in runs] == [True, False]
    assert runs[0].success and len({(run.nsteps, run.nrejected, run.nfev, run.outcome) for run in runs}) == 1
    one, other = map(values, runs)
    np.testing.assert_allclose(other, one, rtol=1e-13, atol=1e-13 * np.abs(one).max())
