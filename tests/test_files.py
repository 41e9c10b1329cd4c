"""Files that earlier code wrote still load, and sample and go on as they did (made by ``tests/data/make_runs.py``)."""

import json
from pathlib import Path

import numpy as np
import pytest

import ceflow as cf

FOLDER = Path(__file__).parent / "data" / "v3"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
ROUNDING = 1e-10  # of another processor, as the last steps are done again
def close(found, expected, tolerance):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_there_is_a_run_of_every_kind():
    assert {path.stem for path in FOLDER.glob("*.npz")} == set(EXPECTED)
    runs = [cf.load(path) for path in FOLDER.glob("*.npz")]
    kinds = {segment.kind for run in runs if run._path is not None for segment in run._path.segments}
    assert kinds == {"steps", "rest", "ray"}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 200_000


@pytest.mark.parametrize("name", EXPECTED)
def test_loads_with_what_follows_from_it(name):
    run, expected = cf.load(FOLDER / f"{name}.npz"), EXPECTED[name]
    assert repr(run) == expected["repr"]
    rows = run[expected["rows"]]
    for quantity in ("log_t", "singular_values", "log_loss", "log_accuracy_gap", "objective"):
        close(getattr(rows, quantity), expected[quantity], 1e-12)
    close(rows.lyapunov, expected["lyapunov"], 1e-12)


@pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if "sample_y" in expected])
def test_samples_the_same(name):
    run, expected = cf.load(FOLDER / f"{name}.npz"), EXPECTED[name]
    tolerance = 1e-5 if "float32" in name else ROUNDING
    close(run.at(log_t=expected["sample_log_t"]).y, expected["sample_y"], tolerance)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, expected in EXPECTED.items()
        if "resumed_y" in expected
    ],
)
def test_resumes_the_same(name):
    run, expected = cf.load(FOLDER / f"{name}.npz"), EXPECTED[name]
    more = cf.resume(run, log_t_end=expected["resumed_log_t_end"])
    assert more.success and more.log_t_end == expected["resumed_log_t_end"]
    # what was expected was stepped with other steps, to the tolerance of the run
    close(more.y[-1], expected["resumed_y"], max(run.rtol, 1e-5 if "float32" in name else 1e-8))


@pytest.mark.parametrize("name", EXPECTED)
def test_nothing_is_lost_by_writing_it_again(name, tmp_path):
    run = cf.load(FOLDER / f"{name}.npz")
    run.save(tmp_path / "again.npz")
    again = cf.load(tmp_path / "again.npz")
    assert type(again) is type(run) and again.flow.spec == run.flow.spec and repr(again) == repr(run)
    with np.load(FOLDER / f"{name}.npz") as before, np.load(tmp_path / "again.npz") as after:
        assert set(after.files) == set(before.files)
        for array in set(before.files) - {"meta"}:
            np.testing.assert_array_equal(after[array], before[array], err_msg=array)
        before, after = (json.loads(str(file["meta"])) for file in (before, after))
    assert after["version"] == 4 and after["segments"] == before["stretches"]
    assert set(after["methods"]) <= {"dop853", None}
    success, outcome = before["options"].pop("success"), cf.Outcome[after["options"].pop("outcome")]
    assert outcome.success == success and again.outcome == outcome
    if before["resume"]:
        assert after["resume"].pop("method") == after["resume"].pop("steps") == "dop853"
        assert after["resume"].pop("taken") == before["options"]["nsteps"]
    for key in set(before) - {"version", "flow", "stretches"}:
        assert after[key] == before[key]
