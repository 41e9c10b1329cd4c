"""Neural-collapse measures against their definitions, their invariances and exact collapse."""

import numpy as np
import pytest

import ceflow as cf
from ceflow.collapse import Measures, measures
from ceflow.symmetry import hadamard


def random_state(classes=5, width=7, samples=None, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(classes, width)), rng.normal(size=(width, samples or classes))


def collapsed_state(classes, width, seed=0):
    frame = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, classes)))[0]
    etf = np.eye(classes) - 1 / classes
    return 3 * etf @ frame.T, 2 * frame @ etf


def from_the_paper(W, H, labels, bias=0.0, centring="samples"):
    """NC1 to NC4, loop by loop as in Papyan, Han & Donoho (2020), for classes of any size, and what belongs to NC1."""
    K, n = len(W), len(labels)
    mu = [np.mean([H[:, i] for i in range(n) if labels[i] == c], axis=0) for c in range(K)]
    mu_G = H.mean(axis=1) if centring == "samples" else np.mean(mu, axis=0)
    v = [np.mean([np.sum((H[:, i] - mu[c]) ** 2) for i in range(n) if labels[i] == c]) for c in range(K)]
    within = sum(np.outer(H[:, i] - mu[labels[i]], H[:, i] - mu[labels[i]]) for i in range(n)) / n
    between = sum(np.outer(m - mu_G, m - mu_G) for m in mu) / K
    norms = [np.linalg.norm(m - mu_G) for m in mu]
    pairs = [(c, d) for c in range(K) for d in range(K) if c != d]
    cosines = [(mu[c] - mu_G) @ (mu[d] - mu_G) / norms[c] / norms[d] for c, d in pairs]
    M = np.array([m - mu_G for m in mu]).T
    nearest = [np.argmin([np.linalg.norm(H[:, i] - m) for m in mu]) for i in range(n)]
    return {
        "nc1": np.trace(within @ np.linalg.pinv(between, rcond=1e-12)) / K,
        "nc1_quotient": np.trace(within) / np.trace(between),
        "cdnv": np.mean([(v[c] + v[d]) / (2 * np.sum((mu[c] - mu[d]) ** 2)) for c, d in pairs]),
        "equinorm": np.std(norms) / np.mean(norms),
        "equiangularity": np.std(cosines),
        "maximal_angle": np.mean(np.abs(np.array(cosines) + 1 / (K - 1))),
        "nc3": np.linalg.norm(W.T / np.linalg.norm(W) - M / np.linalg.norm(M)),
        "nc4": np.mean([np.argmax(W @ H[:, i] + bias) != nearest[i] for i in range(n)]),
    }


@pytest.mark.parametrize("per_class", [1, 3, 20])
@pytest.mark.parametrize(("classes", "width"), [(2, 1), (2, 5), (5, 7), (6, 3)])
def test_measures_are_those_of_the_paper(classes, width, per_class):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(classes), per_class))
    W, H = random_state(classes, width, len(labels))
    result = measures(W, H, labels)._asdict()
    for name, value in from_the_paper(W, H, labels).items():
        assert result[name] == pytest.approx(value, rel=1e-10, abs=1e-14), name


@pytest.mark.parametrize("centring", ["class-means", "samples"])
def test_classes_of_different_size_and_a_bias(centring):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(5), [1, 2, 3, 5, 30]))
    W, H = random_state(5, 7, len(labels))
    bias = np.random.default_rng(2).normal(size=5)
    result = measures(W, H, labels, bias=bias, centring=centring)._asdict()
    for name, value in from_the_paper(W, H, labels, bias, centring).items():
        assert result[name] == pytest.approx(value, rel=1e-10, abs=1e-14), name
    other = measures(W, H, labels, bias=bias)
    assert (result["nc1"] == other.nc1) == (result["nc2"] == other.nc2) == (centring == "class-means")
    with_ones = measures(np.column_stack([W, bias]), np.vstack([H, np.ones(len(labels))]), labels, centring=centring)
    for name in ("nc4", "margin", "normalized_margin", "effective_rank", "etf_distance", "nc1_quotient", "cdnv"):
        assert result[name] == pytest.approx(getattr(with_ones, name), rel=1e-12), name


def test_a_bias_decides():
    state = np.array([[-1.0], [1.0]]), np.array([[1.0, 3.0]])
    assert measures(*state).nc4 == 0.5 and measures(*state, bias=[2.0, -2.0]).nc4 == 0.0
    assert measures(*state, bias=[2.0, -2.0]).margin == 2.0
    tiny = measures(1e-140 * state[0], 1e-140 * state[1], bias=[2e-280, -2e-280])
    assert tiny.nc4 == 0.0 and tiny.margin == pytest.approx(2e-280)
    assert measures(0 * state[0], state[1], bias=[-1e150, 1e150]).margin == -2e150
    batch = measures(*(np.stack([part, part]) for part in state), bias=[[2.0, -2.0], [0.0, 0.0]])
    np.testing.assert_array_equal(batch.nc4, [0.0, 0.5])


