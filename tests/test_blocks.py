"""The reduced flow under any symmetry, against full matrices, closed forms, and numbers from elsewhere."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ceflow as cf
from ceflow.flow import block_motion
from ceflow.network.layers import Layers

STEP = cf.direct_sum(5, 5)
SCHEMES = cf.direct_sum(cf.hadamard(8), cf.cyclic(5))
THREE = cf.direct_sum(cf.hadamard(4), 3, 1)
CASES = {
    "100 to 1, mean": (STEP, {"samples": (100, 1)}),
    "10 to 1, sum": (STEP, {"samples": (10, 1), "reduction": "sum"}),
    "one decay": (STEP, {"samples": (10, 1), "weight_decay": 1e-3}),
    "two decays": (STEP, {"samples": (100, 1), "weight_decay": (1e-3, 2e-4)}),
    "logit adjustment": (STEP, {"samples": (100, 1), "logit_adjustment": (math.log(100), 0.0)}),
    "VS-loss, bias": (
        STEP,
        {"samples": (10, 1), "logit_adjustment": (0.5, -0.2), "logit_scale": (1.0, 0.7), "weight_decay": 1e-3,
         "bias": True, "bias_decay": 1e-2},
    ),
    "weights": (STEP, {"samples": (10, 1), "weights": (0.1, 1.0)}),
    "a group that is not trained": (STEP, {"weights": (1.0, 0.0), "weight_decay": 1e-2}),
    "schemes": (SCHEMES, {"samples": (3, 1), "weight_decay": (1e-3, 1e-3)}),
    "three groups": (THREE, {"samples": (4, 2, 1), "bias": True}),
    "three groups, focal": (THREE, {"samples": (4, 2, 1), "loss": "focal"}),
    "smoothing": (THREE, {"loss": "label_smoothing", "samples": (4, 2, 1)}),
    "squared error": (THREE, {"loss": "squared_error", "targets": "one-hot", "bias": True, "weight_decay": 1e-3}),
    "frozen classifier": (THREE, {"frozen": ("W",), "samples": (4, 2, 1)}),
    "one scheme with options": (cf.hadamard(8), {"samples": 3, "weight_decay": (1e-3, 1e-2)}),
    "directed circulants": (cf.orbitals([[1, 2, 3, 4, 0]]), {"weight_decay": 1e-3}),
}  # fmt: skip


def per_class(symmetry, options):
    """The options of the full flow."""
    return {
        name: tuple(np.array(value)[symmetry.fibre_of].tolist())
        if name in ("samples", "weights", "logit_adjustment", "logit_scale") and isinstance(value, tuple)
        else value
        for name, value in options.items()
    }


def apart(reduced, full):
    """Largest relative distance of logits, at the rows of the full run."""
    Z, mine = full.logits, reduced.at(log_t=full.log_t).logits
    return (np.linalg.norm(mine - Z, axis=(1, 2)) / np.linalg.norm(Z, axis=(1, 2))).max()


@pytest.mark.parametrize("name", CASES)
def test_reduced_against_full(name):
    symmetry, options = CASES[name]
    flow = cf.SpectralFlow(symmetry, **options)
    start = flow.random_start(0.3, rng=1)
    times = np.logspace(-1, 6, 15)
    reduced = cf.integrate(flow, start, t_end=times[-1], rtol=1e-10)
    full = cf.integrate(cf.MatrixFlow(**per_class(symmetry, options)), flow.lift(start), t_eval=times, rtol=1e-10)
    assert reduced.success and full.success
    assert apart(reduced, full) < 1e-8
    mine = reduced.at(log_t=full.log_t)
    np.testing.assert_allclose(mine.objective, full.objective, rtol=1e-8, atol=1e-15)
    np.testing.assert_allclose(mine.margin, full.margin, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(mine.log_accuracy_gap, full.log_accuracy_gap, rtol=0, atol=1e-7)
    if flow.loss.name != "squared_error":  # whose loss falls to rounding
        np.testing.assert_allclose(mine.log_loss, full.log_loss, rtol=0, atol=1e-7)
    layers, off = flow.project(*(part[-1] for part in full.factors), *((full.bias[-1],) if flow.objective.bias else ()))
    assert off < 1e-8
    np.testing.assert_allclose(flow.lift(layers)[0] @ flow.lift(layers)[1], full.factors[0][-1] @ full.factors[1][-1],
                               atol=1e-8 * np.abs(full.logits[-1]).max())  # fmt: skip


def test_three_layers_until_the_symmetric_path_is_unstable():
    """Deep layers leave the symmetric path by rounding later: here agreement at t = 100 to 1e-11."""
    flow = cf.SpectralFlow(STEP, depth=3, samples=(10, 1))
    start = flow.random_start(0.3, rng=2)
    options = per_class(STEP, {"samples": (10, 1)})
    full = cf.integrate(cf.MatrixFlow(depth=3, **options), flow.lift(start), t_eval=[1, 10, 100], rtol=1e-11)
    assert apart(cf.integrate(flow, start, t_end=100, rtol=1e-11), full) < 1e-9
    assert full.flow.depth == 3 and flow.project(*(factor[-1] for factor in full.factors))[1] < 1e-9


def test_activation_on_vertices_and_edges():
    """Four layers on subsets(5, (1, 2)), classes the edges, hidden units vertices and edges."""
    options = {
        "depth": 4, "loss": "squared_error", "targets": "one-hot", "weight_decay": 0.004, "activation": "softplus:100"
    }  # fmt: skip
    flow = cf.SpectralFlow(cf.subsets(5, (1, 2)), class_fibres=1, **options)
    start = flow.random_start(0.5, rng=3)
    reduced = cf.integrate(flow, start, t_end=200, rtol=1e-10)
    full = cf.integrate(cf.MatrixFlow(**options), flow.lift(start), t_end=200, rtol=1e-10)
    assert apart(reduced, full) < 1e-8
    np.testing.assert_allclose(reduced.at(log_t=full.log_t).objective, full.objective, rtol=1e-9)
    with pytest.raises(ValueError, match="balanced layers are made for linear"):
        flow.layers([np.eye(1), 1.0, 1.0])


@settings(max_examples=8, deadline=None)
@given(st.integers(3, 6), st.integers(0, 1000))
def test_any_permutation_group(degree, seed):
    """Reduced and full agree, and lift and project are inverse, for groups that are nothing special."""
    rng = np.random.default_rng(seed)
    symmetry = cf.orbitals([rng.permutation(degree)])
    flow = cf.SpectralFlow(symmetry, weight_decay=1e-3, bias=True)
    start = flow.random_start(0.4, rng=seed)
    back, off = flow.project(*flow.lift(start))
    assert off < 1e-12
    mine, yours = (np.matmul(*flow.lift(layers)[:2]) for layers in (start, back))
    np.testing.assert_allclose(mine, yours, atol=1e-12)
    reduced = cf.integrate(flow, start, t_end=30.0, rtol=1e-10)
    full = cf.integrate(cf.MatrixFlow(weight_decay=1e-3, bias=True), flow.lift(start), t_end=30.0, rtol=1e-10)
    assert apart(reduced, full) < 1e-8


# -- numbers from elsewhere --------------------------------------------------------------------------------------------


def step_start(flow, R, e=1e-2):
    """The seven numbers (a_A, b_A, a_B, b_B, w, y_A, y_B) of step imbalance, all of size e."""
    w, root = e * math.sqrt(R), math.sqrt(0.5)
    constants = [[[w * root], [-w * root]], [[e, -e]]]
    return flow.layers([constants, (e * math.sqrt(R), e), (e, e)])


@pytest.mark.parametrize(("R", "at_1e12", "limit"), [(100, 0.131, 0.33803), (10, None, 0.03337)])
def test_step_imbalance_approaches_seli_slowly(R, at_1e12, limit):
    """Cosine between classifiers of the minority: far from its limit at t = 1e12, near it at margins of 5e4."""
    flow = cf.SpectralFlow(STEP, samples=(R, 1), reduction="sum")
    run = cf.integrate(flow, step_start(flow, R), log_t_end=5e4, rtol=1e-9)
    assert run.success
    cosine = run.at(log_t=[math.log(1e12), 1e3, 1e4, 5e4]).classifier_cosines[:, 5, 6]
    Z = (np.eye(10) - 0.1) * np.sqrt(np.repeat([R, 1.0], 5))
    left, s, _ = np.linalg.svd(Z)
    gram = (left * s) @ left.T  # SELI: the nuclear norm's optimum
    np.testing.assert_allclose(gram[5, 6] / gram[5, 5], limit, atol=5e-6)
    if at_1e12 is not None:
        np.testing.assert_allclose(cosine[0], at_1e12, atol=5e-4)
    distance = np.abs(cosine - limit)
    assert np.all(np.diff(distance) < 0) and distance[0] > 0.03 and distance[-1] < 5e-3


def test_step_imbalance_to_1e40():
    flow = cf.SpectralFlow(STEP, samples=(100, 1))
    run = cf.integrate(flow, flow.collapsed_start(1e-3), t_end=1e40, rtol=1e-9)
    assert run.success and run.nsteps < 400
    assert abs(run.log_loss[-1] + math.log(1e40)) < 12.0
    drift = np.abs(run.conserved - run.conserved[0]).max()
    assert drift < 1e-7 * (run.flat_layers[-1] ** 2).max()


def test_a_million_classes_in_two_groups():
    """Ten numbers, whatever the number of classes."""
    flow = cf.SpectralFlow(cf.direct_sum(500_000, 500_000), samples=(100, 1))
    run = cf.integrate(flow, flow.collapsed_start(1e-3), t_end=1e12)
    assert run.success and run.y.shape[1] == 10
    assert run.margin[-1] > 20.0
    with pytest.raises(ValueError, match="entries"):
        _ = run.logits


def test_equilibrium_with_bias():
    """Margin log(1/c - K + 1), c = sqrt(n lambda_W lambda_H), of K = 4, n = 2, all decays .01."""
    flow = cf.SpectralFlow(cf.complete(4), samples=2, weight_decay=0.01, bias=True, bias_decay=0.01)
    run = cf.integrate(flow, flow.layers([0.5]), t_end=1e6, rtol=1e-12)
    c = math.sqrt(2 * 0.01 * 0.01)
    np.testing.assert_allclose(run.margin[-1], math.log(1 / c - 3), rtol=1e-9)
    np.testing.assert_allclose(run.margin[-1], 4.21524389, rtol=1e-8)
    np.testing.assert_allclose(run.objective[-1], 0.22219035374535792, rtol=1e-12)


def test_equal_samples_rescale_the_flow():
    """n samples: layers W n^(1/4), H n^(-1/4) of the flow of one sample, t = t_1 / sqrt(n) in the units of "sum"."""
    n, times = 9, np.logspace(-1, 5, 7)
    one = cf.SpectralFlow(cf.hadamard(8), reduction="sum")
    many = cf.SpectralFlow(cf.hadamard(8), samples=n, reduction="sum")
    layers = np.random.default_rng(0).uniform(0.1, 0.4, (2, 7))
    scale = np.array([[n**0.25], [n**-0.25]])
    expected = cf.integrate(one, layers, t_eval=times, rtol=1e-11)
    found = cf.integrate(many, many.layers(layers * scale), t_eval=times / 3.0, rtol=1e-11)
    np.testing.assert_allclose(found.singular_values[:, 1:], expected.singular_values, rtol=1e-9)


def test_the_plain_flow_is_a_case():
    """The general field and the flow of a scheme, from the same start."""
    scheme = cf.johnson(5, 2)
    plain = cf.SpectralFlow(scheme, loss="focal")
    general = cf.SpectralFlow(scheme, loss="focal", class_fibres=0)
    assert type(general) is not type(plain)
    s = np.array([0.2, 0.5])
    expected = cf.integrate(plain, s, t_end=1e8, rtol=1e-11)
    found = cf.integrate(general, s, t_end=1e8, rtol=1e-11)
    np.testing.assert_allclose(found.at(1e7).singular_values[0, 1:], expected.at(1e7).singular_values[0], rtol=1e-9)
    np.testing.assert_allclose(found.margins[-1], expected.margins[-1], rtol=1e-9)


# -- starts ------------------------------------------------------------------------------------------------------------


def test_balanced_starts_are_balanced():
    flow = cf.SpectralFlow(THREE, samples=(9, 4, 1), depth=3)
    start = flow.collapsed_start(0.7)
    Z = np.linalg.multi_dot(flow.lift(start))
    np.testing.assert_allclose(Z, 0.7 * (np.eye(8) - 1 / 8), atol=1e-14)
    run = cf.integrate(flow, start, t_end=1.0)
    np.testing.assert_allclose(run.conserved[0], 0.0, atol=1e-14)


def test_lift_and_project_are_inverse():
    flow = cf.SpectralFlow(THREE, bias=True, samples=(4, 2, 1))
    blocks = [[np.ones((3, 5)), np.full((5, 3), 0.2)], 1.0, (0.5, -2.0), -0.3, 0.0, 2.0]
    blocks = blocks[: len(flow.outer)]
    start = flow.layers(blocks, bias=[0.1, 0.2, 0.3])
    back, off = flow.project(*flow.lift(start, rng=5))
    assert off < 1e-13
    (W, H, b), (other_W, other_H, other_b) = flow.lift(back), flow.lift(start)  # in frames of their own
    np.testing.assert_allclose(W @ W.T, other_W @ other_W.T, atol=1e-12)
    np.testing.assert_allclose(H.T @ H, other_H.T @ other_H, atol=1e-12)
    np.testing.assert_allclose(W @ H, other_W @ other_H, atol=1e-12)
    np.testing.assert_allclose(b, other_b, rtol=1e-14)
    np.testing.assert_allclose(back.bias, [0.1, 0.2, 0.3])
    W, H, b = flow.lift(start)
    W[0, 0] += 1e-3
    assert 1e-5 < flow.project(W, H, b)[1] < 1e-2


def test_bad_starts_and_options():
    flow = cf.SpectralFlow(STEP, samples=(10, 1))
    with pytest.raises(ValueError, match="must be Layers or have 3 blocks"):
        flow.layers([1.0])
    with pytest.raises(ValueError, match="fit together"):
        flow.layers([[np.ones((2, 3)), np.ones((2, 2))], 1.0, 1.0])
    with pytest.raises(TypeError, match="must be 2 layers"):
        flow.layers([1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="numbers in its layers"):
        flow.start(Layers(np.ones(3), np.ones((3, 1), int), np.empty(0)))
    with pytest.raises(ValueError, match="at least"):
        flow.lift(flow.collapsed_start(1.0), width=3)
    for options, message in (
        ({"samples": (1, 2, 3)}, "one for each of 2 fibres"),
        ({"labels": [0] * 10}, "MatrixFlow"),
        ({"kernel": np.eye(10)}, "MatrixFlow"),
        ({"depth": 2.5}, "integer"),
        ({"class_fibres": 2}, "class_fibres"),
        ({"hidden_fibres": 0}, "activation"),
    ):
        with pytest.raises(ValueError, match=message):
            cf.SpectralFlow(STEP, **options)
    with pytest.raises(TypeError, match="symmetry must be"):
        cf.SpectralFlow(5)
    with pytest.raises(ValueError, match="constant on the relations"):
        other = cf.SpectralFlow(STEP, loss="squared_error", targets=np.arange(100.0).reshape(10, 10))
        cf.integrate(other, other.random_start(), t_end=1.0)


def test_layers_of_complex_type():
    """Directed circulants: layers that do not commute with the imaginary unit have not the symmetry."""
    flow = cf.SpectralFlow(cf.orbitals([[1, 2, 3, 4, 0]]))
    with pytest.raises(ValueError, match="imaginary units"):
        flow.layers([np.diag([1.0, 2.0]), np.eye(2)])
    assert flow.symmetry.structures.tolist() == [1, 2, 2]


def test_nothing_moves_from_zero():
    flow = cf.SpectralFlow(STEP)
    run = cf.integrate(flow, flow.layers([None, None, None]), t_end=10.0)
    assert run.success and not run.singular_values.any()


# -- runs --------------------------------------------------------------------------------------------------------------


def test_between_knots_where_the_smallest_margin_is_another_one():
    """Within the first step, which has one class of the first kind lead, then another: time is smooth all the same."""
    flow = cf.SpectralFlow(cf.direct_sum(cf.complete(3), cf.complete(2)))
    start = flow.random_start(0.7, rng=26)
    run = cf.integrate(flow, start, 10.0, rtol=1e-11)
    log_t = np.linspace(-3.0, run.log_t[3], 40)
    full = cf.integrate(flow.full(), flow.lift(start), 10.0, rtol=1e-13).at(log_t=log_t).y
    assert np.abs(run.lifted().at(log_t=log_t).y - full).max() < 1e-11


@pytest.mark.parametrize("name", ["100 to 1, mean", "VS-loss, bias", "squared error", "frozen classifier"])
def test_certificates(name):
    symmetry, options = CASES[name]
    flow = cf.SpectralFlow(symmetry, **options)
    run = cf.integrate(flow, flow.random_start(0.3, rng=1), t_end=1e3, rtol=1e-8)
    certificate = run.certificate()
    assert certificate.passed, str(certificate)
    assert 1e-12 < certificate.error_estimate < 1e-6
    wrong = run.at(log_t=run.log_t)
    wrong.y = wrong.y.copy()
    wrong.y[5:] *= 1.0 + 1e-3
    assert not wrong.certificate().passed


def test_files_and_resume(tmp_path):
    flow = cf.SpectralFlow(STEP, samples=(10, 1), weight_decay=1e-3, bias=True)
    start = flow.random_start(0.3)
    whole = cf.integrate(flow, start, t_end=1e3)
    part = cf.integrate(flow, start, t_end=10.0)
    part.save(tmp_path / "run.npz")
    part = cf.load(tmp_path / "run.npz")
    assert part.flow.spec == flow.spec and repr(part.flow) == repr(flow)
    np.testing.assert_array_equal(part.at(3.0).y, whole.at(3.0).y)
    np.testing.assert_array_equal(cf.resume(part, t_end=1e3).y[-1], whole.y[-1])
    again = cf.integrate(pickle.loads(pickle.dumps(flow)), start, t_end=1e3)
    np.testing.assert_array_equal(again.y, whole.y)


def test_tasks_in_sequence():
    """First the majority alone, then all: the second flow starts from the state that the first one left."""
    first = cf.SpectralFlow(STEP, weights=(1.0, 0.0))
    both = cf.SpectralFlow(STEP)
    run = cf.integrate(first, first.random_start(0.2), t_end=100.0)
    then = cf.resume(run, t_end=100.0, flow=both)
    direct = cf.integrate(both, first.state(run.start, run.y[-1]), t_end=100.0)
    np.testing.assert_allclose(then.logits[-1], direct.logits[-1], rtol=1e-12)
    full = cf.integrate(cf.MatrixFlow(), flow_start(run), t_end=100.0)
    np.testing.assert_allclose(full.logits[-1], direct.logits[-1], rtol=1e-7)


def flow_start(run):
    """The last state of a reduced run, as full matrices."""
    return run.flow.lift(run.flow.state(run.start, run.y[-1]))


def test_lifted_runs_and_tables():
    flow = cf.SpectralFlow(THREE, samples=(4, 2, 1), bias=True)
    run = cf.integrate(flow, flow.random_start(0.3), t_end=100.0)
    full = run.lifted(width=20)
    np.testing.assert_allclose(full.logits, run.logits, atol=1e-12)
    np.testing.assert_allclose(full.at(5.0).loss, run.at(5.0).loss, rtol=1e-12)
    np.testing.assert_allclose(full.collapse.nc2[-1], run.collapse.nc2[-1], rtol=1e-10)
    W, H = full.W[-1], full.H[-1]
    size = np.linalg.norm(W, axis=1)
    np.testing.assert_allclose(run.classifier_cosines[-1], W @ W.T / np.outer(size, size), atol=1e-12)
    size = np.linalg.norm(H, axis=0)
    np.testing.assert_allclose(run.feature_cosines[-1], H.T @ H / np.outer(size, size), atol=1e-12)
    pytest.importorskip("xarray")
    data = run.to_xarray()
    assert {"loss", "singular_values", "margin"} <= set(data.variables)
    assert data.sizes["mode"] == run.singular_values.shape[1]


FAULTS = [
    "layer_decay", "gain", "mode_weight", "entry_weight", "residual_weight", "column_gain", "valencies", "adjustment",
    "scale", "bias_gain", "into", "back",
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_certificates_find_faults(fault, monkeypatch):
    """Each array that the field reads, one number of it wrong by 5 percent."""
    old = block_motion.blocks_field

    def wrong(array):
        array = np.array(array)
        array.flat[-1] = 1.05 * array.flat[-1] if array.flat[-1] else 0.05
        return array

    def seeded(parts, into, back, *rest, **options):
        maps = {"into": into, "back": back}
        if fault in maps:
            maps[fault] = maps[fault]._replace(matrix=wrong(maps[fault].matrix))
        else:
            parts = parts._replace(**{fault: wrong(getattr(parts, fault))})
        return old(parts, maps["into"], maps["back"], *rest, **options)

    monkeypatch.setattr(block_motion, "blocks_field", seeded)
    symmetry = cf.coherent(STEP.relations())  # whose maps are matrices
    options = {"bias": True, "bias_decay": 1e-2, "samples": (10, 1), "logit_adjustment": (0.5, -0.2)}
    if fault == "layer_decay":
        options["weight_decay"] = (1e-2, 1e-2)
    flow = cf.SpectralFlow(symmetry, **options)
    run = cf.integrate(flow, flow.random_start(0.5, rng=1), t_end=100.0, rtol=1e-7)
    assert not run.certificate().passed
    monkeypatch.undo()
    run = cf.integrate(flow, flow.random_start(0.5, rng=1), t_end=100.0, rtol=1e-7)
    assert run.certificate().passed


def test_comparison_of_any_symmetry():
    options = {"samples": (10, 1), "bias": True, "logit_adjustment": (0.5, 0.0)}
    flow = cf.SpectralFlow(STEP, **options)
    run = cf.integrate(flow, flow.random_start(0.3, rng=1), t_end=1e4, rtol=1e-9)
    full = cf.integrate(cf.MatrixFlow(**per_class(STEP, options)), flow.lift(run.start), t_end=1e4, rtol=1e-9)
    found = cf.compare(run, full)
    assert found.max_error < 1e-7 and found.off_diagonal.max() < 1e-9 and found.singular_value_error.max() < 1e-7
    assert "direct_sum(complete(5), complete(5))" in repr(found)
    with pytest.raises(ValueError, match="not of the same flow"):
        cf.compare(run, cf.integrate(cf.MatrixFlow(bias=True), flow.lift(run.start), t_end=1.0))


def test_comparison_of_two_symmetries():
    """One problem under three: the ray of collapse as a mode of a scheme, in two groups, and in eight of one class."""
    scheme = cf.integrate(cf.SpectralFlow(cf.complete(8)), [1e-2], t_end=1e8, rtol=1e-10)
    flows = cf.SpectralFlow(cf.direct_sum(4, 4)), cf.SpectralFlow(cf.trivial(8))
    groups, none = (cf.integrate(flow, flow.collapsed_start(1e-2), t_end=1e8, rtol=1e-10) for flow in flows)
    for one, other in ((scheme, groups), (scheme, none), (groups, none)):
        found = cf.compare(one, other)
        assert found.max_error < 1e-8 and found.off_diagonal.max() < 1e-9


def test_figures_of_any_symmetry():
    """They are those of the same run on full matrices, under the name of the symmetry."""
    matplotlib = pytest.importorskip("matplotlib")
    flow = cf.SpectralFlow(THREE, samples=(4, 2, 1), bias=True)
    run = cf.integrate(flow, flow.random_start(0.3), t_end=100.0)
    with matplotlib.rc_context({"backend": "agg"}):
        figure = cf.plot.dashboard(run)
        assert figure.get_suptitle().startswith(f"Reduced flow, {flow.symmetry.name}")
        lines = cf.plot.loss(run).lines[0], cf.plot.loss(run.lifted()).lines[0]
        np.testing.assert_allclose(*(line.get_ydata() for line in lines), rtol=1e-9)
        assert cf.plot.logits(run).images and cf.plot.collapse(run).lines
        matplotlib.pyplot.close("all")
