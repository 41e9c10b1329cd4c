"""The reduced flow under any symmetry: blocks of layers in place of singular values."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .._checks import checked_array, checked_integer
from ..losses import SquaredError
from ..network import coordinates
from ..network.chain import LINEAR, RELU, SOFTPLUS, Level, chain_of
from ..network.layers import Layers, ends, packed, sides, unpacked
from ..symmetry import LinearMap, Symmetry, dense_map
from ._flow import Flow
from .blocks_field import Parts, blocks_field
from .objective import Objective
from .rest import Rest

_KINDS = {"linear": LINEAR, "relu": RELU, "softplus": SOFTPLUS}


class BlockFlow(Flow):
    """Gradient flow reduced to the blocks of an adapted basis of a symmetry. Made by `SpectralFlow`.

    Attributes
    ----------
    symmetry : Symmetry
    class_fibres : tuple of ints
        The fibres of the symmetry that are classes; columns of H have the same symmetry.
    hidden_fibres : tuple of ints
        Those that are hidden units, where an activation acts on them; else empty, and the widths are those of the
        start.
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
                raise ValueError("hidden_fibres are for networks with an activation: linear layers need none")
            self.hidden_fibres: tuple[int, ...] = ()
        else:
            self.hidden_fibres = _fibres("hidden_fibres", hidden_fibres, count)
        self._check_objective()

    def _check_objective(self) -> None:
        given, fibres = self.objective, len(self.class_fibres)
        if not isinstance(given.depth, int):
            raise ValueError(f"depth must be an integer under options or a symmetry of several fibres, got {given.depth}")
        if given.labels is not None:
            raise ValueError("labels tell samples of a class apart: use a MatrixFlow; here a column stands for a class")
        if given.kernel is not None:
            raise ValueError("kernel needs a MatrixFlow")
        for name in ("samples", "weights", "logit_adjustment", "logit_scale"):
            value = getattr(given, name)
            if isinstance(value, tuple) and len(value) != fibres:
                raise ValueError(
                    f"{name} must be a number or one for each of {fibres} fibres of classes (groups of classes that "
                    f"are alike), got {len(value)}"
                )

    def __repr__(self) -> str:
        fibres = "" if len(self.class_fibres) == len(self.symmetry.fibres) else f", class_fibres={self.class_fibres}"
        hidden = f", hidden_fibres={self.hidden_fibres}" if self.hidden_fibres else ""
        return f"SpectralFlow({self.symmetry.name}{fibres}{hidden}{self.objective.text})"

    @property
    def spec(self) -> dict:
        own = {"symmetry": self.symmetry.spec, "class_fibres": list(self.class_fibres)}
        return super().spec | own | ({"hidden_fibres": list(self.hidden_fibres)} if self.hidden_fibres else {})

    # -- sizes ---------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def fibre_sizes(self) -> np.ndarray:
        """(F,) classes in each fibre."""
        return np.array([self.symmetry.fibres[f] for f in self.class_fibres], float)

    @property
    def classes(self) -> int:
        """K."""
        return int(self.fibre_sizes.sum())

    def per_fibre(self, name: str) -> np.ndarray:
        """(F,) values of an option of the objective."""
        value = getattr(self.objective, name)
        return np.broadcast_to(np.array(1.0 if value is None else value, float), len(self.class_fibres)).copy()

    @property
    def log_unit(self) -> float:
        """Log of time over the time of reduction "sum"."""
        number = float(self.per_fibre("samples") @ self.fibre_sizes)
        return math.log(number) if self.reduction == "mean" else 0.0

    @functools.cached_property
    def kept(self) -> np.ndarray:
        """Which blocks of the symmetry meet the classes; all others take no part."""
        return np.flatnonzero(self._sizes_in(self.class_fibres) > 0)

    def _sizes_in(self, fibres: Sequence[int]) -> np.ndarray:
        return self.symmetry.block_sizes[:, list(fibres)].sum(axis=1)

    @functools.cached_property
    def outer(self) -> np.ndarray:
        """(I,) sizes of the blocks on the side of the classes."""
        return self._sizes_in(self.class_fibres)[self.kept]

    @functools.cached_property
    def multiplicities(self) -> np.ndarray:
        """(I,) how often each block is there."""
        return self.symmetry.multiplicities[self.kept]

    @functools.cached_property
    def _fibre_of_index(self) -> np.ndarray:
        """The class fibre (0..F-1) of each index of all blocks, one block after another."""
        sizes = self.symmetry.block_sizes[self.kept][:, list(self.class_fibres)]
        return np.repeat(np.tile(np.arange(sizes.shape[1]), len(sizes)), sizes.ravel())

    # -- starts --------------------------------------------------------------------------------------------------------

    def start(self, start: Layers | Sequence) -> Layers:
        """Checks where a run starts: `Layers`, or a sequence of blocks (see `layers`)."""
        if not isinstance(start, Layers):
            return self.layers(start)
        widths = np.ascontiguousarray(start.widths)
        expected = (len(self.kept), self.depth - 1)
        if widths.dtype.kind not in "iu" or widths.shape != expected or widths.min(initial=0) < 0:
            raise ValueError(f"widths of a start must be {expected} integers, got {widths.dtype} of {widths.shape}")
        if self.hidden_fibres and np.any(widths != self._sizes_in(self.hidden_fibres)[self.kept][:, None]):
            raise ValueError("widths of a start must be those of the hidden fibres")
        shape = sides(self.outer, widths.astype(np.int64))
        limit = 10.0 ** (300 // self.depth)
        flat = np.ascontiguousarray(checked_array("start", start.flat, -limit, limit))
        size = int((shape[:, :-1] * shape[:, 1:]).sum())
        if flat.shape != (size,):
            raise ValueError(f"a start must have {size} numbers in its layers, got shape {flat.shape}")
        bias = np.ascontiguousarray(checked_array("bias", start.bias, -1e100, 1e100))
        if bias.shape != (self._biases,):
            raise ValueError(f"bias must have one number for each of {self._biases} fibres, got shape {bias.shape}")
        return Layers(flat, widths.astype(np.int64), bias)

    def layers(self, blocks: Sequence, bias: Sequence[float] | None = None) -> Layers:
        """Layers from their blocks.

        Parameters
        ----------
        blocks : sequence, one item for each block of the symmetry that meets the classes
            The blocks of all layers, matrices (n, w), ..., (w, n) that fit together; for a block of size 1 also
            ``depth`` numbers, or one: its singular value, of balanced layers; None for a block that is 0. A sequence
            without the first one, that of the constants, starts there at 0.
        bias : (F,) numbers, optional
            0 when left out.

        Returns
        -------
        Layers
        """
        blocks, count = list(blocks), len(self.kept)
        if len(blocks) == count - 1:
            blocks = [None, *blocks]
        if len(blocks) != count:
            raise ValueError(
                f"a start must be Layers or have {count} blocks, or {count - 1} without that of the constants, for "
                f"{self.symmetry.name}; got {len(blocks)}"
            )
        found = [self._block(i, block) for i, block in enumerate(blocks)]
        widths = np.array([[layer.shape[1] for layer in layers[:-1]] for layers in found], np.int64)
        biases = np.zeros(self._biases) if bias is None else np.asarray(bias, float)
        return self.start(Layers(packed(found), widths.reshape(count, self.depth - 1), biases))

    def _block(self, i: int, block) -> list[np.ndarray]:
        """The layers of one block."""
        n, depth = int(self.outer[i]), self.depth
        if block is None:
            width = int(self._sizes_in(self.hidden_fibres)[self.kept[i]]) if self.hidden_fibres else n
            shapes = [n, *[width] * (depth - 1), n]
            return [np.zeros(pair) for pair in zip(shapes[:-1], shapes[1:], strict=True)]
        if np.ndim(block) == 0 and n == 1:
            root = abs(float(block)) ** (1.0 / depth)
            root_of_samples = math.sqrt(self.per_fibre("samples")[self._fibre_of_index[self._first_index[i]]])
            # balanced is |W|^2 = n |h|^2: equal layers once columns stand for all of their samples
            root = (abs(float(block)) * root_of_samples) ** (1.0 / depth)
            layers = [np.full((1, 1), root) for _ in range(depth)]
            layers[-1] *= math.copysign(1.0, float(block)) / root_of_samples
            return layers
        if len(block) != depth:
            raise ValueError(f"block {i} must have {depth} layers, got {len(block)}")
        layers = [np.atleast_2d(checked_array(f"block {i}", layer)) for layer in block]
        shapes = [layer.shape for layer in layers]
        if shapes[0][0] != n or shapes[-1][1] != n or any(a[1] != b[0] for a, b in zip(shapes, shapes[1:], strict=False)):
            raise ValueError(f"layers of block {i} must fit together, from {n} rows to {n} columns, got {shapes}")
        return layers

    def random_start(self, scale: float = 1e-3, rng: np.random.Generator | int | None = 0) -> Layers:
        """Small random layers: entries of every block independent Gaussians of deviation `scale`, that of the constants
        without the part that moves all logits of a column alike. A bias is 0."""
        rng = np.random.default_rng(rng)
        blocks = []
        for i, n in enumerate(self.outer):
            width = int(self._sizes_in(self.hidden_fibres)[self.kept[i]]) if self.hidden_fibres else int(n)
            shapes = [int(n), *[width] * (self.depth - 1), int(n)]
            layers = [scale * rng.standard_normal(pair) for pair in zip(shapes[:-1], shapes[1:], strict=True)]
            if i == 0 and not isinstance(self.loss, SquaredError):
                ones = np.sqrt(self.fibre_sizes / self.classes)
                layers[0] -= np.outer(ones, ones @ layers[0])
            blocks.append(layers)
        return self.layers(blocks)

    @property
    def _biases(self) -> int:
        return len(self.class_fibres) if self.objective.bias else 0

    @functools.cached_property
    def _first_index(self) -> np.ndarray:
        """Where the indices of each block begin, one block after another."""
        return np.cumsum(self.outer) - self.outer

    # -- what a run needs ----------------------------------------------------------------------------------------------

    @functools.cached_property
    def _common_decay(self) -> float | None:
        """The decay of all layers, where they all move and decay alike."""
        decays = set(self.objective.decays)
        return decays.pop() if len(decays) == 1 and not any(f != "b" for f in self.objective.frozen) else None

    def _scaled(self, start: Layers) -> np.ndarray:
        """The flat layers with columns scaled by the square root of the samples that they stand for."""
        shape, flat = sides(self.outer, start.widths), start.flat.copy()
        root = np.sqrt(self.per_fibre("samples"))[self._fibre_of_index]
        last = ends(shape)[:, -1]
        for j in range(int(self.outer.max())):  # a column of each block at a time
            has = self.outer > j
            for k in range(int(shape[has, -2].max(initial=0))):
                rows = has & (shape[:, -2] > k)
                place = last[rows] - shape[rows, -2] * shape[rows, -1] + k * shape[rows, -1] + j
                flat[place] *= root[self._first_index[rows] + j]
        return flat

    def is_mode(self, start: Layers) -> np.ndarray:
        """(I,) which blocks have one coordinate: those of size 1 whose linear layers all move and decay alike."""
        found = (self.outer == 1) & np.all(start.widths == 1, axis=1) & (self._common_decay is not None)
        found &= self.objective.act.linear
        if self.objective.bias:
            found[0] = False  # the bias belongs to the block of the constants
        if found.any() and self._common_decay:
            layers = np.abs(self._mode_layers(start, found))
            found[found] = np.ptp(layers, axis=0) <= 1e-15 * layers.max(axis=0)
        return found

    def _mode_layers(self, start: Layers, modes: np.ndarray) -> np.ndarray:
        """(depth, D) scaled layers of the blocks that are modes."""
        last = ends(sides(self.outer, start.widths))[modes]
        layers = self._scaled(start)[last - 1].T
        if self._common_decay and layers.size:  # equal but for rounding
            size = np.exp(np.mean(np.log(np.maximum(np.abs(layers), 1e-320)), axis=0)) * np.any(layers != 0.0, axis=0)
            spread = np.ptp(np.abs(layers), axis=0) <= 1e-15 * np.abs(layers).max(axis=0)
            layers = np.where(spread, np.copysign(size, layers), layers)
        return np.ascontiguousarray(layers)

    def _in_blocks(self, start: Layers) -> np.ndarray:
        """Which numbers of the flat layers are in larger blocks."""
        shape = sides(self.outer, start.widths)
        return np.repeat(~self.is_mode(start), (shape[:, :-1] * shape[:, 1:]).sum(axis=1))

    def origin(self, start: Layers) -> np.ndarray:
        """Coordinates of the start: 0 for each mode, then the layers of the larger blocks, then the bias."""
        modes = int(self.is_mode(start).sum())
        return np.concatenate([np.zeros(modes), self._scaled(start)[self._in_blocks(start)], start.bias])

    def segment(self, kind: str, start: Layers, y: np.ndarray, log_t: float):
        """The closed form of the kind "rest"."""
        if kind != Rest.kind:
            raise ValueError(f"a flow under a symmetry has no closed form {kind!r}")
        return Rest(y, log_t)

    def motion(self, start: Layers, y, log_t: float, rtol: float, atol: float = 0.0, closed_form: bool = True):
        """What carries the state on from y: a vector field, or Rest where nothing can move."""
        given, modes, maps = self.objective, self.is_mode(start), self._maps
        layers = self._mode_layers(start, modes)
        constants = coordinates.constants(layers, self.depth) if modes.any() else np.zeros((3, 0))
        vanished = coordinates.vanished(constants, 0.0)
        direction, active = np.empty(constants.shape[1]), np.empty(constants.shape[1])
        count, _ = coordinates.mobility(constants, vanished, y, direction, active)
        shape, bigger = sides(self.outer, start.widths), ~modes
        chain, matrices, size, scratch = chain_of(shape[bigger], _KINDS[given.act.name], self._levels(shape[bigger]))
        areas = (shape[:, :-1] * shape[:, 1:])[bigger]
        squares = np.add.reduceat(y[constants.shape[1] :][:size] ** 2, np.cumsum(areas.sum(axis=1)) - areas.sum(axis=1)) \
            if bigger.any() else np.empty(0)  # fmt: skip
        groups = int(np.count_nonzero(squares))
        if given.bias:
            groups += squares[0] == 0.0
        if count + groups == 0:
            return self.segment(Rest.kind, start, y, log_t)
        unit = math.exp(self.log_unit)
        place = np.repeat(np.tile(np.arange(self.depth), len(areas)), areas.ravel())  # the layer of each number
        decays = unit * np.array(given.decays)
        common = (self._common_decay or 0.0) * unit
        frozen = np.isin(place, [f for f in given.frozen if f != "b"]).astype(float)
        samples, scale = self.per_fibre("samples"), self.per_fibre("logit_scale")
        fibre, first, outer = self._fibre_of_index, self._first_index, self.outer
        own = fibre[first[modes]]  # fibre of each mode
        rows = np.concatenate([np.repeat(fibre[f : f + n], n) for f, n in zip(first[bigger], outer[bigger], strict=True)]
                              or [np.empty(0, np.int64)])  # fmt: skip
        columns = np.concatenate([np.tile(fibre[f : f + n], n) for f, n in zip(first[bigger], outer[bigger], strict=True)]
                                 or [np.empty(0, np.int64)])  # fmt: skip
        entry = np.cumsum(outer**2) - outer**2
        inside = np.concatenate([np.arange(e, e + n * n) for e, n in zip(entry[bigger], outer[bigger], strict=True)]
                                or [np.empty(0, np.int64)])  # fmt: skip
        with np.errstate(divide="ignore"):
            column_gain = np.log(np.sqrt(samples) * self.per_fibre("weights"))
        sizes = self.fibre_sizes
        parts = Parts(
            mode_entry=entry[modes], block_entry=inside, relation_ends=maps.ends, row_fibre=maps.row_fibre, chain=chain,
            layer_ends=np.cumsum(areas.sum(axis=1)), layer_decay=np.append(common, decays[place]), active=active,
            direction=direction, gain=scale[own], mode_weight=maps.weights[entry[modes]] * scale[own] / np.sqrt(samples[own]),
            entry_weight=maps.weights[inside] * scale[rows] / np.sqrt(samples[columns]), residual_weight=scale[rows],
            column_gain=column_gain, valencies=maps.valencies, adjustment=self.per_fibre_or_zero("logit_adjustment"),
            scale=scale, bias_gain=np.sqrt(samples * sizes / sizes[:, None]), targets=maps.targets,
            constants=constants.ravel(), parameters=given.loss.packed, matrices=matrices,
            frozen=np.append(frozen, float("b" in given.frozen)),
        )  # fmt: skip
        return blocks_field(
            parts, maps.into, maps.back, given.loss, classes=float(self.classes), entries=int((outer**2).sum()),
            relations=maps.row_fibre.size, bias=given.bias, squared=maps.targets.size > 0, chain_scratch=scratch,
            rows=len(constants), count=float(count + groups), decay=max(*decays, common, unit * given.decay_of_bias),
            bias_decay=unit * given.decay_of_bias, log_unit=self.log_unit, equal_pairs=0.0, vanished=vanished,
            beta=given.act.beta,
        )  # fmt: skip

    @functools.cached_property
    def _maps(self) -> Maps:
        """Between blocks of logits and what the loss sees."""
        if isinstance(self.loss, SquaredError):
            return entry_maps(self.symmetry, self.class_fibres, self._targets)
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
            raise ValueError(f"targets must be constant on the relations of {symmetry.name}, they are off by {off:g}")
        return found

    def __getstate__(self) -> dict:
        # maps hold addresses, which are those of this process
        return {name: value for name, value in self.__dict__.items() if name != "_maps"}

    def _levels(self, shape: np.ndarray) -> list[Level] | None:
        """What the activations act on."""
        if self.objective.act.linear:
            return None
        to_entries, to_blocks, _ = self.symmetry.map(self.hidden_fibres, self.class_fibres)
        return [Level(to_entries, to_blocks)] * (self.depth - 1)

    def per_fibre_or_zero(self, name: str) -> np.ndarray:
        """As `per_fibre`, of an option that is 0 when left out."""
        return np.broadcast_to(np.array(getattr(self.objective, name), float), len(self.class_fibres)).copy()


class Maps(NamedTuple):
    """Between the blocks of logits, entry by entry, and what a loss sees of them: margins, or the values on relations."""

    into: LinearMap  # of the entries of blocks, times `weights`
    back: LinearMap
    weights: np.ndarray  # (B,)
    relations: np.ndarray  # (R,) which they are, grouped by column fibre
    ends: np.ndarray  # (F,) where those of each column fibre end
    row_fibre: np.ndarray  # (R,) place of the row fibre among those of the classes
    valencies: np.ndarray  # (R,)
    targets: np.ndarray  # (R,) of the squared error, else none


def margin_maps(symmetry: Symmetry, fibres: tuple[int, ...], single: bool = False) -> Maps:
    """The maps of losses that see margins; `single` if every single force is to be accurate."""
    every = len(fibres) == len(symmetry.fibres)
    given = symmetry.logit_maps if every else symmetry.logit_maps_of(fibres)
    back = given.single_forces if single else given.forces
    rows = np.searchsorted(fibres, symmetry.row_fibre[given.relations])
    valencies = symmetry.valencies[given.relations]
    return Maps(given.margins, back, given.weights, given.relations, given.ends, rows, valencies, np.empty(0))


def entry_maps(symmetry: Symmetry, fibres: tuple[int, ...], targets: np.ndarray) -> Maps:
    """The maps of the squared error, with its targets on all relations."""
    to_entries, to_blocks, relations = symmetry.map(fibres, fibres)
    column = np.searchsorted(fibres, symmetry.column_fibre[relations])
    order = np.argsort(column, kind="stable")
    found, ends = relations[order], np.cumsum(np.bincount(column, minlength=len(fibres)))
    rows = np.searchsorted(fibres, symmetry.row_fibre[found])
    maps = dense_map(to_entries[order]), dense_map(to_blocks[:, order])
    return Maps(*maps, np.ones(len(to_blocks)), found, ends, rows, symmetry.valencies[found], targets[found])


def _fibres(name: str, given: Sequence[int] | int | None, count: int) -> tuple[int, ...]:
    """Numbers of fibres, checked."""
    if given is None:
        return tuple(range(count))
    found = tuple(checked_integer(name, f, 0, count - 1) for f in ([given] if np.ndim(given) == 0 else given))
    if not found or len(set(found)) != len(found):
        raise ValueError(f"{name} must name different fibres, got {given!r}")
    return tuple(sorted(found))
