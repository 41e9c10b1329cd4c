"""Store of results: a Zarr group with one array per observable, and one Zarr chunk per block of runs.

Zeros in the array ``status`` are unfinished runs. It is written last, so that a block counts as finished only if all
its results are stored. A Zarr chunk is a file that is written atomically, by renaming.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ..solve import Outcome
from ..trajectory import trajectory_type
from ._grid import Block, Grid, labels

if TYPE_CHECKING:
    import xarray

    from .._ensemble import Ensemble

MARK = "ceflow_sweep"  # attribute that holds the configuration
MEMBERS = {  # stored for each run
    "status": "int8", "success": "bool", "event": "int8", "log_t_end": "float64", "nsteps": "int64", "nfev": "int64"
}  # fmt: skip
STATUS = {"flag_values": [int(one) for one in Outcome], "flag_meanings": " ".join(one.name for one in Outcome)}


class Array(NamedTuple):
    """Observable in the store: names and sizes of its axes after the axis of the members."""

    dims: tuple[str, ...]
    sizes: tuple[int, ...]


def arrays_of(ensemble: Ensemble) -> dict[str, Array]:
    """Stored arrays of the observables of an ensemble."""
    flow = ensemble.flow
    dims: dict[str, tuple[str, ...]] = {}
    for name, observable in trajectory_type(flow).observables.items():
        of = observable.dims(flow) if callable(observable.dims) else observable.dims
        dims |= of if isinstance(of, dict) else {name: of}
    return {name: Array(tuple(dims[name]), values.shape[1:]) for name, values in ensemble.data.items()}


def largest(shapes: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """Smallest arrays that contain all of these; raise a ValueError if they have different axes."""
    sizes: dict[str, int] = {}
    for name, array in ((name, array) for one in shapes for name, array in one.items()):
        if array.dims != shapes[0][name].dims:
            raise ValueError(f"observable {name!r} must have the same axes for all flows, got {array.dims} and "
                             f"{shapes[0][name].dims}")  # fmt: skip
        for dim, size in zip(*array, strict=True):
            sizes[dim] = max(size, sizes.get(dim, 0))
    return {name: Array(dims, tuple(sizes[dim] for dim in dims)) for name, (dims, _) in shapes[0].items()}


def create(path: Path, config: dict[str, Any], grid: Grid, chunk: int, log_t: np.ndarray | None,
           arrays: dict[str, Array]) -> None:  # fmt: skip
    """Create the store of a sweep without finished runs, atomically. All runs have rows at these log t, or one row at
    their end."""
    import zarr

    taken = {"member", "log_t", *MEMBERS, *arrays, *(dim for array in arrays.values() for dim in array.dims)}
    if twice := sorted(taken & grid.axes.keys()):
        raise ValueError(f"grid must not have an axis {twice[0]!r}, a name of the results: rename the parameter "
                         "in a function `flow`, or omit this observable")  # fmt: skip
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        attributes: Any = {MARK: json.dumps(config), "coordinates": "log_t"}
        group = zarr.open_group(temporary, mode="w", zarr_format=3, attributes=attributes)

        def fill(name: str, dim: str, values: np.ndarray) -> None:
            dtype = str if values.dtype == object else values.dtype
            array = group.create_array(name, shape=values.shape, dtype=dtype, dimension_names=(dim,))
            array[...] = values

        for name, values in grid.axes.items():
            fill(name, name, labels(values))
        fill("member", "member", np.arange(grid.members))
        if log_t is not None:
            fill("log_t", "row", log_t)
        block, dims = grid.block_shape(chunk), (*grid.axes, "member")
        for name, dtype in MEMBERS.items():
            group.create_array(
                name, shape=grid.shape, chunks=block, dtype=dtype, fill_value=0, dimension_names=dims,
                attributes=cast(Any, STATUS if name == "status" else {}),
            )  # fmt: skip
        for name, array in arrays.items():
            group.create_array(
                name, shape=grid.shape + array.sizes, chunks=block + array.sizes, dtype="float64",
                fill_value=float("nan"), dimension_names=dims + array.dims,
            )  # fmt: skip
        os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check(path: Path, config: dict[str, Any]) -> None:
    """Raise a ValueError if the store does not contain results of this configuration."""
    import zarr

    try:
        held = json.loads(cast(str, zarr.open_group(path, mode="r").attrs[MARK]))
    except (KeyError, ValueError, FileNotFoundError):
        raise ValueError(f"store must be a new path or one of a sweep, got {str(path)!r}, which is neither") from None
    config = json.loads(json.dumps(config))
    differing = [name for name in {**held, **config} if held.get(name) != config.get(name)]
    if differing:
        was = "; ".join(f"{name} was {held.get(name)!r}, is {config.get(name)!r}" for name in differing)
        raise ValueError(f"store {str(path)!r} holds another sweep: {was}. Give another store, or the old settings")


def pending(path: Path, blocks: Sequence[Block]) -> list[Block]:
    """Blocks with unfinished runs."""
    import zarr

    status: Any = zarr.open_group(path, mode="r")["status"]
    return [block for block in blocks if np.any(status[block] == Outcome.RUNNING)]


def write(path: Path, block: Block, ensembles: Sequence[Ensemble]) -> None:
    """Write the ensembles of a block, and last their status."""
    import zarr

    group: Any = zarr.open_group(path, mode="r+")
    shape = tuple(one.stop - one.start for one in block)

    def put(name: str, values: list[np.ndarray], sizes: tuple[int, ...], blank: float) -> None:
        whole = np.full((*shape, *sizes), blank, group[name].dtype)
        for place, part in zip(np.ndindex(shape[:-1]), values, strict=True):
            whole[(*place, *map(slice, part.shape))] = part
        group[name][block] = whole

    for name in ensembles[0].data:
        put(name, [one.data[name] for one in ensembles], group[name].shape[len(shape):], np.nan)  # fmt: skip
    for name in reversed(MEMBERS):
        put(name, [getattr(one, name) for one in ensembles], (), 0)


def open_dataset(path: Path) -> xarray.Dataset:
    """Open the results; values are read lazily."""
    import xarray

    dataset = xarray.open_zarr(path, consolidated=False)
    return dataset[[*(name for name in dataset.data_vars if name not in MEMBERS), *MEMBERS]]
