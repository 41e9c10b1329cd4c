"""The example on real data: its kernel, and what the flows predict exactly. Skipped, visibly, without its libraries."""

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the example on digits needs PyTorch")
pytest.importorskip("sklearn", reason="the example on digits needs scikit-learn")


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "examples")
    import digits

    yield digits
    del sys.modules["digits"]


def test_classes_have_the_sizes_asked_for(example):
    X, y = example.digits((3, 1, 2, 3, 1, 2, 3, 1, 2, 3))
    assert np.bincount(y).tolist() == [3, 1, 2, 3, 1, 2, 3, 1, 2, 3]
    assert X.dtype == torch.float64 and abs(X.mean(dim=0)).max() < 1e-15


def test_the_kernel_is_that_of_the_features(example):
    torch.manual_seed(0)
    X = torch.randn(5, 64).double()
    hidden, top = torch.nn.Linear(64, 7).double(), torch.nn.Linear(7, 3, bias=False).double()
    weights = dict(hidden.named_parameters()), dict(top.named_parameters())

    def features(below, above):
        return torch.func.functional_call(top, above, torch.relu(torch.func.functional_call(hidden, below, X)))

    parts = torch.func.jacrev(features, argnums=(0, 1))(*weights)
    J = torch.cat([part.flatten(2) for group in parts for part in group.values()], dim=2)  # (N, d, weights)
    brute = torch.einsum("idp,jdp->ij", J, J) / 3
    with torch.no_grad():
        np.testing.assert_allclose(example.feature_kernel(X, hidden, top), brute, rtol=1e-12)


def test_flows_beside_the_network(example):
    run = example.train(*example.digits((3,) * 10), lr=0.02, steps=100, rows=8, width=30)
    network = example.observed(run)
    predicted = example.predictions(run, 0)
    # dW/dt = G H^T in the network as in both flows: W agrees to second order in time, H by its kernel only
    first = np.flatnonzero(run.t > 0)[0]
    for one in predicted.values():
        moved = np.linalg.norm(network.W[first] - network.W[0])
        assert np.linalg.norm(one.W[first] - network.W[first]) < 0.02 * moved
    apart = {name: example.logit_errors(network, 0, one) for name, one in predicted.items()}
    assert np.all(apart[example.KERNEL][1:] < apart[example.FREE][1:])
    assert not any(errors[0] for errors in apart.values())
