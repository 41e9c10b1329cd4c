"""The options of flows, for type checkers and editors; see `Objective`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal, TypedDict

    from numpy.typing import ArrayLike

    from ..losses import Loss

    Reduction = Literal["mean", "sum"]

    class ModesOptions(TypedDict, total=False):
        """Options of a flow on the modes of a scheme."""

        loss: str | Loss
        depth: float
        reduction: Reduction
        weight_decay: float

    class BlocksOptions(TypedDict, total=False):
        """Options of a flow under any symmetry."""

        loss: str | Loss
        depth: float
        reduction: Reduction
        weight_decay: float | Sequence[float]
        samples: int | Sequence[int] | None
        weights: ArrayLike | None
        logit_adjustment: ArrayLike
        logit_scale: ArrayLike
        bias: bool
        bias_decay: float
        frozen: Sequence[str | int]
        targets: Literal["centred", "one-hot"] | ArrayLike
        activation: str | tuple[str, ...]
        class_fibres: int | Sequence[int] | None
        hidden_fibres: int | Sequence[int] | None
