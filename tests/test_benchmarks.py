"""The benchmarks work: what they print has the right structure and the right errors. Nothing here is timed."""

import json

import numpy as np
import pytest

import ceflow as cf
from benchmarks import __main__ as command
from benchmarks import _exact, _exact_matrices, _grid, _peers, _report, ensembles, imbalance, stiff, trajectories
from benchmarks._problem import Problem
from ceflow import reference


def test_trajectories_without_peers_reach_their_target_and_leave_a_record(tmp_path, capsys):
    assert command.main(["trajectories", "--quick", "--no-peers", "--out", str(tmp_path)]) == 0
    assert "K = 64" in capsys.readouterr().out
    record = json.loads((tmp_path / "trajectories.json").read_text())
    assert {"command", "cpu", "cores", "versions"} <= set(record)
    assert [len(table["rows"]) for table in record["tables"]] == [1, 1]
    for table in record["tables"]:
        row = dict(zip(table["columns"], table["rows"][0], strict=True))
        assert row["solver"] == "ceflow"
        assert row["error"] <= trajectories.TARGET
        assert row["evaluations"] > 0
    assert (tmp_path / "trajectories.png").stat().st_size > 10_000
    assert "ceflow" in (tmp_path / "trajectories.md").read_text()


@pytest.mark.parametrize("classes", [4, 64])
def test_the_reference_has_a_witness(classes):
    assert Problem(classes).witness()[1] < 1e-11


def test_a_missing_peer_is_named_in_the_table():
    def missing(problem):
        import no_such_package_at_all  # noqa: F401

    solvers = [_peers.CEFLOW, _peers.Solver("missing", missing, "")]
    rows = trajectories.measure(Problem(4), solvers, quick=True).rows
    assert rows[1] == ["missing", "not installed: No module named 'no_such_package_at_all'"]


def test_a_solver_that_cannot_reach_the_target_is_named_as_well():
    def stuck(problem):
        return lambda rtol: (problem.u0, 1)

    rows = trajectories.measure(Problem(4), [_peers.CEFLOW, _peers.Solver("stuck", stuck, "")], quick=True).rows
    assert rows[1][1].startswith("failed: ArithmeticError")


def test_tables_align_numbers_and_carry_remarks():
    text = _report.Table("title", ["name", "value"], [["a", 1.5], ["b", "not installed: x"], ["long"]]).text
    with pytest.raises(IndexError):
        text()  # a row of neither one remark nor all columns is a mistake
    table = _report.Table("title", ["name", "value", "n"], [["a", 1.5, 2], ["long one", 22.25, 10]])
    rule = "-" * len("long one   22.2  10")
    rows = ["name      value   n", rule, "a           1.5   2", "long one   22.2  10"]
    assert table.text().splitlines() == ["title", rule, *rows, rule]
    table = _report.Table("title", ["name", "value", "n"], [["a", 1.5, 2], ["b", "not installed: x"]])
    rule = "-" * len("b     not installed: x")
    assert table.text().splitlines()[3:] == [rule, "a     1.5    2", "b     not installed: x", rule]
    assert table.markdown().count("|") == 4 * 4


def test_every_benchmark_is_listed_with_a_line(capsys):
    assert command.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(command.names()) >= 6
    assert all(len(line.split()) > 3 for line in lines)


def test_unknown_names_are_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["nothing"])
    assert "nothing" in capsys.readouterr().err


def test_imbalance_is_the_same_path_in_fewer_numbers(capsys):
    (table,) = imbalance.main(quick=True)
    assert "full matrices" in capsys.readouterr().out
    groups, matrices = table.rows
    assert groups[1] < matrices[1] and matrices[-1] < 1e-7


def test_stiff_runs_take_steps_that_explicit_ones_could_not(capsys):
    first, second = stiff.main(quick=True)[0].rows
    assert first[2] is None and first[4] < 200 and second[2] == second[4] < 50
    assert "K = 4, a dead mode" in capsys.readouterr().out


