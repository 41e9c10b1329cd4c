"""The types that users see: the lists of observables are those of the tables, and the type checker finds no error."""

from pathlib import Path

import pytest

from ceflow import trajectory
from ceflow.observables import quantities

ROOT = Path(__file__).resolve().parents[1]
# each once, in the order in which they stand there: sets have another order in each process
KINDS = [*dict.fromkeys(kind for kind in vars(trajectory).values() if hasattr(kind, "observables"))]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_observables_have_the_types_that_are_listed(kind):
    listed = {
        name
        for base in kind.__mro__
        for name, of in vars(base).get("__annotations__", {}).items()
        if of.startswith(quantities.Quantity.__name__ + "[")
    }
    abstract = kind in (trajectory.Trajectory, trajectory.ReducedTrajectory)
    assert listed == set(kind.observables) | ({"log_loss", "penalty"} if abstract else set())
