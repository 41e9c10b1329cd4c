"""The reduced flow on the D singular values of the logits."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from typing import TYPE_CHECKING, Any, Self, cast, overload

import numpy as np

from .._checks import checked_array, checked_integer, log_time_unit
from .._field import CompiledField, Event, LaneFields
from ..kernels import compiled, in_one_life
from ..losses import CrossEntropy
from ..network import coordinates
from ..network.factors import check_factors, check_whole_depth
from ..symmetry import Scheme, Symmetry, Transforms
from ._flow import Flow
from .blocks import BlockFlow
from .lanes_field import lane_fields
from .matrix import MatrixFlow
from .modes_field import PlainFields, modes_field
from .nearest_modes import nearest_modes
from .objective import Objective
from .ray import Ray
from .rest import Rest

if TYPE_CHECKING:
    from typing import Unpack

    from ..trajectory import SpectralTrajectory  # noqa: F401  # in quotes
    from ._options import BlocksOptions, ModesOptions

_BLANK: Any = object()
MOST_BY_LANES = 255  # modes of a run that shares vectors with others; more do not fit in the cache
LARGEST = 1e15  # singular value at the start: beside it, logits of other modes are lost in rounding


class SpectralFlow(Flow["SpectralTrajectory"]):
    """Gradient flow reduced by a symmetry to singular values of the logits or to blocks of layers.

    Under an association scheme the state is one number for each mode. Any other symmetry, and any option from `samples`
    on, returns a `BlockFlow`, whose state consists of blocks.

    Parameters
    ----------
    symmetry : Symmetry
        Association scheme whose eigenvectors are singular vectors of the weights and of the softmax, e.g.
        ``ceflow.hadamard(16)``; or a coherent configuration, e.g. ``ceflow.direct_sum(5, 5)`` for two groups of five
        classes.
    loss : str or Loss
        "cross_entropy", "squared_error", "label_smoothing", "focal", or a loss made by `ceflow.losses`, such as
        ``ceflow.losses.label_smoothing(0.2)``.
    depth : float
        Number L >= 2 of layers. For balanced layers on a scheme it may be fractional.
    reduction : {"mean", "sum"}
        Average (as in PyTorch) or sum of the loss over samples. With one sample per class, a time with "mean" is K
        times the time with "sum".
    weight_decay : float or tuple of floats
        Adds ``(weight_decay / 2) sum_l |W_l|^2`` to the loss, after the reduction. A tuple has one number for each
        layer.
    samples, weights, logit_adjustment, logit_scale : float or tuple of floats
        As in `ceflow.flow.Objective`: number of equal samples that a column of H stands for, weight of a sample, shift
        and factor of a logit. One number for all classes, or one for each fibre (group of classes).
    bias, bias_decay, frozen, targets, activation
        As in `ceflow.flow.Objective`.
    class_fibres : int or tuple of ints
        Fibres of the symmetry that are classes; default all.
    hidden_fibres : int or tuple of ints
        Fibres that are the hidden units of every layer, if there is an activation; default all. Hidden units of linear
        layers need no symmetry.

    Notes
    -----
    Garrod, Keating & Thrampoulidis, arXiv:2512.04006, for Hadamard schemes and two layers; arXiv:2605.23087 for more
    layers. Other schemes and symmetries, unbalanced layers, other losses and the options are [ceflow].

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.hadamard(4), depth=3), [0.01, 0.02, 0.03], 1e3, rtol=1e-6)
    >>> run.singular_values[-1].round(3)  # the smallest is left behind
    array([ 0.955, 19.994, 20.002])
    """

    kind = "spectral"

    scheme: Scheme

    @overload  # a scheme without options; below, any other symmetry or options, which return a BlockFlow
    def __new__(cls, symmetry: Scheme, **options: Unpack[ModesOptions]) -> Self: ...  # type: ignore[overload-overlap]
    @overload
    def __new__(cls, symmetry: Symmetry, **options: Unpack[BlocksOptions]) -> BlockFlow: ...  # type: ignore[misc]
    def __new__(cls, symmetry: Symmetry = _BLANK, **options: Any) -> Any:
        if symmetry is _BLANK:  # pickle calls it without arguments
            return super().__new__(cls)
        if not isinstance(symmetry, Symmetry):
            raise TypeError(
                f"symmetry must be a Symmetry such as ceflow.hadamard(16) or ceflow.direct_sum(5, 5), got "
                f"{type(symmetry).__name__}"
            )
        fibres = {name: options.pop(name) for name in ("class_fibres", "hidden_fibres") if name in options}
        objective = Objective(**options)
        if isinstance(symmetry, Scheme) and objective.plain and not fibres:
            return super().__new__(cls)
        return BlockFlow(symmetry, objective, **fibres)

    if not TYPE_CHECKING:  # type checkers use the overloads of __new__

        def __init__(self, symmetry: Scheme, **options: Any) -> None:
            super().__init__(Objective(**options))
            self.scheme = symmetry

    def __repr__(self) -> str:
        return f"SpectralFlow({self.scheme.name}{self.objective.text})"

    @property
    def spec(self) -> dict:
        return super().spec | {"scheme": self.scheme.spec}

    _decay = property(lambda self: self.weight_decay, doc="Weight decay of all layers.")

    @functools.cached_property
    def plain(self) -> bool:
        """Whether this is cross-entropy on two layers without decay. Lyapunov functions, bounds and the collapsed
        solution are proved for this case."""
        return self.depth == 2 and isinstance(self.loss, CrossEntropy) and self.weight_decay == 0.0

    # -- interface for runs -------------------------------------------------------------------------------------------

    def start(self, start: np.ndarray) -> np.ndarray:
        """Check a start: singular values (D,) of balanced layers, or layers (depth, D). A batch of starts is
        rejected."""
        if isinstance(start, tuple) and len(start) > 1 and all(np.ndim(part) == 2 for part in start):
            raise ValueError(
                "the start of a reduced flow is singular values or layers of modes, got matrices: "
                "flow.project(W, H)[0] is their symmetric part, and cf.MatrixFlow() accepts matrices"
            )
        values = np.ascontiguousarray(checked_array("s0", start))
        modes, depth = self.scheme.modes, self.depth
        if values.shape != (modes,) and (values.shape != (depth, modes)):
            layers = f", or ({depth}, {modes}), layers," if isinstance(depth, int) else ""
            several = "; several starts are several runs" if values.ndim > 1 else ""
            raise ValueError(
                f"s0 must have shape ({modes},), singular values{layers} for {self.scheme.name}; got "
                f"{values.shape}{several}"
            )
        limit = 300 if values.ndim == 1 else 300 // depth
        smallest, largest, product = coordinates.extent(values.reshape(-1, modes))
        if smallest < 10.0**-limit or largest > 10.0**limit:
            raise ValueError(f"s0 must be 0 or between 1e-{limit} and 1e{limit} in absolute value")
        if product > LARGEST:
            raise ValueError(f"singular values must be at most {LARGEST:g}; larger ones would never move")
        return values

    def starts(self, starts: Any) -> np.ndarray | list:
        modes = self.scheme.modes
        if self.kind == "spectral" and isinstance(starts, np.ndarray) and starts.shape[1:] == (modes,):
            with contextlib.suppress(ValueError, TypeError):  # if this fails, the starts are checked one by one
                values = np.ascontiguousarray(checked_array("starts", starts))
                sizes = np.abs(values)
                if sizes[sizes > 0.0].min(initial=np.inf) >= 1e-300 and sizes.max() <= LARGEST:
                    return values
        return super().starts(starts)

    def origin(self, start: np.ndarray) -> np.ndarray:
        """Coordinates of the start."""
        return np.zeros(self.scheme.modes + (self._decay > 0.0 and coordinates.needs_theta(start)))

    def state(self, start: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Layers at the coordinates y; singular values if the depth is not an integer."""
        if isinstance(self.depth, int):
            return self.layers_at(start, y[None])[0]
        return self.evaluate(start, y[None])[0][0]

    def segment(self, kind: str, start: np.ndarray, y: np.ndarray, log_t: float):
        """Closed form ("rest" or "ray") of the flow from the state y on."""
        if kind == Ray.kind:
            return Ray(self.scheme, self.reduction, start, y, log_t)
        if kind == Rest.kind:
            return Rest(y, log_t, self._decay if y.size > self.scheme.modes else 0.0)
        raise ValueError(f"a reduced flow has no closed form {kind!r}")

    @in_one_life
    def motion(
        self, start: np.ndarray, y: np.ndarray, log_t: float, rtol: float, atol: float = 0.0, closed_form: bool = True
    ):
        """Vector field at y, or a closed form for all later times."""
        plain = self.plain and start.ndim == 1
        if plain and atol == 0.0 and np.count_nonzero(start) == start.size:
            closes = bool(closed_form and np.count_nonzero(start > 0.0) == start.size)
            field = self._plain_fields(closes)(start)
            if field.event(y, y, rtol) == Event.NONE:
                return field
        general, closes = self._modes_field(start, y, atol, closed_form)
        if general is None:
            return self.segment(Rest.kind, start, y, log_t)
        if closes and general.event(y, y, rtol) == Event.CHANGE:  # the modes have merged
            return self.segment(Ray.kind, start, y, log_t)
        return general

    def _modes_field(self, start, y, atol: float, closed_form: bool) -> tuple[CompiledField | None, bool]:
        """Vector field, or None if the state is constant; and whether a closed form may replace it later."""
        constants, modes = coordinates.constants(start, self.depth), self.scheme.modes
        equal_pairs = coordinates.equal_pairs(start, self.depth)
        vanished = coordinates.vanished(constants, equal_pairs)
        direction, active = np.empty(modes), np.empty(modes)
        count, growing = coordinates.mobility(constants, vanished, y, direction, active)
        if count == 0:
            return None, False
        weights, valencies, transforms, classes, log_unit = self._known
        closes = bool(closed_form and self.plain and growing == modes)
        unequal = coordinates.unbalanced(constants)
        if self.plain and count == modes and not unequal and atol == 0.0:
            return self._plain_fields(closes)(constants[0]), closes
        base = 1.0
        if count < modes:
            reached = self.scheme.margins(active) * self.scheme.classes > 1e-9 / self.scheme.classes
            base += float(valencies[~reached].sum())
            valencies = np.where(reached, valencies, 0.0)
        # In deeper networks small modes lag behind; their growth depends on forces far below the largest one.
        forces = transforms.forces if self.depth == 2 else transforms.single_forces
        field = modes_field(
            constants, weights, valencies, active, direction, transforms.margins, forces, self.loss, size=y.size,
            base=base, count=count, decay=self._decay * math.exp(log_unit), equal_pairs=equal_pairs,
            unequal=unequal, closes=closes, classes=classes, log_unit=log_unit, vanished=vanished,
        )  # fmt: skip
        return field, closes

    def side_by_side(self, starts: np.ndarray, closed_form: bool = True) -> list[tuple[np.ndarray, LaneFields]]:
        """Indices and fields of the starts that several-run vectors can integrate (`lanes_field`). The result of a
        start does not depend on the other starts."""
        modes = self.scheme.modes
        if not self.plain or starts.ndim != 2 or modes > MOST_BY_LANES:
            return []
        weights, valencies, transforms, classes, log_unit = self._known
        common = {"classes": classes, "log_unit": log_unit, "vanished": coordinates.vanished(np.empty((3, 0)), 0.0)}
        growing, moving = (starts > 0.0).all(axis=1), starts.all(axis=1)
        found = []
        for which, closes in ((growing, closed_form), (moving & ~growing, False)):
            places = np.flatnonzero(which)
            if len(places):
                found.append((places, lane_fields(starts[places], weights, valencies, transforms, closes, **common)))
        return found

    def singular_values_of(self, starts: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Singular values (m, r, D) of m starts (m, D) at coordinates (m, r, D)."""
        s, gain = np.empty_like(y), np.empty(starts.size)
        constants = coordinates.constants(starts.ravel(), self.depth)
        pairs = coordinates.equal_pairs(starts[0], self.depth)
        for row in range(y.shape[1]):  # each mode is evaluated by itself, so starts can be rows of one array
            found = np.empty(starts.size)
            coordinates.singular_values(constants, pairs, False, y[:, row].ravel(), found, gain)
            s[:, row] = found.reshape(starts.shape)
        return s

    def __getstate__(self) -> dict:
        # factories of fields hold memory addresses of this process
        return {name: value for name, value in self.__dict__.items() if name not in ("_makers", "_known")}

    @functools.cached_property
    def _makers(self) -> dict[tuple[bool, bool], PlainFields]:
        """Factories of fields, by (compiled, closed form allowed)."""
        return {}

    def _plain_fields(self, closes: bool) -> PlainFields:
        """Factory of plain fields, interpreted or compiled as the process is now."""
        known = compiled(), closes
        if known not in self._makers:
            weights, valencies, transforms, classes, log_unit = self._known
            vanished = coordinates.vanished(np.empty((3, 0)), 0.0)
            self._makers[known] = PlainFields(weights, valencies, transforms, closes, classes, log_unit, vanished)
        return self._makers[known]

    @functools.cached_property
    def _known(self) -> tuple[np.ndarray, np.ndarray, Transforms, float, float]:
        """Multiplicities / K (D,), valencies (D,), transforms of the scheme, K, and the log unit of time."""
        scheme, log_unit = self.scheme, log_time_unit(self.scheme.classes, self.reduction)
        weights, valencies = scheme.multiplicities[1:] / scheme.classes, scheme.valencies[1:].astype(float)
        return weights, valencies, scheme.transforms, float(scheme.classes), log_unit

    def evaluate(self, start: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Singular values (n, D) at coordinates (n, N), and their gains (see `ceflow.network.coordinates`)."""
        constants = coordinates.constants(start, self.depth)
        s, gain = np.empty((2, len(y), self.scheme.modes))
        equal_pairs, unequal = coordinates.equal_pairs(start, self.depth), coordinates.unbalanced(constants)
        coordinates.singular_values_of_rows(constants, equal_pairs, unequal, np.ascontiguousarray(y), s, gain)
        return s, gain

    def layers_at(self, start: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Layers (n, depth, D) at coordinates (n, N); `lift` accepts them as `rows`."""
        return coordinates.layers_at(start, y, self.depth)

    # -- between modes and matrices -----------------------------------------------------------------------------------

    def full(self) -> MatrixFlow:
        """Flow on full matrices whose reduction this is."""
        given = self.objective
        return MatrixFlow(
            loss=given.loss, depth=cast(int, given.depth), reduction=given.reduction, weight_decay=given.weight_decay
        )

    def lift(
        self,
        start: np.ndarray,
        *,
        width: int | None = None,
        rng: np.random.Generator | int | None = 0,
        rows: np.ndarray | None = None,
    ) -> tuple[np.ndarray, ...]:
        """Full matrices with these singular values in the basis of the scheme.

        ``W = Q diag(a) R^T, H = R diag(b) Q^T`` where Q is the basis of the scheme and R is random with orthonormal
        columns. Deeper networks have factors ``R_l diag(w) R_(l+1)^T`` in between.

        Parameters
        ----------
        start : (D,) or (depth, D) array
            Singular values of balanced layers, or singular values of each layer.
        width : int, optional
            Feature dimension d >= K - 1; default K.
        rng : int or numpy Generator
            Seed or generator of R.
        rows : (n, depth, D) array, optional
            Replaces the layers of the start. All n use the same R, and the matrices get a leading axis n.

        Returns
        -------
        W : (K, d) array
        (d, d) arrays
            depth - 2 of them.
        H : (d, K) array

        Examples
        --------
        >>> W, H = cf.SpectralFlow(cf.hadamard(4)).lift([0.1, 0.2, 0.3], width=6)
        >>> np.linalg.svd(W @ H)[1].round(4)
        array([0.3, 0.2, 0.1, 0. ])
        """
        classes = self.scheme.classes
        width = checked_integer("width", classes if width is None else width)
        if width < classes - 1:
            raise ValueError(f"width must be at least K - 1 = {classes - 1}, the number of modes, got {width}")
        depth = check_whole_depth(self.depth)
        rows = coordinates.layers_of(self.start(start), depth) if rows is None else rows
        layers = rows[..., self.scheme.columns[1:] - 1]
        basis = self.scheme.basis()[:, 1:]
        rng = np.random.default_rng(rng)
        frames = [np.linalg.qr(rng.standard_normal((width, classes - 1)))[0] for _ in range(depth - 1)]
        frames = [basis, *frames, basis]
        return tuple(
            (left * layers[..., i, None, :]) @ right.T for i, (left, right) in enumerate(itertools.pairwise(frames))
        )

    def project(self, *factors: np.ndarray) -> tuple[np.ndarray, float]:
        """Project full matrices to layers of modes, and measure their distance from the scheme.

        Parameters
        ----------
        *factors : arrays
            (W, H), or one factor for each layer; their product is Z.

        Returns
        -------
        layers : (depth, D) array
            First row: a_i >= 0, the root mean square of the rows of ``Q_i^T W`` on each eigenspace. Last row: b_i, the
            same of ``H Q_i``, with the sign of ``tr(E_i Z)``. Rows in between: the factor by which that layer
            multiplies the product.
        off_diagonal : float
            Relative distance from the scheme. It is the largest of ``|X - sum_i x_i E_i|_F / |X|_F``, where x_i is the
            mean of X on eigenspace i and X is Z or a Gram matrix (``W W^T``, ``H^T H``) of the partial products from
            either side; or ``|s_i - product of layers|`` with the same weights, if that is larger.

        Examples
        --------
        >>> flow = cf.SpectralFlow(cf.hadamard(4))
        >>> layers, off_diagonal = flow.project(*flow.lift([0.1, 0.2, 0.3]))
        >>> layers.prod(axis=0).round(12), off_diagonal < 1e-12
        (array([0.1, 0.2, 0.3]), True)
        """
        return nearest_modes(self.scheme, check_factors(factors, cast(int, self.depth), self.scheme.classes))
