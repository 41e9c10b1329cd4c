"""Observables of runs of the full flow: of matrices W (K, d) and H (d, K), or of as many factors as there are layers.

Of a batch of B starts every array has the axis B after that of the rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import scipy

from .. import collapse as neural_collapse
from .. import losses
from .._arrays import svd
from .._checks import log_time_unit
from ..lyapunov import gradient_of_logits, of_logits
from ..network.factors import product, pull_back
from ._table import Flow, Run, Table

FULL = Table()


def _by_factors(run: Run, function: Callable[..., np.ndarray], *shape: int) -> np.ndarray:
    """A function of all factors, row by row."""
    rows = [function(*factors) for factors in zip(*run.factors, strict=True)]
    return np.stack(rows) if rows else np.empty((0, *run.start[0].shape[:-2], *shape))


def _by_row(run: Run, function: Callable[[np.ndarray], np.ndarray], *shape: int) -> np.ndarray:
    """A function of the logits, row by row: all logits at once may be more than memory holds."""
    return _by_factors(run, lambda *factors: function(product(factors)), *shape)


def _margins(Z: np.ndarray) -> np.ndarray:
    """Margins (..., K, K - 1) of logits (..., K, K), class by class."""
    classes, Z = Z.shape[-1], Z.swapaxes(-1, -2)
    found = np.diagonal(Z, axis1=-2, axis2=-1)[..., None] - Z
    return found[..., ~np.eye(classes, dtype=bool)].reshape(*Z.shape[:-1], classes - 1)


def _log_sum(logarithms: np.ndarray) -> np.ndarray:
    return scipy.special.logsumexp(logarithms, axis=-1)


def _feature(layer: int) -> str:
    """Name of the axis between a factor, counted from the left, and the next."""
    return "feature" if layer == 1 else f"feature{layer}"


def _dims_of_factors(flow: Flow) -> dict[str, tuple[str, ...]]:
    names = ["W", *(f"factor{i}" for i in range(2, flow.depth)), "H"]
    sides = ["class", *map(_feature, range(1, flow.depth)), "class"]
    return {name: ("row", *pair) for name, pair in zip(names, itertools.pairwise(sides), strict=True)}


def _dims_of_conserved(flow: Flow) -> dict[str, tuple[str, ...]] | tuple[str, ...]:
    dims = [("row", _feature(i), f"other_{_feature(i)}") for i in range(1, flow.depth)]
    return dims[0] if flow.depth == 2 else {f"conserved{i}": pair for i, pair in enumerate(dims, 1)}


@FULL.add(dims=_dims_of_factors, exported=True)
def factors(run: Run) -> tuple[np.ndarray, ...]:
    """The layers, (n, K, d), ..., (n, d, K); their product is Z."""
    ends = np.cumsum([factor.size for factor in run.start])
    return tuple(
        run.y[:, end - factor.size : end].reshape(len(run), *factor.shape)
        for end, factor in zip(ends, run.start, strict=True)
    )


@FULL.add(dims=lambda flow: _dims_of_factors(flow)["W"])
def W(run: Run) -> np.ndarray:
    """(n, K, d) classifiers, the last layer."""
    return run.factors[0]


@FULL.add(dims=lambda flow: _dims_of_factors(flow)["H"])
def H(run: Run) -> np.ndarray:
    """(n, d, K) features of two layers; of deeper networks the first layer, (n, d, K)."""
    return run.factors[-1]


@FULL.add("row", "logit", "class")
def logits(run: Run) -> np.ndarray:
    """(n, K, K) logits Z, the product of all factors; column c belongs to class c."""
    return product(run.factors)


@FULL.add("row", "mode", cached=True, exported=True)
def singular_values(run: Run) -> np.ndarray:
    """(n, K) singular values of Z, descending; right to rounding of the largest one."""
    return _by_row(run, lambda Z: svd(Z, compute_uv=False), run.classes)


@FULL.add(dims=_dims_of_conserved)
def conserved(run: Run) -> np.ndarray | tuple[np.ndarray, ...]:
    """(n, d, d) conserved W^T W - H H^T; of more than two layers a tuple of such differences of neighbours."""
    pairs = itertools.pairwise(run.factors)
    found = tuple(W.swapaxes(-1, -2) @ W - H @ H.swapaxes(-1, -2) for W, H in pairs)
    return found[0] if len(found) == 1 else found


@FULL.add("row")
def squared_norm(run: Run) -> np.ndarray:
    """(n,) squared Frobenius norm of all layers together, ``sum_l |W_l|^2``."""
    return sum((factor**2).sum(axis=(-1, -2)) for factor in run.factors)


@FULL.add("row", "class", "wrong_class")
def margins(run: Run) -> np.ndarray:
    """(n, K, K - 1) margins z_cc - z_jc of each class c over all others j."""
    return _by_row(run, _margins, run.classes, run.classes - 1)


@FULL.add("row", cached=True, exported=True)
def margin(run: Run) -> np.ndarray:
    """(n,) smallest margin over classes."""
    return _by_row(run, lambda Z: _margins(Z).min(axis=(-1, -2)))


@FULL.add("row", cached=True)
def log_loss(run: Run) -> np.ndarray:
    """(n,) natural logarithm of the loss, also where that leaves float64 (at times beyond 1e308)."""
    loss, shift = run.flow.loss, 0.0 if run.flow.reduction == "sum" else -math.log(run.classes)
    return _by_row(run, lambda Z: _log_sum(loss.log_value(_margins(Z), mean=Z.mean(axis=-2))) + shift)


@FULL.add("row", cached=True)
def log_accuracy_gap(run: Run) -> np.ndarray:
    """(n,) natural logarithm of the accuracy gap, the mean over classes."""
    gap, shift = losses.log_accuracy_gap, math.log(run.classes)
    return _by_row(run, lambda Z: _log_sum(gap(losses.log_odds_of_error(_margins(Z)))) - shift)


@FULL.add("row", cached=True, exported=True)
def lyapunov(run: Run) -> np.ndarray:
    """(n,) V of the top K - 1 singular values of Z; NaN where one of them is 0, to rounding of the largest."""
    return of_logits(run.singular_values)


@FULL.add("row", units="1/time", cached=True)
def dissipation(run: Run) -> np.ndarray:
    """(n,) dV/dt along the run, NaN where V is.

    That of this very flow, of any depth, loss and decay (which scales Z, and V does not see that). It may be positive:
    V is proved to fall for the reduced flow only. It is a sum of terms of both signs, right to rounding of the largest:
    near collapse ``-log10(V) / 2`` digits are lost, as they are in V itself, and while all logits are small as many
    again as they have zeros. Beyond times of 1e308 it underflows to 0.
    """
    indices, log_unit = np.arange(run.classes), log_time_unit(run.classes, run.flow.reduction)

    def rate(*factors: np.ndarray) -> np.ndarray:
        Z = product(factors)
        slopes = pull_back(gradient_of_logits(Z), factors)
        log_scale, _ = losses.full_residual(run.flow.loss, Z, indices)  # of G, which takes the place of Z
        velocities = pull_back(Z, factors)
        rates = sum((slope * velocity).sum(axis=(-1, -2)) for slope, velocity in zip(slopes, velocities, strict=True))
        return rates * np.exp(log_scale - log_unit)

    with np.errstate(under="ignore"):
        return _by_factors(run, rate)


@FULL.add(dims=lambda flow: dict.fromkeys(neural_collapse.Measures._fields, ("row",)))
def collapse(run: Run) -> neural_collapse.Measures:
    """Neural-collapse measures, each of shape (n,): of the classifier W and the features that it sees."""
    W, *rest = run.factors
    return neural_collapse.measures(W, product(rest))
