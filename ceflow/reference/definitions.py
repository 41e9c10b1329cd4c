"""Independent definitions of schemes and losses in float64, for checks of ceflow's results.

They use the matrix of relations of a scheme, or the name and arguments of its family, and the formula of a loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._closed_forms import closed_form
from ._formula import interpret, names
from ._logarithms import Logarithmic
from ._relations import relation_algebra, relation_gaps
from ._stated import centred

if TYPE_CHECKING:
    from ..symmetry import Scheme

__all__ = ["LossDefinition", "SchemeDefinition", "relation_algebra", "relation_gaps", "scheme_definition"]

COUNTED = 256  # largest number of classes for which relations are counted if there is a formula
MAX_ENTRIES = 2**26  # entries of one block of gaps
LARGEST = 1e300


class SchemeDefinition(NamedTuple):
    """Data of a scheme for the dynamics, from an independent source.

    Attributes
    ----------
    source : str
        Source of the data.
    valencies, multiplicities : (D,) arrays
        ``k_j`` and ``m_i``, without those of the diagonal and of the constant vector.
    gaps : function
        ``gaps(modes, relations)``, the block of ``1 - P_ij / k_j`` for n modes and m relations, given as indices into
        arrays (D,), as an (n, m) array. By default all indices; a ValueError if the block is too large.
    """

    source: str
    valencies: NDArray[np.float64]
    multiplicities: NDArray[np.float64]
    gaps: Callable[..., NDArray[np.float64]]


def scheme_definition(scheme: Scheme) -> SchemeDefinition:
    """Return an independent definition of a scheme: by its relations, or by the formula of its family.

    Parameters
    ----------
    scheme : Scheme
        Up to 256 classes the matrix of relations is used. Above, the formulas of `hadamard`, `cyclic`, `complete`,
        `hamming` and `johnson` are used; schemes without formula may have up to 1024 classes.

    Raises
    ------
    ValueError
        If the scheme has more than 1024 classes and no formula.

    Examples
    --------
    >>> definition = cf.reference.scheme_definition(cf.hamming(2, 3))
    >>> definition.source, definition.gaps()
    ('the matrix of relations', array([[0.75, 1.5 ],
           [1.5 , 0.75]]))
    """
    algebra: Any = None
    try:
        family = closed_form(scheme) if scheme.classes > COUNTED else None
    except ValueError as error:
        try:
            family = None
            algebra = relation_algebra(scheme)
        except ValueError as other:
            raise ValueError(f"{error}; {other}") from None
    else:
        algebra = relation_algebra(scheme) if family is None else None
    modes = scheme.modes
    every = np.arange(1, modes + 1)

    def gaps(modes: ArrayLike | None = None, relations: ArrayLike | None = None) -> NDArray[np.float64]:
        rows = every if modes is None else every[np.asarray(modes, int)]
        columns = every if relations is None else every[np.asarray(relations, int)]
        if rows.size * columns.size > MAX_ENTRIES:
            raise ValueError(
                f"the gaps of {rows.size} modes and {columns.size} relations of {scheme.name} are more than "
                f"{MAX_ENTRIES} numbers; ask for fewer modes"
            )
        if family is None:
            return algebra.gaps[np.ix_(rows - 1, columns - 1)]
        return np.array([family.gaps(int(i), columns) for i in rows]).reshape(rows.size, columns.size)

    if family is None:
        source, sizes = "the matrix of relations", (algebra.valencies, algebra.multiplicities)
    else:
        source, sizes = family.source, (family.valency(every), family.multiplicity(every))
    return SchemeDefinition(source, np.asarray(sizes[0], float), np.asarray(sizes[1], float), gaps)


class LossDefinition:
    """Loss from its formula, with values and residuals of any magnitude.

    Parameters
    ----------
    formula : str
        The loss of one sample in the odds of error ``S = sum_j k_j exp(-margin_j)``, in ``M = sum_j k_j margin_j``,
        ``Q = sum_j k_j margin_j^2``, the number K of classes, and parameters by their names; functions exp, log, log1p.
    parameters : mapping
        From names to numbers.

    Raises
    ------
    ValueError
        If the formula is invalid.

    Examples
    --------
    >>> loss = cf.losses.focal(2.0)
    >>> definition = cf.reference.LossDefinition(loss.formula, loss.parameters)
    >>> margins, k = np.array([[2.0]]), np.array([9.0])
    >>> f"{definition.log_value(margins, k)[0]:.10f}, {loss.log_value(margins, k)[0]:.10f}"
    '-1.4261637309, -1.4261637309'
    """

    def __init__(self, formula: str, parameters: Mapping[str, float]) -> None:
        self.formula, self.parameters = formula, {name: float(value) for name, value in parameters.items()}
        self._centred = centred(formula, tuple(self.parameters))
        self._has_moments = bool({"mean", "spread"} & names((*self._centred[:-1], *self._centred.terms)))

    def log_value(self, margins: NDArray[np.float64], valencies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithm of the loss of samples.

        Parameters
        ----------
        margins : (..., D) array
            ``z_0 - z_j`` for each relation, or each wrong class, j.
        valencies : (D,) array
            Positive numbers ``k_j`` of wrong classes.

        Returns
        -------
        (...) array
            -inf if the loss is 0.
        """
        about = self._about(margins, valencies)
        return about.evaluate(self._centred.value).size[..., 0]

    def residuals(
        self, margins: NDArray[np.float64], valencies: NDArray[np.float64], reached: NDArray[np.bool_] | bool = True
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Minus the derivatives of the loss in the margins, ``k_j r_j``, scaled so that the largest of the sizes is
        about 1.

        Parameters
        ----------
        margins, valencies
            As in `log_value`.
        reached : (..., D) array, optional
            Relations that act on some mode. Residuals of the others are set to 0 and do not affect the scale.

        Returns
        -------
        residuals : (..., D) array
            Residuals divided by ``exp(log_scale)``.
        sizes : (..., D) array
            Sums of the absolute values of their terms; times the margins they bound the effect of a relative change.
        log_scale : (...) array
        """
        about = self._about(margins, valencies)
        evaluate, least, odds = about.evaluate, about.least, about.odds
        # part from the odds: exp(lead) times numbers <= 1, which keep their digits for large exponents
        if reached is not True:
            margins = np.where(reached, margins, np.inf)
            least = np.minimum(margins.min(axis=-1, keepdims=True), LARGEST)
            odds = valencies * np.exp(least - margins)
        most = np.maximum(odds.max(axis=-1, keepdims=True), 1.0 / LARGEST)
        by_odds = evaluate(self._centred.by_odds)
        lead, odds = by_odds.size - least + np.log(most), by_odds.sign * odds / most
        if self._centred.common == self._centred.slope == "0":
            return odds, np.abs(odds), np.maximum(lead, -LARGEST)[..., 0]
        # other part
        counts = np.where(reached, valencies, 0.0)
        slopes = evaluate(self._centred.slope) * about.deviations
        rest, sizes = evaluate(self._centred.common) + slopes, abs(slopes)
        for term in self._centred.terms:
            sizes = sizes + abs(evaluate(term, mean=about.mean))
        rest, sizes = rest * counts, sizes * counts
        log_scale = np.maximum(lead, sizes.size.max(axis=-1, keepdims=True))
        odds = odds * np.exp(lead - log_scale)
        return odds - rest.value(log_scale), np.abs(odds) + sizes.value(log_scale), log_scale[..., 0]

    def _about(self, margins: NDArray[np.float64], valencies: NDArray[np.float64]) -> _About:
        least = np.minimum(margins.min(axis=-1, keepdims=True), LARGEST)
        odds = valencies * np.exp(least - margins)
        log_odds = np.log(odds.sum(axis=-1, keepdims=True)) - least
        wrong = float(np.sum(valencies))
        values: dict[str, Any] = self.parameters | {"S": Logarithmic(np.ones_like(log_odds), log_odds), "N": wrong}

        def evaluate(expression: str, **others: Any) -> Logarithmic:
            found = Logarithmic.of(interpret(expression, values | others, float))
            return Logarithmic(np.broadcast_to(found.sign, log_odds.shape), np.broadcast_to(found.size, log_odds.shape))

        if not self._has_moments:
            return _About(evaluate, least, odds)
        centre = interpret(self._centred.centre, values, float)
        shifted = margins - centre
        mean = (shifted @ valencies)[..., None] / wrong
        deviations = shifted - mean
        values["mean"], values["spread"] = (Logarithmic.of(x) for x in (mean, (deviations**2 @ valencies)[..., None]))
        return _About(evaluate, least, odds, deviations, Logarithmic.of(mean + centre))


class _About(NamedTuple):
    """A loss at margins (..., D), with the centre c of its formula."""

    evaluate: Callable[..., Logarithmic]  # value (..., 1) of an expression
    least: NDArray[np.float64]  # (..., 1) least margin
    odds: NDArray[np.float64]  # (..., D) odds times exp(least)
    deviations: Any = None  # (..., D) margins minus their mean; None if the formula has no moments
    mean: Any = None  # (..., 1)
