"""Terms of an objective: gradients, both array libraries, files, certificates, and what refuses them."""

import numpy as np
import pytest

import ceflow as cf
from ceflow.flow import Objective
from ceflow.terms import TERMS, Alignment, CentreCosine, CentreSquaredCosine, CentreSquaredError, as_term

OWNERS, LABELS, SAMPLES = (0, 0, 1, 2, 2, 2), np.array([0, 1, 2, 2]), np.array([1.0, 3.0, 2.0, 1.0])
KINDS = [
    Alignment(0.3),
    Alignment(0.7, centred=True),
    CentreSquaredError(OWNERS, LABELS, 0.6),
    CentreCosine(OWNERS, LABELS),
    CentreSquaredCosine(OWNERS, LABELS, 0.6),
]


def state(term, batch=(), seed=0):
    rng = np.random.default_rng(seed)
    rows = 3 if isinstance(term, Alignment) else 6
    return (
        rng.standard_normal((*batch, rows, 5)),
        rng.standard_normal((*batch, 5, 4)),
        term.constants(rows, LABELS, SAMPLES),
    )


def loop(term, W, X):
    """The values by their formulas, sample by sample."""
    unit = W / np.linalg.norm(W, axis=1, keepdims=True)
    total = 0.0
    if isinstance(term, Alignment):
        means = np.array([np.average(X[:, k == LABELS], axis=1, weights=SAMPLES[k == LABELS]) for k in range(3)])
        means = means - means.mean(axis=0) if term.centred else means
        cosines = [unit[k] @ means[k] / np.linalg.norm(means[k]) for k in range(3)]
        return term.strength * np.mean(1 - np.array(cosines))
    for x, label, n in zip(X.T, LABELS, SAMPLES, strict=True):
        for w, u, owner in zip(W, unit, OWNERS, strict=True):
            z, c = w @ x, u @ x / np.linalg.norm(x)
            if isinstance(term, CentreSquaredError):
                total += n / 2 * ((z - 1) ** 2 if owner == label else term.beta * z**2)
            elif isinstance(term, CentreCosine):
                total += n * (1 - c) * (owner == label)
            else:
                total += n / 2 * ((1 - c) ** 2 if owner == label else term.beta * c**2)
    return total


@pytest.mark.parametrize("term", KINDS, ids=str)
def test_values_and_gradients(term):
    W, X, constants = state(term)
    assert term.value(W, X, *constants) == pytest.approx(loop(term, W, X), rel=1e-13)
    in_W, in_X = term.gradient(W, X, *constants)
    for array, gradient in ((W, in_W), (X, in_X)):
        for place in np.ndindex(array.shape):
            kept, sides = array[place], []
            for step in (1e-5, -1e-5):
                array[place] = kept + step
                sides.append(loop(term, W, X))
            array[place] = kept
            assert gradient[place] == pytest.approx((sides[0] - sides[1]) / 2e-5, abs=1e-8)


@pytest.mark.parametrize("term", KINDS, ids=str)
def test_batches_and_torch_agree(term):
    W, X, constants = state(term, batch=(3,))
    value, gradient = term.value(W, X, *constants), term.gradient(W, X, *constants)
    for b in range(3):
        assert value[b] == pytest.approx(term.value(W[b], X[b], *constants), rel=1e-14)
        for whole, one in zip(gradient, term.gradient(W[b], X[b], *constants), strict=True):
            np.testing.assert_allclose(whole[b], one, rtol=1e-12, atol=1e-14)
    torch = pytest.importorskip("torch", reason="the torch backend needs PyTorch")
    W, X, *constants = map(torch.from_numpy, (W, X, *constants))
    np.testing.assert_allclose(term.value(W, X, *constants, xp=torch), value, rtol=1e-13)
    for theirs, ours in zip(term.gradient(W, X, *constants, xp=torch), gradient, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-12, atol=1e-14)
    assert np.all(np.asarray(term.rate(W, X, *constants, xp=torch)) >= 0.0)