def test_class_means_that_agree_have_no_distance():
    result = measures(np.eye(3, 2), np.array([[1.0, 3.0, 2.0, 5.0], [0.0, 0.0, 0.0, 1.0]]), [0, 0, 1, 2])
    assert result.cdnv == np.inf and result.nc1_quotient > 0.0


def test_the_other_measures_against_their_definitions():
    W, H = random_state()
    K, Z, M = 5, W @ H, H - H.mean(axis=1, keepdims=True)
    etf = (np.eye(K) - 1 / K) / 2
    result = measures(W, H)
    gram = M.T @ M
    assert result.nc1 == 0  # one sample a class
    assert result.nc2 == pytest.approx(np.linalg.norm(gram / np.linalg.norm(gram) - etf))
    assert result.alignment == pytest.approx(np.sum(W * H.T) / np.linalg.norm(W) / np.linalg.norm(H))
    share = np.linalg.svd(Z)[1] / np.linalg.svd(Z)[1].sum()
    assert result.effective_rank == pytest.approx(np.exp(-np.sum(share * np.log(share))))
    centred = Z - Z.mean(axis=0)
    assert result.etf_distance == pytest.approx(np.linalg.norm(centred / np.linalg.norm(centred) - etf))
    assert result.margin == pytest.approx(min(Z[c, c] - Z[r, c] for c in range(K) for r in range(K) if r != c))


@pytest.mark.parametrize(("classes", "width"), [(2, 2), (4, 4), (10, 30)])
@pytest.mark.parametrize("scale", [1e-140, 1.0, 1e140])
def test_collapse(classes, width, scale):
    W, H = collapsed_state(classes, width)
    for labels in (None, np.repeat(np.arange(classes), 3)):
        result = measures(scale * W, H if labels is None else H[:, labels], labels)
        size = {"effective_rank": 0, "margin": 0, "normalized_margin": 0}
        vanishing = Measures(*result)._replace(alignment=1 - result.alignment, **size)
        assert result.normalized_margin == pytest.approx((classes - 1) ** -0.5)
        np.testing.assert_allclose(vanishing, 0, rtol=0, atol=1e-13)
        assert result.effective_rank == pytest.approx(classes - 1)
        assert result.margin == pytest.approx(6 * scale)


@pytest.mark.parametrize(
    "scheme", [cf.hadamard(8), cf.cyclic(9), cf.johnson(5, 2), cf.hamming(2, 3)], ids=lambda scheme: scheme.name
)
def test_equal_singular_values_are_collapse_in_every_scheme(scheme):
    W, H = cf.SpectralFlow(scheme).lift(np.ones(scheme.modes), width=scheme.classes + 2, rng=1)
    result = measures(W, H)
    vanishing = result._replace(alignment=1 - result.alignment, effective_rank=0, margin=0, normalized_margin=0)
    np.testing.assert_allclose(vanishing, 0, rtol=0, atol=1e-14)
    assert result.effective_rank == pytest.approx(scheme.classes - 1) and result.margin == pytest.approx(1)


def test_decisions_by_hand():
    W = np.array([[1.0, 0.0], [0.0, 3.0]])
    H = np.array([[3.0, 5.0, 0.0, 0.0], [2.0, -2.0, 1.0, 3.0]])  # class means (4, 0) and (0, 2)
    result = measures(W, H, [0, 0, 1, 1])
    assert result.nc4 == 0.25  # only the first one: nearest to its own mean, taken for the other class
    assert result.margin == pytest.approx(-3)
    assert result.nc1 == pytest.approx(8.5 / 25 / 2)  # S_B = u u^T, u = (2, -1), S_W = [[.5, -1], [-1, 2.5]]


def test_a_scheme_that_is_not_collapsed_is_told_from_one_that_is():
    scheme = hadamard(8)
    Q = scheme.basis()[:, 1:]
    equal, unequal = (measures(Q * np.sqrt(s), (Q * np.sqrt(s)).T) for s in (np.full(7, 2.0), np.arange(1.0, 8.0)))
    assert equal.nc2 < 1e-15 and equal.etf_distance < 1e-15 and equal.effective_rank == pytest.approx(7)
    assert unequal.nc2 > 0.1 and unequal.etf_distance > 0.1 and unequal.effective_rank < 6.5
    assert unequal.equinorm < 1e-15 and unequal.equiangularity > 0.1  # the symmetry makes the norms equal
    assert unequal.nc3 < 1e-15 and unequal.alignment == pytest.approx(1) and unequal.nc4 == 0


