"""Types of the observables, for type checkers and editors.

`tests/test_typing.py` compares these lists with the tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from typing import Never, Self

    import numpy as np
    import pandas
    from numpy.typing import NDArray

    from .. import collapse as neural_collapse
    from ..certify import Certificate
    from ..flow import ReplayState

    Reals = NDArray[np.float64]

T = TypeVar("T", covariant=True)


class Quantity(Generic[T]):
    """Read-only attribute of a trajectory."""

    if TYPE_CHECKING:

        def __get__(self, run: object, owner: type | None = None) -> T: ...
        def __set__(self, run: object, value: Never) -> None: ...


class OfAll:
    """Observables of every run."""

    t: Quantity[Reals]
    loss: Quantity[Reals]
    log_loss: Quantity[Reals]
    penalty: Quantity[Reals]
    objective: Quantity[Reals]
    accuracy_gap: Quantity[Reals]
    if TYPE_CHECKING:  # attached by higher layers

        @property
        def classes(self) -> int: ...
        def save(self, path: str | os.PathLike[str]) -> None: ...
        def certificate(self) -> Certificate: ...
        def to_pandas(self) -> pandas.DataFrame: ...
        def _repr_html_(self) -> str: ...
        def __iter__(self) -> Iterator[Self]: ...


class OfModes:
    """Observables of the reduced flow of a scheme."""

    singular_values: Quantity[Reals]
    layers: Quantity[Reals]
    conserved: Quantity[Reals]
    geometric_complexity: Quantity[Reals]
    class_distances: Quantity[Reals]
    squared_norm: Quantity[Reals]
    margins: Quantity[Reals]
    margin: Quantity[Reals]
    log_accuracy_gap: Quantity[Reals]
    lyapunov: Quantity[Reals]
    dissipation: Quantity[Reals]


class OfBlocks:
    """Observables of the reduced flow under any symmetry."""

    logit_blocks: Quantity[Reals]
    flat_layers: Quantity[Reals]
    bias: Quantity[Reals]
    singular_values: Quantity[Reals]
    margins: Quantity[Reals]
    margin: Quantity[Reals]
    log_accuracy_gap: Quantity[Reals]
    logits: Quantity[Reals]
    geometric_complexity: Quantity[Reals]
    class_distances: Quantity[Reals]
    classifier_cosines: Quantity[Reals]
    feature_cosines: Quantity[Reals]
    conserved: Quantity[Reals]
    collapse: Quantity[neural_collapse.Measures]
    layer_ranks: Quantity[neural_collapse.LayerRanks]


class OfTargets:
    """Observables of the reduced flow of a regression."""

    layers: Quantity[Reals]
    singular_values: Quantity[Reals]
    imbalance: Quantity[Reals]
    logits: Quantity[Reals]
    regression_collapse: Quantity[neural_collapse.RegressionMeasures]


class OfTasks:
    """Observables of tasks with replay."""

    states: Quantity[ReplayState]
    mixture: Quantity[Reals]
    margins_within: Quantity[Reals]
    margins_between: Quantity[Reals]
    task_margin: Quantity[Reals]
    margin: Quantity[Reals]
    squared_norm_of_classifier: Quantity[Reals]
    log_odds_of_error: Quantity[Reals]
    log_accuracy_gap: Quantity[Reals]


class OfMatrices:
    """Observables of runs with full matrices."""

    factors: Quantity[tuple[Reals, ...]]
    W: Quantity[Reals]
    H: Quantity[Reals]
    bias: Quantity[Reals]
    features: Quantity[Reals]
    logits: Quantity[Reals]
    singular_values: Quantity[Reals]
    conserved: Quantity[Reals | tuple[Reals, ...]]
    geometric_complexity: Quantity[Reals]
    class_distances: Quantity[Reals]
    squared_norm: Quantity[Reals]
    margins: Quantity[Reals]
    margin: Quantity[Reals]
    accuracy: Quantity[Reals]
    log_accuracy_gap: Quantity[Reals]
    lyapunov: Quantity[Reals]
    dissipation: Quantity[Reals]
    regression_collapse: Quantity[neural_collapse.RegressionMeasures]
    collapse: Quantity[neural_collapse.Measures]
    layer_ranks: Quantity[neural_collapse.LayerRanks]


class OfClassifiers:
    """Further observables with a nearest, fixed or free classifier."""

    squared_distance: Quantity[Reals]