def test_small_angles_have_full_precision():
    w, across = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    for angle in (1e-3, 1e-7):
        h = (np.cos(angle) * w + np.sin(angle) * across).T
        for term in (CentreCosine((0,)), CentreSquaredCosine((0,))):
            constants = term.constants(1, np.zeros(1, int), np.ones(1))
            gap = 2 * np.sin(angle / 2) ** 2
            exact = gap if isinstance(term, CentreCosine) else gap**2 / 2
            assert term.value(w, h, *constants) == pytest.approx(exact, rel=1e-8)
            slope = np.sin(angle) * (1.0 if isinstance(term, CentreCosine) else gap)
            assert np.linalg.norm(term.gradient(w, h, *constants)[1]) == pytest.approx(slope, rel=1e-8)


# -- in flows ----------------------------------------------------------------------------------------------------------


def deep_start():
    rng = np.random.default_rng(0)
    return rng.standard_normal((3, 4)), rng.standard_normal((4, 5)), rng.standard_normal((5, 4)), np.zeros(3)


OPTIONS = {
    "plain": {},
    "deep": {"depth": 3, "activation": "softplus:4", "bias": True, "labels": LABELS, "weight_decay": (0.01, 0.02, 0.0)},
    "samples": {"samples": (5, 2, 1), "weights": (1.0, 1.0, 3.0)},
    "kernel": {"labels": LABELS, "kernel": np.eye(4) + 0.2, "reduction": "sum"},
}


def start_of(options):
    if options.get("depth") == 3:
        return deep_start()
    rng = np.random.default_rng(1)
    return rng.standard_normal((3, 4)), rng.standard_normal((4, 4 if "labels" in options else 3))


@pytest.mark.parametrize("name", OPTIONS)
def test_the_flow_descends_its_objective(name):
    """The objective falls by the squared speed, in the metric of samples and kernel: its slope, by differences."""
    options = OPTIONS[name]
    flow = cf.MatrixFlow(terms=(Alignment(0.2), Alignment(0.1, centred=True)), **options)
    start = flow.start(start_of(options))
    t = np.array([0.0, 1e-4, 2e-4])
    run = cf.integrate(flow, start, t_eval=t, rtol=1e-12)
    parts = [*run.factors, *([run.bias] if flow.objective.bias else [])]
    fall = (-3 * run.objective[0] + 4 * run.objective[1] - run.objective[2]) / 2e-4
    speeds = [(-3 * part[0] + 4 * part[1] - part[2]) / 2e-4 for part in parts]
    metric = np.diag(run.terms.samples) if flow.objective.kernel is None else np.linalg.inv(flow.objective.kernel)
    H = speeds[flow.depth - 1]
    squared = sum((speed**2).sum() for i, speed in enumerate(speeds) if i != flow.depth - 1) + np.trace(
        H @ metric @ H.T
    )
    assert fall == pytest.approx(-squared, rel=1e-5)
    assert run.penalty[0] > run.terms.values_of_others(run.W, run.features)[0] - 1e-12 > 0.0


def test_torch_and_numpy_flows_agree_and_certificates_know_terms():
    flow = cf.MatrixFlow(terms=(Alignment(0.2),), weight_decay=1e-2)
    start = start_of({})
    ours = cf.integrate(flow, start, t_eval=np.geomspace(0.1, 100, 7), rtol=1e-9)
    pytest.importorskip("torch", reason="the torch backend needs PyTorch")
    theirs = cf.integrate(
        cf.MatrixFlow(backend="torch", terms=(Alignment(0.2),), weight_decay=1e-2), start, t_eval=ours.t, rtol=1e-9
    )
    np.testing.assert_allclose(theirs.y, ours.y, rtol=0, atol=1e-7)
    certificate = ours.certificate()
    assert certificate.passed, str(certificate)
    text = str(certificate)
    assert "loss + decay + terms never increases" in text and "gradients of terms" in text


