"""File format of ensembles, for `ceflow.io`.

Version 1 is an ``.npz`` file, not compressed, of

    meta                       a text in JSON: format, version, flow, tolerances, names of events, kind of the starts
    log_t                      times of the rows, if common to all runs
    data_NAME                  (m, r, ...) an observable
    member_NAME                (m,) outcome of each run
    starts                     (m, ...) the starts, if they are one array; else, of part j of each start
    starts0, shapes0, ...      (n,) the numbers of all members one after another, and (m, axes) their shapes
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._checks import checked_integer, checked_number
from ._ensemble import Ensemble
from .flow import Flow
from .network.layers import Layers
from .observables import axes_of
from .solve import Outcome
from .trajectory import trajectory_type

FORMAT, VERSION = "ceflow ensemble", 1


def written(ensemble: Ensemble) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metadata and arrays of an ensemble for a file."""
    arrays = {f"data_{name}": values for name, values in ensemble.data.items()}
    arrays |= {f"member_{name}": values for name, values in ensemble._members.items()}
    if ensemble.grid is not None:
        arrays["log_t"] = ensemble.grid
    if isinstance(ensemble.starts, np.ndarray):
        arrays["starts"] = ensemble.starts
    else:
        starts = [start if isinstance(start, tuple) else (start,) for start in ensemble.starts]
        for j, parts in enumerate(zip(*starts, strict=True)):
            arrays[f"starts{j}"] = np.concatenate([np.ravel(part) for part in parts])
            arrays[f"shapes{j}"] = np.array([part.shape for part in parts], np.int64)
    meta = {
        "format": FORMAT, "version": VERSION, "flow": ensemble.flow.spec, "rtol": float(ensemble.rtol),
        "atol": float(ensemble.atol), "max_steps": int(ensemble.max_steps), "events": list(ensemble.events),
    }  # fmt: skip
    return meta, arrays


def start_arrays(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Parts of the first start, as in a file of a trajectory."""
    if "starts" in arrays:
        return {"start0": arrays["starts"][0]}
    return {f"start{j}": parts[0] for j, parts in enumerate(_parts(arrays))}


def read(flow: Flow, first: Any, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Ensemble:
    """Read the ensemble of a file with known flow and first start; raise a ValueError if it is invalid."""
    if meta["version"] != VERSION:
        raise ValueError(f"its version is {meta['version']!r}, known is {VERSION}")
    members = {name: arrays[f"member_{name}"] for name in Ensemble.room(0)}
    count, grid = len(members["status"]), arrays.get("log_t")
    for name, usual in Ensemble.room(0).items():
        if members[name].shape != (count,) or members[name].dtype != usual.dtype:
            raise ValueError(f"its {name} is {members[name].dtype} {members[name].shape}")
    if not np.isin(members["status"], list(Outcome)).all() or np.isnan(members["log_t_end"]).any():
        raise ValueError("its status or log_t_end is invalid")
    if grid is not None and (grid.dtype != np.float64 or grid.ndim != 1 or not np.all(np.diff(grid) > 0.0)):
        raise ValueError("its log_t is not increasing")
    data, rows = {}, 1 if grid is None else len(grid)
    for name, values in arrays.items():
        if name.startswith("data_"):
            if values.shape[:2] != (count, rows):
                raise ValueError(f"its {name} is {values.shape} for {count} runs of {rows} rows")
            data[name.removeprefix("data_")] = values
    if unknown := data.keys() - axes_of(trajectory_type(flow).observables, flow).keys():
        raise ValueError(f"it has unknown observables: {', '.join(sorted(unknown))}")
    if "starts" in arrays:
        starts = flow.starts(arrays["starts"])
    else:
        make = (lambda parts: parts[0]) if isinstance(first, np.ndarray) else tuple
        make = (lambda parts: Layers(*parts)) if isinstance(first, Layers) else make
        starts = flow.starts([make(parts) for parts in zip(*_parts(arrays), strict=True)])
    if len(starts) != count:
        raise ValueError(f"it has {len(starts)} starts of {count} runs")
    return Ensemble(
        flow, starts, grid, data, members, rtol=checked_number("its rtol", meta["rtol"], 0.0, 1.0),
        atol=checked_number("its atol", meta["atol"], 0.0, 1e300),
        max_steps=checked_integer("its max_steps", meta["max_steps"], 1), events=tuple(map(str, meta["events"])),
    )  # fmt: skip


def _parts(arrays: dict[str, np.ndarray]) -> list[list[np.ndarray]]:
    """Each part of a start, for all members."""
    found, j = [], 0
    while f"starts{j}" in arrays:
        numbers, shapes = arrays[f"starts{j}"], arrays[f"shapes{j}"]
        sizes = [math.prod(shape) for shape in shapes.tolist()]
        if numbers.ndim != 1 or shapes.ndim != 2 or np.any(shapes < 0) or sum(sizes) != len(numbers):
            raise ValueError(f"its starts{j} do not have its shapes{j}")
        pieces = np.split(numbers, np.cumsum(sizes)[:-1])
        found.append([piece.reshape(shape) for piece, shape in zip(pieces, shapes.tolist(), strict=True)])
        j += 1
    return found
