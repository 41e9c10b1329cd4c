"""Writes one run of every kind, and what is to be had from it, into a new folder: ``python make_runs.py v3``.

To be run once for a version of the file format, by the code that writes it: from then on the files show that later code
still reads them. Each ``name.npz`` is a run as `Trajectory.save` wrote it; of each, ``expected.json`` holds how it
shows itself, quantities of some of its rows, states sampled in between, and where it comes to when it goes on.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np

import ceflow as cf

RTOL = 1e-5
S0 = np.array([1e-2, 2e-2, 5e-3])
UNEQUAL = np.array([[0.3, 0.2, 0.1], [0.1, 0.25, 0.1]])
QUANTITIES = ("singular_values", "log_loss", "log_accuracy_gap", "lyapunov", "objective")


def spectral(start=S0, scheme=None, log_t_end=8.0, dense_output=True, max_steps=1000, until=None, **options):
    flow, run = cf.SpectralFlow(scheme or cf.hadamard(4), **options), {"max_steps": max_steps, "until": until}
    return cf.integrate(flow, np.array(start), log_t_end=log_t_end, rtol=RTOL, dense_output=dense_output, **run)


def matrix(log_t_end=3.0, batch=None, until=None, checkpoint=None, **options):
    start = cf.random_init(classes=3, width=2, scale=0.5, rng=0, batch=batch, depth=options.get("depth", 2))
    run = {"until": until, "checkpoint": checkpoint, "checkpoint_every": 0.0}
    return cf.integrate(cf.MatrixFlow(**options), start, log_t_end=log_t_end, rtol=RTOL, **run)


def interrupted():
    """A run that was ended by Ctrl-C after some steps."""
    calls = []

    def until(rows):
        calls.append(len(rows))
        if len(calls) > 4:
            raise KeyboardInterrupt
        return np.ones(len(rows))

    return matrix(until=until)


def unfinished(folder):
    """A run that was killed: one of the checkpoints on its way."""
    file, seen = folder / "checkpoint.npz", []

    def until(rows):
        if file.exists():
            seen.append(cf.load(file))
        return np.ones(len(rows))

    matrix(until=until, checkpoint=file)
    file.unlink()
    return seen[3]


def runs(folder):
    """A run of every kind by its name."""
    balanced, ray = spectral(), spectral(log_t_end=1e3)
    collapsing = ray._path.segments[0].log_t[-2:].mean()  # within a step, from whose end on the run follows a ray
    return {
        "reduced": balanced,
        "reduced-sum": spectral(S0[:2], cf.johnson(5, 2), reduction="sum"),
        "reduced-unequal": spectral(UNEQUAL[:, :2], cf.hamming(2, 3)),
        "reduced-relations": spectral(S0[:2], cf.from_relations(cf.cyclic(5).relations())),
        "reduced-rows": spectral(S0, cf.cyclic(7), dense_output=False),
        "reduced-fading": spectral([0.1, -0.2, 0.0], log_t_end=4.0),
        "reduced-depth-3": spectral(depth=3),
        "reduced-depth-3-unequal": spectral(np.vstack([UNEQUAL, [[0.2, 0.1, 0.4]]]), depth=3),
        "reduced-depth-2.5": spectral(depth=2.5),
        "reduced-decay": spectral(weight_decay=1e-3, log_t_end=5.0),
        "at-rest": spectral(np.zeros(3)),
        "at-rest-at-last": spectral(UNEQUAL, weight_decay=0.2, log_t_end=12.0),  # imbalances go on fading
        "ray": ray,
        "ray-criterion": spectral(S0[:2], cf.cyclic(5), log_t_end=None, until=cf.collapsed(1e-6)),
        "label-smoothing": spectral(loss=cf.losses.label_smoothing(0.2), log_t_end=4.0),
        "focal": spectral(loss=cf.losses.focal(1.5)),
        "squared-error": spectral(loss="squared_error", log_t_end=3.0),
        "moments": balanced.at([1.0, 10.0, 1e3]),
        "no-more-steps": spectral(max_steps=7, log_t_end=20.0),
        "ends-while-it-collapses": spectral(log_t_end=collapsing),
        "full": matrix(),
        "full-batch": matrix(batch=2),
        "full-depth-3": matrix(depth=3),
        "full-options": matrix(loss="label_smoothing", weight_decay=1e-3, reduction="sum", log_t_end=1.0),
        "full-float32": matrix(dtype="float32"),
        "full-interrupted": interrupted(),
        "full-unfinished": unfinished(folder),
    }


def expected(run):
    """What later code is to find in the file of a run."""
    rows = [len(run) // 2]
    found = {"repr": repr(run), "rows": rows, "log_t": run.log_t[rows]}
    found |= {name: getattr(run[rows], name) for name in QUANTITIES}
    if run._path is not None:
        found["sample_log_t"] = np.append(-math.inf, np.linspace(-2.7, run.log_t_end, 3))
        found["sample_y"] = run.at(log_t=found["sample_log_t"]).y
    if run._resume is not None:  # the same as if it had never stopped
        end = run.log_t_end + 1.0
        more = cf.integrate(run.flow, run.start, log_t_end=end, **run._resume.options)
        found |= {"resumed_log_t_end": end, "resumed_y": more.y[-1]}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in found.items()}


if __name__ == "__main__":
    folder = Path(__file__).parent / sys.argv[1]
    folder.mkdir()
    found = runs(folder)
    for name, run in found.items():
        run.save(folder / f"{name}.npz")
    lines = [f"{json.dumps(name)}: {json.dumps(expected(run))}" for name, run in found.items()]
    (folder / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