def test_ensembles_are_right_beside_loops_and_what_is_missing():
    def missing(starts):
        import no_such_package_at_all  # noqa: F401

    rows = ensembles.measure(4, 8, ensembles.SOLVERS | {"missing": missing}, quick=True).rows
    assert [row[0] for row in rows[:2]] == list(ensembles.SOLVERS)
    assert all(row[-1] <= ensembles.TARGET for row in rows[:2]) and rows[2][1].startswith("not installed")


# -- the grid of true errors -------------------------------------------------------------------------------------------

HADAMARD, CYCLIC = cf.hadamard(4), cf.cyclic(5)
EXACT = {
    "balanced": (cf.SpectralFlow(CYCLIC), [0.1, 0.3]),
    "fading": (cf.SpectralFlow(CYCLIC, reduction="sum"), [0.1, -0.3]),
    "real depth": (cf.SpectralFlow(CYCLIC, depth=2.5, loss="focal"), [0.1, 0.3]),
    "decay": (cf.SpectralFlow(CYCLIC, depth=3, weight_decay=1e-3, loss="squared_error"), [0.1, 0.2]),
    "through zero": (cf.SpectralFlow(CYCLIC, weight_decay=1e-3), [[0.1, 1.0], [0.1, -0.99]]),
    "deep layers": (cf.SpectralFlow(CYCLIC, depth=3, loss="label_smoothing"), [[0.1, 0.4], [0.15, -0.3], [0.3, 0.2]]),
}


@pytest.mark.parametrize("kind", EXACT)
def test_exact_solutions_are_those_of_the_reference(kind):
    flow, start = EXACT[kind]
    log_t = np.linspace(-3.0, 4.0, 8)
    solution = _exact.Solution(_exact.Modes(flow, np.array(start)), 4.1)
    s, size, slopes = solution.at(log_t)
    right = reference.solve(flow, np.array(start), log_t, digits=18).singular_values
    assert np.abs((s - _exact.real(right.tolist())) / size).max() < 1e-15
    before, after = (solution.at(log_t + shift)[0] for shift in (-1e-5, 1e-5))
    assert np.abs((slopes - (after - before) / 2e-5) / size).max() < 1e-6


@pytest.mark.parametrize("loss", cf.losses.LOSSES)
def test_exact_solutions_of_matrices_are_those_of_modes(loss):
    flow, start, log_t = cf.SpectralFlow(cf.complete(3), loss=loss, weight_decay=1e-3), np.array([0.3]), [-1.0, 1.5]
    states, speeds = _exact_matrices.solve(
        _exact_matrices.Matrices(cf.MatrixFlow(loss=loss, weight_decay=1e-3), flow.lift(start)), np.array(log_t)
    )
    s, _, slopes = _exact.Solution(_exact.Modes(flow, start), 1.5).at(log_t)
    for y, v, value, slope in zip(states, speeds, s[:, 0], slopes[:, 0], strict=True):
        assert (y @ y) / 4.0 == pytest.approx(value, rel=1e-14)  # |W|^2 = |H|^2 = 2 s
        assert (y @ v) / 2.0 == pytest.approx(slope, rel=1e-12)


def test_problems_are_of_all_kinds_and_repeat():
    problems = [_grid.problem(seed) for seed in range(200)]
    assert {problem.kind for problem in problems} == set(_grid.KINDS)
    assert {problem.flow.loss.name for problem in problems} == set(cf.losses.LOSSES)
    assert problems[7].text == _grid.problem(7).text


def test_accuracy_finds_errors_within_the_promise_and_certificates_right(tmp_path, capsys):
    assert command.main(["accuracy", "--quick", "--out", str(tmp_path)]) == 0
    by_kind, by_rtol, verdicts = json.loads((tmp_path / "accuracy.json").read_text())["tables"]
    rows = [dict(zip(table["columns"], table["rows"][-1], strict=True)) for table in (by_kind, by_rtol, verdicts)]
    assert rows[0]["runs"] == 8 and rows[0]["worst"] < 10.0 and rows[0]["beyond"] == rows[1]["beyond"] == 0
    assert rows[2]["false pass"] == rows[2]["false failure"] == 0
