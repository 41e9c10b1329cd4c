"""Files of runs: `save` (`Trajectory.save`) and `load`, which checks all contents.

Version 4 is an ``.npz`` file, not compressed, of

    meta                                a text in JSON: format, version, flow, tolerances, options, segments
    log_t, y                            the rows
    t                                   times that were given as t, NaN elsewhere
    start0, start1, ...                 the parts of the start
    path0_y, path0_h, path0_log_t, ...  the segments of the path
    resume_state, resume_y, tail_...    state of the solver, to continue
"""

from __future__ import annotations

import functools
import json
import math
import os
import uuid
import zipfile
from typing import Any, cast

import numpy as np

from . import _ensemble_files, kernels, losses, symmetry
from ._checks import checked_integer, checked_number
from ._ensemble import Ensemble
from .flow import BlockFlow, BlockLayersFlow, Flow, LayersFlow, MatrixFlow, RegressionFlow, ReplayFlow, SpectralFlow
from .flow.etf import ETFFlow, ReducedETFFlow
from .flow.objective import Objective
from .network.layers import Layers
from .solve import DEFAULT, IMPLICIT, TABLEAUS, Outcome, Path, Steps
from .trajectory import Resume, Times, Trajectory, trajectory_type

FORMAT, VERSION = "ceflow trajectory", 4
_OPTIONS = {"message": str, "nfev": int, "nsteps": int, "nrejected": int}

# Files of version 3 have no outcome. These are the beginnings of their messages, or the ends after a closed form.
_BEGINNINGS = {
    "reached": Outcome.REACHED, "stopped by": Outcome.STOPPED, "the criterion": Outcome.UNMET,
    "gave up": Outcome.STEPS_SPENT, "the step size": Outcome.STEP_TOO_SMALL, "interrupted": Outcome.INTERRUPTED,
    "not finished": Outcome.RUNNING,
}  # fmt: skip
_ENDINGS = {"(at rest: nothing can move any more)": Outcome.AT_REST, "solution to the end)": Outcome.CLOSED_FORM}


def save_ensemble(ensemble: Ensemble, path: str | os.PathLike[str]) -> None:
    """Write the ensemble to an ``.npz`` file, atomically, for `ceflow.load`. Only names of events are stored."""
    _write(path, *_ensemble_files.written(ensemble))


def save(trajectory: Trajectory, path: str | os.PathLike[str]) -> None:
    """Write the run, including dense output, to an ``.npz`` file, atomically, for `ceflow.load`.

    Examples
    --------
    >>> cf.integrate(cf.SpectralFlow(cf.complete(3)), [0.1], 1e3).save("run.npz")
    >>> run = cf.resume(cf.load("run.npz"), 1e6)
    >>> f"loss {run.loss[-1]:.2e} at t = {run.t[-1]:.0e}"
    'loss 6.16e-08 at t = 1e+06'
    """
    segments = trajectory._path.segments if trajectory._path is not None else []
    start = trajectory.start if isinstance(trajectory.start, tuple) else (trajectory.start,)
    arrays = {"log_t": trajectory.log_t, "y": trajectory.y} | {f"start{i}": part for i, part in enumerate(start)}
    if not np.isnan(trajectory.times.given).all():
        arrays["t"] = trajectory.times.given
    for i, segment in enumerate(segments):
        for name in ("y", "h", "log_t"):
            if hasattr(segment, name):
                arrays[f"path{i}_{name}"] = np.asarray(getattr(segment, name))
    resume = trajectory._resume
    if resume is not None:
        arrays |= {"resume_state": resume.state, "resume_y": resume.y}
        if resume.tail is not None:
            arrays |= dict(zip(("tail_y", "tail_h", "tail_log_t"), resume.tail, strict=True))
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "flow": trajectory.flow.spec,
        "rtol": float(trajectory.rtol),
        "atol": float(trajectory.atol),
        "options": trajectory._options()
        | {"log_t_end": repr(float(trajectory.log_t_end)), "outcome": trajectory.outcome.name},
        "segments": [segment.kind for segment in segments],
        "methods": [getattr(segment, "method", None) for segment in segments],
        "resume": resume and resume.options | {"steps": resume.method, "taken": resume.taken},
    }
    _write(path, meta, arrays)