def test_invariances():
    labels = np.repeat(np.arange(5), 4)
    W, H = random_state(samples=20)
    expected = measures(W, H, labels)
    rng = np.random.default_rng(2)
    rotation = np.linalg.qr(rng.normal(size=(7, 7)))[0]
    order, classes = rng.permutation(20), rng.permutation(5)
    np.testing.assert_allclose(measures(W @ rotation.T, rotation @ H, labels), expected, rtol=1e-11)
    np.testing.assert_allclose(measures(W, H[:, order], labels[order]), expected, rtol=1e-11)
    np.testing.assert_allclose(measures(W[np.argsort(classes)], H, classes[labels]), expected, rtol=1e-11)
    scaled = measures(1e-130 * W, 1e-120 * H, labels)
    np.testing.assert_allclose(scaled, expected._replace(margin=1e-250 * expected.margin), rtol=1e-11)


def test_unequal_class_sizes_weigh_class_means_equally():
    W, H = collapsed_state(4, 6)
    labels = np.array([0, 0, 0, 0, 0, 1, 2, 2, 3])
    assert measures(W, H[:, labels], labels).nc2 < 1e-14


def test_within_class_variability_grows_quadratically():
    W, H = collapsed_state(4, 6)
    labels = np.repeat(np.arange(4), 50)
    noise = np.random.default_rng(3).normal(size=(6, 200))
    small, smaller = (measures(W, H[:, labels] + size * noise, labels).nc1 for size in (1e-4, 1e-6))
    assert small / smaller == pytest.approx(1e4, rel=1e-3)


def test_batches():
    rng = np.random.default_rng(4)
    W, H = rng.normal(size=(2, 3, 4, 6)), rng.normal(size=(2, 3, 6, 8))
    labels = np.repeat(np.arange(4), 2)
    result = measures(W, H, labels)
    for index in np.ndindex(2, 3):
        single = measures(W[index], H[index], labels)
        assert all(isinstance(value, float) for value in single)
        np.testing.assert_allclose([field[index] for field in result], single, rtol=1e-12)
    assert all(field.shape == (2, 3) for field in result)


def test_zero_matrices_are_nan_where_undefined():
    W, H = random_state()
    nothing = measures(0 * W, 0 * H)
    assert nothing.margin == 0
    assert all(np.isnan(value) for name, value in nothing._asdict().items() if name not in ("nc4", "margin"))
    no_classifier = measures(0 * W, H)
    undefined = {name for name, value in no_classifier._asdict().items() if np.isnan(value)}
    assert undefined == {"nc3", "alignment", "effective_rank", "etf_distance", "normalized_margin"}


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, r"W must be \(\.\.\., K, d\)", (np.ones(3), np.ones((3, 3)))),
        (ValueError, r"W must be \(\.\.\., K, d\)", (np.ones((1, 3)), np.ones((3, 1)))),
        (ValueError, r"W must be \(\.\.\., K, d\)", (np.ones((3, 4)), np.ones((3, 4)))),
        (ValueError, r"W must be \(\.\.\., K, d\)", (np.ones((2, 3, 4)), np.ones((4, 3)))),
        (ValueError, "W must be from .* got nan", (np.full((3, 4), np.nan), np.ones((4, 3)))),
        (ValueError, "H must be from .* got inf", (np.ones((3, 4)), np.full((4, 3), np.inf))),
        (TypeError, "W must be real", (np.ones((3, 4), complex), np.ones((4, 3)))),
        (ValueError, r"bias must have shape \(3,\)", (np.ones((3, 4)), np.ones((4, 3)), None, np.ones(4))),
        (TypeError, "bias must be real", (np.ones((3, 4)), np.ones((4, 3)), None, ["a", "b", "c"])),
        (ValueError, "centring must be one of", (np.ones((3, 4)), np.ones((4, 3)), None, None, "mean")),
        (ValueError, "labels must be given", (np.ones((3, 4)), np.ones((4, 6)))),
        (ValueError, r"labels must have shape \(6,\)", (np.ones((3, 4)), np.ones((4, 6)), [0, 1, 2])),
        (TypeError, "labels must be integers", (np.ones((3, 4)), np.ones((4, 3)), [0.0, 1.0, 2.0])),
        (ValueError, "labels must be from 0 to 2 and all occur", (np.ones((3, 4)), np.ones((4, 3)), [0, 1, 1])),
        (ValueError, "labels must be from 0 to 2 and all occur", (np.ones((3, 4)), np.ones((4, 3)), [1, 2, 3])),
    ],
)
def test_errors(error, message, arguments):
    with pytest.raises(error, match=message):
        measures(*arguments[:3], **dict(zip(("bias", "centring"), arguments[3:], strict=False)))
