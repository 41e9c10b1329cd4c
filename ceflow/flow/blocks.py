"""Reduced flow under any symmetry, on blocks of the layers."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._checks import checked_array, checked_integer
from ..kernels import cached_in_each_life, in_one_life
from ..losses import SquaredError
from ..network import coordinates
from ..network.chain import Level
from ..network.factors import check_factors
from ..network.layers import Layers, ends, sides, unpacked
from ..symmetry import Symmetry
from . import block_motion, block_starts, lifting
from ._flow import Flow
from .block_maps import Maps, entry_maps, margin_maps
from .block_sizes import BlockSizes
from .matrix import MatrixFlow
from .objective import Objective
from .rest import Rest

if TYPE_CHECKING:
    from ..trajectory import BlockTrajectory  # noqa: F401  # in quotes


class BlockFlow(BlockSizes, Flow["BlockTrajectory"]):
    """Gradient flow reduced to the blocks of an adapted basis of a symmetry; returned by `SpectralFlow`.

    Attributes
    ----------
    symmetry : Symmetry
    class_fibres : tuple of ints
        Fibres of the symmetry that are classes. The columns of H have the same symmetry.
    hidden_fibres : tuple of ints
        Fibres that are hidden units, if there is an activation; else empty, and the start determines the widths.

    Examples
    --------
    >>> flow = cf.SpectralFlow(cf.direct_sum(5, 5), samples=(10, 1), weight_decay=1e-2)
    >>> run = cf.integrate(flow, flow.random_start(0.1, rng=0), 1e4, rtol=1e-6)
    >>> best = cf.theory.imbalance.equilibrium((5, 5), (10, 1), 1e-2)
    >>> f"{run.margin[-1]:.4f}, {best.margins.min():.4f}"  # smallest margins
    '2.0317, 2.0317'
    """

    kind = "blocks"

    def __init__(
        self,
        symmetry: Symmetry,
        objective: Objective,
        class_fibres: Sequence[int] | int | None = None,
        hidden_fibres: Sequence[int] | int | None = None,
    ) -> None:
        super().__init__(objective)
        self.symmetry = symmetry
        count = len(symmetry.fibres)
        self.class_fibres = _fibres("class_fibres", class_fibres, count)
        if objective.act.linear:
            if hidden_fibres is not None:
                raise ValueError("hidden_fibres are an option of networks with an activation; linear layers need none")
            self.hidden_fibres: tuple[int, ...] = ()
        else:
            self.hidden_fibres = _fibres("hidden_fibres", hidden_fibres, count)
        self._check_objective()

    def _check_objective(self) -> None:
        given, fibres = self.objective, len(self.class_fibres)
        if not isinstance(given.depth, int):
            raise ValueError(f"depth must be an integer for this symmetry or these options, got {given.depth}")
        if given.labels is not None:
            raise ValueError("labels need a MatrixFlow: here a column of H stands for all samples of a class")
        if given.kernel is not None:
            raise ValueError("kernel needs a MatrixFlow")
        if given.terms:
            raise ValueError("terms are functions of the layers of full matrices: use a MatrixFlow")
        for name in ("samples", "weights", "logit_adjustment", "logit_scale"):
            value = getattr(given, name)
            if isinstance(value, tuple) and len(value) != fibres:
                raise ValueError(
                    f"{name} must be a number or one for each of {fibres} fibres of classes (groups of equivalent "
                    f"classes), got {len(value)}"
                )

    def __repr__(self) -> str:
        fibres = "" if len(self.class_fibres) == len(self.symmetry.fibres) else f", class_fibres={self.class_fibres}"
        hidden = f", hidden_fibres={self.hidden_fibres}" if self.hidden_fibres else ""
        return f"SpectralFlow({self.symmetry.name}{fibres}{hidden}{self.objective.text})"

    @property
    def spec(self) -> dict:
        own = {"symmetry": self.symmetry.spec, "class_fibres": list(self.class_fibres)}
        return super().spec | own | ({"hidden_fibres": list(self.hidden_fibres)} if self.hidden_fibres else {})

    # -- starts --------------------------------------------------------------------------------------------------------

    def start(self, start: Layers | Sequence) -> Layers:
        """Check a start: `Layers`, or a sequence of blocks (see `layers`)."""
        if not isinstance(start, Layers):
            return self.layers(start)
        widths = np.ascontiguousarray(start.widths)
        expected = (len(self.kept), self.depth - 1)
        if widths.dtype.kind not in "iu" or widths.shape != expected or widths.min(initial=0) < 0:
            raise ValueError(f"widths of a start must be {expected} integers, got {widths.dtype} of {widths.shape}")
        if self.hidden_fibres and np.any(widths != self.hidden_sizes[:, None]):
            raise ValueError("widths of a start must be the sizes of the hidden fibres")
        shape = sides(self.outer, widths.astype(np.int64))
        limit = 10.0 ** (300 // self.depth)
        flat = np.ascontiguousarray(checked_array("start", start.flat, -limit, limit))
        size = int((shape[:, :-1] * shape[:, 1:]).sum())
        if flat.shape != (size,):
            raise ValueError(f"a start must have {size} numbers in its layers, got shape {flat.shape}")
        bias = np.ascontiguousarray(checked_array("bias", start.bias, -1e100, 1e100))
        if bias.shape != (self.biases,):
            raise ValueError(f"bias must have one number for each of {self.biases} fibres, got shape {bias.shape}")
        found = Layers(flat, widths.astype(np.int64), bias)
        block_starts.check_structure(self, found)
        return found

    def layers(self, blocks: Sequence, bias: Sequence[float] | None = None) -> Layers:
        """Make layers from their blocks.

        Parameters
        ----------
        blocks : sequence, one item for each block of the symmetry that acts on the classes
            Each item is one of: ``depth`` matrices (n, w), ..., (w, n), or ``depth`` numbers for a block of size 1; the
            block (n, n) of the logits, or a number for size 1, which is factored into balanced layers (linear networks
            only); None for a zero block. The first block, of the constant vectors, may be left out; it is then 0.
        bias : (F,) numbers, optional
            Default 0.

        Returns
        -------
        Layers

        Raises
        ------
        TypeError, ValueError
            If a block has another form.

        Notes
        -----
        Layers are balanced if ``W^T W = H N H^T``, where N is the diagonal matrix of the samples per column.
        """
        return self.start(block_starts.layers(self, blocks, bias))

    def collapsed_start(self, s: float) -> Layers:
        """Balanced layers with the collapsed logits ``s (I - 11^T / K)`` (a simplex equiangular tight frame)."""
        return self.layers(block_starts.collapsed(self, s))

    def random_start(self, scale: float = 1e-3, rng: np.random.Generator | int | None = 0) -> Layers:
        """Small random layers, with independent Gaussian entries of standard deviation `scale` in every block. The
        constant block has no part that adds the same number to all logits of a column. The bias is 0."""
        return self.layers(block_starts.random(self, scale, np.random.default_rng(rng)))

    # -- between blocks and matrices -----------------------------------------------------------------------------------

    def lift(
        self,
        start: Layers | Sequence,
        *,
        width: int | None = None,
        rng: np.random.Generator | int | None = 0,
        rows: np.ndarray | None = None,
    ) -> tuple[np.ndarray, ...]:
        """Full matrices with these blocks.

        Parameters
        ----------
        start : Layers, or blocks as in `layers`
        width : int, optional
            Feature dimension d, at least the sum of the block widths; default the larger of K and this sum. With an
            activation the hidden units are the points of the hidden fibres.
        rng : int or numpy Generator
            Seed or generator of the orthonormal frames of hidden units.
        rows : (n, N + F) array, optional
            Replaces the flat layers and biases of the start. All n use the same frames, and the matrices get a leading
            axis.

        Returns
        -------
        W : (K, d) array
        (d, d) arrays
            depth - 2 of them.
        H : (d, K) array
        b : (K,) array
            Only with a bias.
        """
        width = None if width is None else checked_integer("width", width, 1)
        return lifting.lift(self, self.start(start), width, np.random.default_rng(rng), rows)

    def full(self) -> MatrixFlow:
        """Flow on full matrices whose reduction this is."""
        options = {field.name: getattr(self.objective, field.name) for field in dataclasses.fields(Objective)}
        place = np.searchsorted(self.class_fibres, self.class_fibre)
        for name in ("samples", "weights", "logit_adjustment", "logit_scale"):
            if isinstance(options[name], tuple):
                options[name] = tuple(options[name][f] for f in place)
        return MatrixFlow(**options)

    def project(self, *factors: np.ndarray) -> tuple[Layers, float]:
        """Project full matrices to layers of blocks, and measure their distance from the symmetry.

        Parameters
        ----------
        *factors : arrays
            W (K, d), ..., H (d, K), and the bias (K,) if the flow has one.

        Returns
        -------
        start : Layers
            Start for `integrate`.
        off_symmetry : float
            Largest ``|X - X'|_F / |X|_F`` over the factors X, where X' is X rebuilt from the blocks. Hidden units that
            no layer connects to the classes count too.
        """
        bias = factors[self.depth] if self.objective.bias and len(factors) == self.depth + 1 else None
        layers = check_factors(factors[: self.depth] if bias is not None else factors, self.depth, self.classes)
        if bias is not None:
            bias = checked_array("b", bias)
            if bias.shape != (self.classes,):
                raise ValueError(f"b must have shape ({self.classes},), got {bias.shape}")
        return lifting.project(self, layers, bias)

    # -- interface for runs --------------------------------------------------------------------------------------------

    @functools.cached_property
    def common_decay(self) -> float | None:
        """Common decay of all layers; None if a layer is frozen or the decays differ."""
        decays = set(self.objective.decays)
        return decays.pop() if len(decays) == 1 and not any(f != "b" for f in self.objective.frozen) else None

    def _scaled(self, start: Layers) -> np.ndarray:
        """Flat layers with columns scaled by the square root of their number of samples."""
        return start.flat * self.roots(start)

    def is_mode(self, start: Layers) -> np.ndarray:
        """(I,) whether a block has one coordinate: size 1, linear layers, no frozen layer, equal decays."""
        found = (self.outer == 1) & np.all(start.widths == 1, axis=1) & (self.common_decay is not None)
        found &= self.objective.act.linear
        if self.objective.bias:
            found[0] = False  # the bias belongs to the constant block
        if found.any() and self.common_decay:
            layers = np.abs(self.mode_layers(start, found))
            found[found] = (np.ptp(layers, axis=0) <= 1e-15 * layers.max(axis=0)).reshape(-1, found.sum()).all(axis=0)
        return found

    def mode_layers(self, start: Layers, modes: np.ndarray) -> np.ndarray:
        """(depth, ..., D) scaled layers of the D blocks that are modes."""
        last = ends(sides(self.outer, start.widths))[modes]
        layers = np.moveaxis(self._scaled(start)[..., last - 1], -1, 0)
        if self.common_decay and layers.size:  # equal up to rounding
            size = np.exp(np.mean(np.log(np.maximum(np.abs(layers), 1e-320)), axis=0)) * np.any(layers != 0.0, axis=0)
            spread = np.ptp(np.abs(layers), axis=0) <= 1e-15 * np.abs(layers).max(axis=0)
            layers = np.where(spread, np.copysign(size, layers), layers)
        return np.ascontiguousarray(layers)

    def _in_blocks(self, start: Layers) -> np.ndarray:
        """Whether each number of the flat layers is in a larger block."""
        shape = sides(self.outer, start.widths)
        return np.repeat(~self.is_mode(start), (shape[:, :-1] * shape[:, 1:]).sum(axis=1))

    def origin(self, start: Layers) -> np.ndarray:
        """Coordinates of the start: 0 for each mode, the layers of the larger blocks, the bias."""
        modes = int(self.is_mode(start).sum())
        return np.concatenate([np.zeros(modes), self._scaled(start)[self._in_blocks(start)], start.bias])

    def state(self, start: Layers, y: np.ndarray) -> Layers:
        """Start of a new run from the state y of a run from `start`."""
        return Layers(self.flat_layers(start, y[None])[0], start.widths, self.bias_of(y[None])[0])

    def segment(self, kind: str, start: Layers, y: np.ndarray, log_t: float):
        """Closed form "rest" from the state y on."""
        if kind != Rest.kind:
            raise ValueError(f"a flow under a symmetry has no closed form {kind!r}")
        return Rest(y, log_t)

    @in_one_life
    def motion(self, start: Layers, y, log_t: float, rtol: float, atol: float = 0.0, closed_form: bool = True):
        """Vector field at y, or Rest if the state is constant."""
        return block_motion.motion(self, start, y, log_t, rtol)

    # -- functions of a state ------------------------------------------------------------------------------------------

    def flat_layers(self, start: Layers, y: np.ndarray) -> np.ndarray:
        """(n, N) flat layers as in `Layers`, at coordinates (n, M) from a start, or from n ones that are joined."""
        modes, last = self.is_mode(start), ends(sides(self.outer, start.widths))
        count, found = int(modes.sum()), np.empty((len(y), start.flat.shape[-1]))
        inside = self._in_blocks(start)
        found[:, inside] = y[:, count : count + int(inside.sum())]
        if count:
            layers, moved = self.mode_layers(start, modes), y[:, :count]
            if start.flat.ndim == 2:  # each mode is evaluated by itself, so all rows can be one
                layers, moved = layers.reshape(self.depth, -1), moved.reshape(1, -1)
            at = coordinates.layers_at(layers, moved, self.depth).swapaxes(0, 1)
            found[:, last[modes] - 1] = np.moveaxis(at.reshape(self.depth, len(y), count), 0, -1)
        return found / self.roots(start)

    def layers_at(self, start: Layers, y: np.ndarray) -> np.ndarray:
        """(n, N + F) flat layers and biases at coordinates (n, M); `lift` accepts them as `rows`."""
        return np.concatenate([self.flat_layers(start, y), self.bias_of(y)], axis=1)

    def bias_of(self, y: np.ndarray) -> np.ndarray:
        """(n, F) bias of each fibre at coordinates (n, M); (n, 0) without a bias."""
        return y[:, y.shape[1] - self.biases :]

    def logit_blocks(self, start: Layers, y: np.ndarray) -> np.ndarray:
        """(n, B) block entries of the logits without the bias, row-major one block after another."""
        shape = sides(self.outer, start.widths)
        flat = self.flat_layers(start, y)
        if self.objective.act.linear and np.all(shape == 1):
            return np.prod(flat.reshape(len(y), -1, self.depth), axis=-1)
        blocks = unpacked(flat, shape)
        products = [layers[-1] for layers in blocks]
        for layer in range(self.depth - 2, -1, -1):
            if not self.objective.acts[layer].linear:
                products = self._activated(products)
            products = [layers[layer] @ product for layers, product in zip(blocks, products, strict=True)]
        return np.concatenate([product.reshape(len(y), -1) for product in products], axis=1)

    def _activated(self, products: list[np.ndarray]) -> list[np.ndarray]:
        """Activation of the matrices between hidden units and columns, given by blocks (n, rows, columns)."""
        level = self.level
        flat = np.concatenate([product.reshape(len(product), -1) for product in products], axis=1)
        flat = self.objective.act.value(flat @ level.to_entries.T) @ level.to_blocks.T
        cuts = np.cumsum([product[0].size for product in products])[:-1]
        return [new.reshape(old.shape) for new, old in zip(np.split(flat, cuts, axis=1), products, strict=True)]

    def seen(
        self, start: Layers, y: np.ndarray, scale: np.ndarray | None = None, maps: Maps | None = None
    ) -> np.ndarray:
        """(n, R) arguments of the loss, bias included: margins ``z_own - z_r`` on the relations of `maps`, or logits
        for the squared error. `scale` (F,) multiplies the logits of each fibre; `maps` replaces the default maps."""
        maps, blocks = maps or self.maps, self.logit_blocks(start, y)
        if scale is not None:
            blocks = blocks * np.repeat(scale[self.fibre_of_index], np.repeat(self.outer, self.outer))
        found = maps.into(blocks * maps.weights)
        if self.biases:
            bias = self.bias_of(y) if scale is None else self.bias_of(y) * scale
            found += bias[:, maps.row_fibre] if maps.targets.size else maps.between(bias)
        return found

    @cached_in_each_life
    def maps(self) -> Maps:
        """Maps between blocks of logits and the arguments of the loss."""
        if isinstance(self.loss, SquaredError):
            return entry_maps(self.symmetry, self.class_fibres, self._targets)
        return self.margin_maps

    @cached_in_each_life
    def margin_maps(self) -> Maps:
        """Maps between blocks of logits and margins."""
        return margin_maps(self.symmetry, self.class_fibres, single=self.depth > 2)

    @functools.cached_property
    def _targets(self) -> np.ndarray:
        """(R,) targets of the squared error on all relations."""
        given, symmetry = self.objective.targets, self.symmetry
        if isinstance(given, str):
            found = np.full(symmetry.rank, -1.0 / self.classes if given == "centred" else 0.0)
            found[symmetry.diagonals] += 1.0
            return found
        inside = np.isin(symmetry.fibre_of, self.class_fibres)
        labels = symmetry.relations()[np.ix_(inside, inside)]
        if given.shape != labels.shape:
            raise ValueError(f"targets must be {labels.shape}, got {given.shape}")
        count = np.bincount(labels.ravel(), minlength=symmetry.rank)
        found = np.bincount(labels.ravel(), given.ravel(), minlength=symmetry.rank) / np.maximum(count, 1)
        off = np.abs(given - found[labels]).max()
        if off > 1e-12 * np.abs(given).max():
            raise ValueError(f"targets must be constant on the relations of {symmetry.name}, they differ by {off:g}")
        return found

    def __getstate__(self) -> dict:
        # maps hold memory addresses of this process
        return {name: value for name, value in self.__dict__.items() if name not in ("_in_each_life", "level")}

    @functools.cached_property
    def level(self) -> Level:
        """The blocks that an activation acts on."""
        return Level(*self.symmetry.map(self.hidden_fibres, self.class_fibres)[:2])


def _fibres(name: str, given: Sequence[int] | int | None, count: int) -> tuple[int, ...]:
    """Checked indices of fibres."""
    if given is None:
        return tuple(range(count))
    each = [given] if isinstance(given, int) or np.ndim(given) == 0 else list(given)
    found = tuple(checked_integer(name, f, 0, count - 1) for f in each)
    if not found or len(set(found)) != len(found):
        raise ValueError(f"{name} must be distinct fibres, got {given!r}")
    return tuple(sorted(found))