def _write(path: str | os.PathLike[str], meta: dict, arrays: dict[str, np.ndarray]) -> None:
    """Write a file atomically, by renaming."""
    temporary = f"{os.fspath(path)}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "xb") as file:
            np.savez(file, **cast("dict[str, Any]", arrays | {"meta": np.array(json.dumps(meta))}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def load(path: str | os.PathLike[str]) -> Trajectory | Ensemble:
    """Load a run written by `Trajectory.save`, including dense output, or an ensemble written by `Ensemble.save`.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Trajectory or Ensemble

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a run of ceflow, is truncated, or has an unknown version.

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.complete(3)), [0.1], 1e3)
    >>> run.save("run.npz")
    >>> bool(cf.load("run.npz").at(10.0).loss == run.at(10.0).loss)  # to the last bit
    True
    """
    path = os.fspath(path)  # TypeError for other types: an integer would be a file descriptor
    if not os.path.exists(path):
        raise FileNotFoundError(f"no such file: {path!r}")
    try:
        arrays = _arrays(path)
        meta = json.loads(str(arrays["meta"]))
        if meta["format"] == _ensemble_files.FORMAT:
            flow, start = _flow(dict(meta["flow"]), arrays | _ensemble_files.start_arrays(arrays))
            return _ensemble_files.read(flow, start, meta, arrays)
        if meta["format"] != FORMAT:
            raise ValueError(f"its format is {meta['format']!r}")
        if meta["version"] not in (3, VERSION):
            raise ValueError(f"its version is {meta['version']!r}, known are 3 and {VERSION}")
        old = meta["version"] == 3
        flow, start = _flow(dict(meta["flow"]), arrays)
        rtol, options, resume = meta["rtol"], dict(meta["options"]), meta["resume"]
        options["outcome"] = _old_outcome(options) if old else Outcome[options["outcome"]]
        for name, kind in _OPTIONS.items():
            if type(options[name]) is not kind:
                raise ValueError(f"its {name} is {options[name]!r}")
        checked_number("its rtol", rtol, 0.0, 1.0) if not (isinstance(rtol, float) and math.isnan(rtol)) else None
        options["log_t_end"] = float(options["log_t_end"])
        if "event" in options:
            checked_integer("its event", options["event"], 0)
        if "step_size" in options:
            options["step_size"] = checked_number("its step_size", options["step_size"], 0.0, 1e300) or None
            if options["step_size"] is None:  # written by older versions for recorded states without step size
                options["outcome"] = Outcome.RECORDED
        kernels.checked(options.get("compiled"))
        atol = checked_number("its atol", meta.get("atol", 0.0), 0.0, 1e300)
        kinds = meta["stretches" if old else "segments"]
        methods = meta.get("methods", [DEFAULT if old else meta.get("method")] * len(kinds))
        _check_arrays(kinds, arrays, len(flow.origin(start)), ordered=resume is not None)
        segments = [
            _segment(flow, start, kind, i, arrays, (rtol, atol), method)
            for i, (kind, method) in enumerate(zip(kinds, methods, strict=True))
        ]
        found = trajectory_type(flow)(
            flow,
            start,
            arrays["log_t"],
            arrays["y"],
            t=arrays.get("t"),
            path=Path(segments) if segments else None,
            rtol=rtol,
            atol=atol,
            **options,
        )
        if resume is not None:
            whole = any(name.startswith("tail_") for name in arrays)
            tail = (arrays["tail_y"], arrays["tail_h"], arrays["tail_log_t"]) if whole else None
            steps = _method(resume.get("steps", resume.get("method", DEFAULT)))
            taken = checked_integer("its taken", resume.get("taken", options["nsteps"]), 0)
            resume = {
                "rtol": checked_number("its rtol", resume["rtol"], 1e-13, 0.1),
                "atol": checked_number("its atol", resume["atol"], 0.0, 1e300),
                "closed_form": bool(resume["closed_form"]),
                "dense_output": bool(resume["dense_output"]),
                "method": DEFAULT if old else _method(resume["method"], TABLEAUS),
            } | {name: kernels.checked(resume[name]) for name in ("compiled",) if name in resume}
            found._resume = Resume(arrays["resume_state"], arrays["resume_y"], tail, resume, steps, taken)
        return found
    except Exception as error:  # NumPy, zipfile and json raise many types for invalid files
        raise ValueError(f"{path!r} is not a whole file of a ceflow run: {error}") from None


def _flow(spec: dict, arrays: dict[str, np.ndarray]) -> tuple[Flow[Any], Any]:
    """Flow and start of a file."""
    kind, loss = spec.pop("flow"), losses.from_spec(spec.pop("loss"))
    return _FLOWS[kind](spec | {"loss": loss}, arrays)


def _spectral_flow(kind: type, spec: dict, arrays: dict[str, np.ndarray]) -> tuple[SpectralFlow, np.ndarray]:
    scheme = dict(spec.pop("scheme"))
    if scheme["kind"] == "hadamard" and scheme["args"] != [arrays["start0"].shape[-1] + 1]:
        raise ValueError("its start does not fit its scheme")  # the scheme might need gigabytes
    flow = kind(symmetry.from_spec(scheme), **spec)
    return flow, flow.start(arrays["start0"])


def _matrix_flow(kind: type, spec: dict, arrays: dict[str, np.ndarray]) -> tuple[MatrixFlow, tuple[np.ndarray, ...]]:
    flow = kind(**spec)
    return flow, flow.start([arrays[f"start{i}"] for i in range(flow.depth + flow.objective.bias)])


def _block_flow(kind: type, spec: dict, arrays: dict[str, np.ndarray]) -> tuple[BlockFlow, Layers]:
    fibres = {name: spec.pop(name, None) for name in ("class_fibres", "hidden_fibres")}
    flow = kind(symmetry.from_spec(spec.pop("symmetry")), Objective(**spec), **fibres)
    return flow, flow.start(Layers(*(arrays[f"start{i}"] for i in range(3))))


def _regression_flow(kind: type, spec: dict, arrays: dict[str, np.ndarray]) -> tuple[RegressionFlow, np.ndarray]:
    del spec["loss"]  # it is always the same
    flow = kind(**spec)
    return flow, flow.start(arrays["start0"])


def _replay_flow(kind: type, spec: dict, arrays: dict[str, np.ndarray]) -> tuple[ReplayFlow, tuple[np.ndarray, ...]]:
    taken = ("classes", "samples", "kernel", "weights", "heads", "weight_decay")
    flow = kind(**{name: spec[name] for name in taken})
    return flow, flow.start([arrays[f"start{i}"] for i in range(3)])


def _etf_flow(kind: type, spec: dict, arrays: dict[str, np.ndarray]) -> tuple[ETFFlow | ReducedETFFlow, object]:
    flow = kind(**spec)
    return flow, flow.start((arrays["start0"], arrays["start1"]) if kind is ETFFlow else arrays["start0"])


_FLOWS = {
    kind.kind: functools.partial(make, kind)
    for make, kinds in (
        (_block_flow, (BlockFlow, BlockLayersFlow)),
        (_spectral_flow, (SpectralFlow, LayersFlow)),
        (_matrix_flow, (MatrixFlow,)),
        (_regression_flow, (RegressionFlow,)),
        (_replay_flow, (ReplayFlow,)),
        (_etf_flow, (ETFFlow, ReducedETFFlow)),
    )
    for kind in kinds
}


def _arrays(path: str) -> dict[str, np.ndarray]:
    """Arrays of a file; none may need more memory than the file."""
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


def _check_arrays(kinds: list[str], arrays: dict[str, np.ndarray], width: int, ordered: bool) -> None:
    """Check shapes, types and order of all arrays that kernels read; raise a ValueError for the first invalid one.

    Times must not decrease. Only the rows of a whole run must be sorted: `at` accepts any times.
    """

    def check(name: str, *shape: int, times: bool = False, ordered: bool = True) -> None:
        array = arrays[name]
        if array.dtype != np.float64 or array.shape != shape:
            raise ValueError(f"its {name} is {array.dtype} {array.shape}, expected are floats of shape {shape}")
        finite = np.isfinite(array) | (times & (array == -np.inf))
        if not finite.all() or (times and ordered and np.any(array[1:] < array[:-1])):
            raise ValueError(f"its {name} is not finite{' and in order' if times else ''}")

    def check_steps(name: str) -> None:
        n = len(arrays[f"{name}_h"])
        check(f"{name}_h", n)
        check(f"{name}_y", n + 1, width)
        check(f"{name}_log_t", n + 1, times=True)

    check("log_t", len(arrays["log_t"]), times=True, ordered=ordered)
    if "t" in arrays:
        _check_given(arrays["t"], arrays["log_t"])
    check("y", len(arrays["log_t"]), width)
    for i, kind in enumerate(kinds):
        if kind == Steps.kind:
            check_steps(f"path{i}")
        else:
            check(f"path{i}_y", width)
            if arrays[f"path{i}_log_t"].shape != () or not arrays[f"path{i}_log_t"] < math.inf:
                raise ValueError(f"its path{i}_log_t is not a time")
    if "resume_state" in arrays:
        check("resume_y", width)
        state = arrays["resume_state"]
        if state.dtype != np.float64 or state.shape != (5,) or not np.all(state < math.inf):
            raise ValueError("its resume_state is not that of a stepper")
    if "tail_y" in arrays:
        check_steps("tail")
        if len(arrays["tail_h"]) != 1:
            raise ValueError("its tail is not one step")


def _check_given(t: np.ndarray, log_t: np.ndarray) -> None:
    if t.dtype != np.float64 or t.shape != log_t.shape or np.any(t < 0.0):
        raise ValueError(f"its t is {t.dtype} {t.shape}, expected are times of the shape of log_t")
    known = ~np.isnan(t)
    given, log_t = Times.of(t[known]).log_t, log_t[known]
    with np.errstate(invalid="ignore"):
        if not np.all((given == log_t) | (np.abs(given - log_t) <= 1e-9)):
            raise ValueError("its t and its log_t are different times")


def _segment(flow, start, kind: str, i: int, arrays: dict[str, np.ndarray], tolerances, method: str):
    y, log_t = arrays[f"path{i}_y"], arrays[f"path{i}_log_t"]
    if kind != Steps.kind:
        return flow.segment(kind, start, y, float(log_t))
    first, log_first = y[0], float(log_t[0])
    return Steps(
        lambda: flow.motion(start, first, log_first, *tolerances, False),
        y,
        arrays[f"path{i}_h"],
        log_t,
        _method(method),
    )


def _method(name, known=(*TABLEAUS, IMPLICIT)) -> str:
    """Checked name of the method."""
    if name not in known:
        raise ValueError(f"its method is {name!r}")
    return name


def _old_outcome(options: dict) -> Outcome:
    """Outcome of a run in a file of version 3, from its message."""
    success, message = options.pop("success"), options["message"]
    found = [outcome for ending, outcome in _ENDINGS.items() if message.endswith(ending)]
    found += [outcome for beginning, outcome in _BEGINNINGS.items() if message.startswith(beginning)]
    if not found or found[0].success is not success:
        raise ValueError(f"its message is {message!r} and its success {success!r}")
    return found[0]