def test_a_batch_shares_the_clock_and_nothing_else():
    W, H = cf.random_init(classes=3, width=4, scale=1.0, batch=2, rng=0)
    flow, t = cf.MatrixFlow(terms=(Alignment(0.2),), weight_decay=1e-2), [1.0, 30.0]
    both = cf.integrate(flow, (W, H), t_eval=t)
    for b in range(2):
        one = cf.integrate(flow, (W[b], H[b]), t_eval=t)
        np.testing.assert_allclose(both.W[:, b], one.W, rtol=0, atol=1e-8)
        np.testing.assert_allclose(both.objective[:, b], one.objective, rtol=1e-8)


def test_a_wrong_gradient_is_seen_by_the_certificate(monkeypatch):
    true = Alignment.gradient
    monkeypatch.setattr(Alignment, "gradient", lambda self, *a, **k: tuple(0.9 * part for part in true(self, *a, **k)))
    run = cf.integrate(cf.MatrixFlow(terms=(Alignment(0.2),)), start_of({}), 10.0)
    failed = [check.claim for check in run.certificate().checks if not check.passed]
    assert failed == ["gradients of terms match their values"]


def test_files_and_resume(tmp_path):
    flow = cf.MatrixFlow(terms=(Alignment(0.2),), weight_decay=1e-2)
    run = cf.integrate(flow, start_of({}), 10.0)
    run.save(tmp_path / "run.npz")
    loaded = cf.load(tmp_path / "run.npz")
    assert loaded.flow.objective == flow.objective and repr(loaded.flow) == repr(flow)
    np.testing.assert_array_equal(loaded.at(5.0).y, run.at(5.0).y)
    on = cf.resume(loaded, 20.0)
    whole = cf.integrate(flow, start_of({}), 20.0)
    np.testing.assert_allclose(on.y[-1], whole.y[-1], rtol=0, atol=1e-7)
    np.testing.assert_allclose(on.objective[-1], whole.objective[-1], rtol=1e-9)
    for term in KINDS:
        objective = Objective(loss="squared_error", weights=0.0, terms=(term,))
        assert Objective.from_spec(objective.spec) == objective and as_term(term.spec) == term
    assert {term.name for term in KINDS} == set(TERMS)


def test_what_terms_are_not_for():
    term, start = Alignment(0.2), start_of({})
    with pytest.raises(ValueError, match="functions of the layers"):
        cf.SpectralFlow(cf.complete(3), terms=(term,))
    with pytest.raises(ValueError, match="nothing would move"):
        cf.MatrixFlow(weights=0.0, terms=(term,))
    with pytest.raises(TypeError, match="terms must be a tuple"):
        cf.MatrixFlow(terms=term)
    with pytest.raises(TypeError, match="a term must be made by"):
        cf.MatrixFlow(terms=(0.2,))
    with pytest.raises(ValueError, match="unknown term"):
        as_term({"name": "alignment", "power": 2})
    with pytest.raises(ValueError, match="needs a column of each of 3"):
        cf.MatrixFlow(terms=(term,), labels=[0, 1, 1]).start(start)
    with pytest.raises(ValueError, match="row of W is 0"):
        cf.MatrixFlow(terms=(term,)).start((0 * start[0], start[1]))
    with pytest.raises(ValueError, match="made for W of 2 rows"):
        cf.MatrixFlow(loss="squared_error", weights=0.0, terms=(CentreCosine((0, 1)),)).start(start)
    with pytest.raises(ValueError, match="owners must contain every class"):
        CentreCosine((0, 1), (0, 2))
    with pytest.raises(ValueError, match="strength must be between"):
        Alignment(-1.0)
    with pytest.raises(TypeError, match="centred must be"):
        Alignment(0.1, centred=1)
    run = cf.integrate(cf.MatrixFlow(terms=(term,)), start, 1.0)
    assert "terms" in run.observables["conserved"].why_not(run.flow)
