"""The benchmarks work: what they print has the right structure and the right errors. Nothing here is timed."""

import json

import pytest

from benchmarks import __main__ as command
from benchmarks import _peers, _report, imbalance, trajectories
from benchmarks._problem import Problem


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
    assert command.main(["imbalance", "--quick"]) == 0
    assert "full matrices" in capsys.readouterr().out
    groups, matrices = imbalance.measure(20, quick=True).rows
    assert groups[1] < matrices[1] and matrices[-1] < 1e-7
