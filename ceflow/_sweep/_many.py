"""An ensemble as a loop over single runs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._integrate import integrate


class Ensemble(NamedTuple):
    log_t: np.ndarray
    data: dict[str, np.ndarray]
    success: np.ndarray
    status: np.ndarray
    event: np.ndarray
    log_t_end: np.ndarray
    nsteps: np.ndarray
    nfev: np.ndarray


def integrate_many(
    flow, starts, t_end=None, *, log_t_end=None, t_eval=None, log_t_eval=None,
    observables=("singular_values", "loss"), until=None, rtol=1e-9, atol=0.0, max_steps=1_000_000, threads=None,
    progress=False,
):  # fmt: skip
    runs = [
        integrate(flow, start, t_end, log_t_end=log_t_end, t_eval=t_eval, log_t_eval=log_t_eval, until=until,
                  rtol=rtol, atol=atol, max_steps=max_steps, dense_output=False)
        for start in starts
    ]  # fmt: skip
    final = t_eval is None and log_t_eval is None
    log_t_end = np.array([run.log_t_end for run in runs])
    rows = 1 if final else np.size(t_eval if log_t_eval is None else log_t_eval)
    log_t = log_t_end[:, None] if final else np.log(t_eval) if log_t_eval is None else np.array(log_t_eval)
    data = {}
    for name in observables:
        found = [np.asarray(getattr(run, name), float)[-1:] if final else getattr(run, name) for run in runs]
        data[name] = np.full((len(runs), rows, *found[0].shape[1:]), np.nan)
        for member, values in enumerate(found):
            data[name][member, : len(values)] = values
    counts = {name: np.array([getattr(run, name) for run in runs]) for name in ("nsteps", "nfev")}
    status = np.array([run.outcome for run in runs], np.int8)
    event = np.array([-1 if run.event is None else run.event for run in runs], np.int8)
    return Ensemble(log_t, data, np.array([run.success for run in runs]), status, event, log_t_end, **counts)
