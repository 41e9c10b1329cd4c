"""`load`: a run from the file that `Trajectory.save` wrote, nothing of which is believed before it is checked."""

from __future__ import annotations

import json
import math
import os
import zipfile

import numpy as np

from .. import losses, schemes
from .._checks import checked_number
from ..matrix import MatrixFlow
from ..spectral import Ray, Rest, SpectralFlow
from ..trajectory import FORMAT, VERSION, Resume, Trajectory, trajectory_type
from .dense import Path, Steps

_OPTIONS = {"success": bool, "message": str, "nfev": int, "nsteps": int, "nrejected": int}


def load(path: str | os.PathLike) -> Trajectory:
    """Load a run that `Trajectory.save` wrote, dense output included.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Trajectory

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a run of ceflow, is cut short, or has a version that is not known.
    """
    path = os.fspath(path)  # a TypeError for all else: an integer would be taken for an open file
    if not os.path.exists(path):
        raise FileNotFoundError(f"no such file: {path!r}")
    try:
        arrays = _arrays(path)
        meta = json.loads(str(arrays["meta"]))
        if meta["format"] != FORMAT:
            raise ValueError(f"its format is {meta['format']!r}")
        if meta["version"] != VERSION:
            raise ValueError(f"its version is {meta['version']!r}, known is {VERSION}")
        flow, start = _flow(dict(meta["flow"]), arrays)
        rtol, options, resume = meta["rtol"], dict(meta["options"]), meta["resume"]
        for name, kind in _OPTIONS.items():
            if type(options[name]) is not kind:
                raise ValueError(f"its {name} is {options[name]!r}")
        checked_number("its rtol", rtol, 0.0, 1.0) if not (isinstance(rtol, float) and math.isnan(rtol)) else None
        options["log_t_end"] = float(options["log_t_end"])
        _check_arrays(meta["stretches"], arrays, len(flow.origin(start)))
        stretches = [_stretch(flow, start, kind, i, arrays, rtol) for i, kind in enumerate(meta["stretches"])]
        found = trajectory_type(flow)(
            flow,
            start,
            arrays["log_t"],
            arrays["y"],
            path=Path(stretches) if stretches else None,
            rtol=rtol,
            atol=checked_number("its atol", meta.get("atol", 0.0), 0.0, 1e300),
            **options,
        )
        if resume is not None:
            whole = any(name.startswith("tail_") for name in arrays)
            tail = tuple(arrays[f"tail_{name}"] for name in ("y", "h", "log_t")) if whole else None
            resume = {
                "rtol": checked_number("its rtol", resume["rtol"], 1e-13, 0.1),
                "atol": checked_number("its atol", resume["atol"], 0.0, 1e300),
                "closed_form": bool(resume["closed_form"]),
                "dense_output": bool(resume["dense_output"]),
            }
            found._resume = Resume(arrays["resume_state"], arrays["resume_y"], tail, resume)
        return found
    except Exception as error:  # NumPy, zipfile and json raise many kinds where a file is not what it should be
        raise ValueError(f"{path!r} is not a whole file of a ceflow run: {error}") from None


def _flow(spec: dict, arrays: dict[str, np.ndarray]) -> tuple[SpectralFlow | MatrixFlow, np.ndarray | tuple]:
    spec["loss"] = losses.from_spec(spec["loss"])
    if spec.pop("flow") != "spectral":
        flow = MatrixFlow(**spec)
        return flow, flow.start([arrays[f"start{i}"] for i in range(flow.depth)])
    scheme = dict(spec.pop("scheme"))
    if scheme["kind"] == "hadamard" and scheme["args"] != [arrays["start0"].shape[-1] + 1]:
        raise ValueError("its start does not fit its scheme")  # which may be one that takes gigabytes
    flow = SpectralFlow(schemes.from_spec(scheme), **spec)
    return flow, flow.start(arrays["start0"])


def _arrays(path: str) -> dict[str, np.ndarray]:
    """The arrays of a file, none of which takes more memory than the file."""
    with open(path, "rb") as handle, zipfile.ZipFile(handle) as archive:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise ValueError(f"its member {info.filename!r} is compressed")
            with archive.open(info) as member:
                version = np.lib.format.read_magic(member)
                if version == (1, 0):
                    shape, _, dtype = np.lib.format.read_array_header_1_0(member)
                else:
                    shape, _, dtype = np.lib.format.read_array_header_2_0(member)
                if math.prod(shape) * dtype.itemsize > info.file_size:
                    raise ValueError(f"its member {info.filename!r} claims the shape {shape}")
    with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _check_arrays(kinds: list[str], arrays: dict[str, np.ndarray], width: int) -> None:
    """Shapes, types and order of all that kernels will see; a ValueError for the first that is wrong."""

    def check(name: str, *shape: int, times: bool = False) -> None:
        array = arrays[name]
        if array.dtype != np.float64 or array.shape != shape:
            raise ValueError(f"its {name} is {array.dtype} {array.shape}, expected are floats of shape {shape}")
        finite = np.isfinite(array) | (times & (array == -np.inf))
        if not finite.all() or (times and np.any(np.diff(array) <= 0.0)):
            raise ValueError(f"its {name} is not finite{' and increasing' if times else ''}")

    def check_steps(name: str) -> None:
        n = len(arrays[f"{name}_h"])
        check(f"{name}_h", n)
        check(f"{name}_y", n + 1, width)
        check(f"{name}_log_t", n + 1, times=True)

    check("log_t", len(arrays["log_t"]), times=True)
    check("y", len(arrays["log_t"]), width)
    for i, kind in enumerate(kinds):
        if kind == Steps.kind:
            check_steps(f"path{i}")
        else:
            check(f"path{i}_y", width)
            if arrays[f"path{i}_log_t"].shape != () or not arrays[f"path{i}_log_t"] < math.inf:
                raise ValueError(f"its path{i}_log_t is no time")
    if "resume_state" in arrays:
        check("resume_y", width)
        state = arrays["resume_state"]
        if state.dtype != np.float64 or state.shape != (5,) or not np.all(state < math.inf):
            raise ValueError("its resume_state is not that of a stepper")
    if "tail_y" in arrays:
        check_steps("tail")
        if len(arrays["tail_h"]) != 1:
            raise ValueError("its tail is not one step")


def _stretch(flow, start: np.ndarray, kind: str, i: int, arrays: dict[str, np.ndarray], rtol: float):
    y, log_t = arrays[f"path{i}_y"], arrays[f"path{i}_log_t"]
    if kind == Steps.kind:
        first, log_first = y[0], float(log_t[0])
        return Steps(lambda: flow.mover(start, first, log_first, rtol, False), y, arrays[f"path{i}_h"], log_t)
    return flow.rest(y, float(log_t)) if kind == Rest.kind else Ray(flow, start, y, float(log_t))
