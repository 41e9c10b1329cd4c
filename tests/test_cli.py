"""The command: what it prints and writes, and how it ends."""

import json
import math
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import ceflow as cf
from ceflow import cli
from ceflow.certify import time_text
from ceflow.cli import _compare, _page, _prove, _run

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def command(capsys, tmp_path, monkeypatch):
    """Runs the command in an empty directory; returns exit code, output, error output."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        try:
            code = cli.main(arguments)
        except SystemExit as leave:
            code = leave.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_run_without_arguments(command, tmp_path):
    code, out, err = command("run")
    assert code == 0 and err == ""
    assert (
        "hadamard(16)" in out
        and "t = 1e30" in out
        and out.count("PASS") == 23
        and "FAIL" not in out
        and "n/a" not in out
    )
    assert "Error estimate" in out and out.endswith("All checks passed.\n")
    assert max(map(len, out.splitlines())) <= 80 and "\033" not in out
    assert (tmp_path / "ceflow-run" / "run.png").read_bytes().startswith(b"\x89PNG")
    run = cf.load(tmp_path / "ceflow-run" / "run.npz")
    assert run.success and run.t[-1] == pytest.approx(1e30, rel=1e-12) and run.flow.scheme == cf.hadamard(16)
    last = re.search(r"^ +1e30 (.*)$", out, re.MULTILINE)[1].split()
    values = run.singular_values[-1]
    expected = values.min(), values.mean(), values.max(), run.loss[-1], run.lyapunov[-1], run.accuracy_gap[-1]
    np.testing.assert_allclose([float(number) for number in last], expected, rtol=1e-3)


@pytest.mark.parametrize(
    "arguments",
    [
        "--t-end 1e1000 -K 8",
        "-K 4 --t-end 1e200",
        "-K 4 --t-end 1e100 --rtol 1e-6",
        "--scheme cyclic -K 7 --seed 3",
        "--scheme complete -K 2",
        "--scheme hamming:2,3 --classes 9",
        "--scheme johnson:5,2",
        "-K 256 --t-end 1e20",
        "-K 4 --scale 1e-12",
        "-K 4 --scale 1000 --t-end 1e500",
        "-K 4 --t-end 0.001",
        "-K 4 --depth 3 --loss focal:3",
        "-K 4 --depth 2.5 --loss squared_error",
        "-K 4 --loss label_smoothing:0.2 --weight-decay 1e-3",
        "-K 4 --weight-decay 0.5 --t-end 100",
    ],
)
def test_runs_of_all_kinds(command, tmp_path, arguments):
    code, out, err = command("run", "--no-plot", "--out", "here", *arguments.split())
    assert (code, err) == (0, ""), out
    assert max(map(len, out.splitlines())) <= 80
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["run.npz"]
    assert ("Not compared" in out) == ("256" in arguments or "2.5" in arguments)
    assert ("At equilibrium from" in out) == ("decay 1e-3" in arguments or "squared" in arguments)


def test_options_of_a_file_and_output_for_machines(command, tmp_path):
    """JSON holds what the text says; options of the command line win over those of the file."""
    (tmp_path / "options.toml").write_text('classes = 8\nt-end = "1e5"\nplot = false\nreduction = "sum"\nrtol = 1e-7\n')
    code, out, err = command("run", "--config", "options.toml", "-K", "4", "--json")
    found = json.loads(out)
    assert (
        (code, err) == (0, "") and found["passed"] and found["certificate"]["passed"] and all(found["checks"].values())
    )
    run = cf.load(tmp_path / "ceflow-run" / "run.npz")
    assert run.flow == cf.SpectralFlow(cf.hadamard(4), reduction="sum") and run.rtol == 1e-7
    assert found["run"]["singular_values"] == run.singular_values[-1].tolist()
    assert found["files"] == ["ceflow-run/run.npz"] and found["flow"] == run.flow.spec

    code, out, _ = command("certify", "ceflow-run/run.npz")
    assert code == 0 and "V never increases" in out and out.endswith("All checks passed.\n")
    assert json.loads(command("certify", "ceflow-run/run.npz", "--json")[1])["certificate"] == found["certificate"]
    assert json.loads(command("info", "ceflow-run/run.npz", "--json")[1])["steps"] == run.nsteps
    code, out, _ = command("info")
    assert code == 0 and cf.__version__ in out and "hadamard" in out and "focal" in out


@pytest.mark.parametrize(
    ("name", "values"), [("s.csv", "0.1,0.2,0.3"), ("s.txt", "0.1 0.2 0.3\n0.2 0.1 0.4"), ("s.npy", "")]
)
def test_a_start_from_a_file(command, tmp_path, name, values):
    start = np.fromstring(values.replace(",", " "), sep=" ") if values else np.array([1.0, 2.0, 0.5])
    np.save(tmp_path / name, start) if name.endswith(".npy") else (tmp_path / name).write_text(values)
    code, out, err = command("run", "-K", "4", "--start", name, "--no-plot", "--t-end", "10")
    assert (code, err) == (0, "") and f"from {name}" in out
    np.testing.assert_array_equal(cf.load("ceflow-run/run.npz").start.ravel(), start)


def test_bad_arguments_leave_nothing_behind(command, tmp_path):
    (tmp_path / "bad.toml").write_text("class = 3\n")
    (tmp_path / "no.toml").write_text("class 3\n")
    (tmp_path / "kind.toml").write_text('plot = "yes"\n')
    (tmp_path / "s.csv").write_text("a,b\n")
    before = sorted(tmp_path.iterdir())
    for arguments, message in (
        ("run --config bad.toml", "unknown options: class"),
        ("run --config no.toml", "not a TOML file"),
        ("run --config kind.toml", "plot must be true or false"),
        ("run --config missing.toml", "missing.toml"),
        ("run --rtol 1e-20", "rtol must be between 1e-13 and 0.1"),
        ("run --start s.csv", "holds no array of numbers"),
        ("run --start missing.npy", "missing.npy"),
        ("run --out s.csv", "is not a directory"),
        ("certify missing.npz", "missing.npz"),
        ("info s.csv", "s.csv"),
    ):
        code, out, err = command(*arguments.split())
        assert code == 2 and message in err and out == "" and "Traceback" not in err, (arguments, err)
    assert sorted(tmp_path.iterdir()) == before


def test_seeds_make_the_same_run_again(command):
    tables = [command("run", "--no-plot", "--seed", seed, "-K", "4")[1].partition(" rejected")[0] for seed in "122"]
    assert tables[1] == tables[2] != tables[0]


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "--scheme johnson:5,2 --width 12",
        "--scheme cyclic -K 5 --width 4",
        "-K 4 --depth 3 --loss label_smoothing --weight-decay 1e-3 --t-end 1e2",
    ],
)
def test_compare(command, tmp_path, arguments):
    code, out, err = command("compare", *arguments.split())
    assert (code, err) == (0, "") and out.count("PASS") == 3
    assert max(map(len, out.splitlines())) <= 80
    assert {path.name for path in (tmp_path / "ceflow-compare").iterdir()} == {"reduced.npz", "full.npz", "compare.png"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run -K 12", "K must be a power of two"),
        ("run -K x", "invalid int value"),
        ("run --scheme star", "--scheme must be complete (any K)"),
        ("run --scheme hamming:3", "--scheme must be hamming:M,Q with integers"),
        ("run --scheme hamming:3,4 -K 10", "--scheme hamming:3,4 has 64 classes, got 10"),
        ("run --scheme johnson:5,9", "k must be at most"),
        ("run --t-end -1", "must be a positive number"),
        ("run --t-end soon", "must be a positive number"),
        ("run --t-end inf", "must be a positive number"),
        ("run --t-end 1e999999999", "log_t_end must be between"),
        ("run --rtol 2", "rtol must be between"),
        ("run --rtol nan", "rtol must be between"),
        ("run --scale 0", "--scale must be between"),
        ("run --scale nan", "--scale must be between"),
        ("run --seed -1", "--seed must not be negative"),
        ("run --loss hinge", "loss must be one of"),
        ("run --loss squared_error:2", "--loss must be cross_entropy"),
        ("run --loss focal:x", "--loss focal:x: could not convert"),
        ("run --loss label_smoothing:2", "smoothing must be between 1e-12 and 1"),
        ("run --depth 1", "depth must be between"),
        ("run --weight-decay -1", "weight_decay must be between"),
        ("compare --depth 2.5", "depth must be an integer"),
        ("compare --width 3", "width must be at least"),
        ("run --out occupied/here", "occupied"),
        ("run --nonsense", "unrecognized arguments"),
        ("jump", "invalid choice"),
    ],
)
def test_bad_arguments_end_with_2_and_one_line(command, tmp_path, arguments, message):
    (tmp_path / "occupied").touch()
    code, _, err = command(*arguments.split())
    assert code == 2 and message in err.splitlines()[-1] and "Traceback" not in err
    assert not (tmp_path / "ceflow-run" / "run.npz").exists()


def examples(text):
    return [re.split(r"\s{2,}", line.strip())[0] for line in text.splitlines() if line.startswith("  ceflow ")]


SMALLER = {  # of what takes long, or a device
    "ceflow run": "-K 4 --t-end 1e6",
    "ceflow run -K 64 --t-end 1e1000": "-K 4",
    "ceflow run --scheme hamming:3,4": "--t-end 1e8",
    "ceflow run --depth 3 --weight-decay 1e-3": "-K 8 --weight-decay 1e-2 --scale 0.1 --t-end 4e3 --rtol 1e-6",
    "ceflow run --loss label_smoothing:0.2": "-K 4",
    "ceflow compare": "-K 4",
    "ceflow compare -K 8 --width 100 --rtol 1e-12": "--width 20 --t-end 100",
    "ceflow compare -K 1024 --backend torch --device cuda": "-K 8 --device cpu",
}


@pytest.mark.parametrize("example", examples(_run.EXAMPLES) + examples(_compare.EXAMPLES))
def test_every_example_of_the_help_pages_runs(command, example):
    if "torch" in example:
        pytest.importorskip("torch", reason="the torch backend needs PyTorch")
    arguments = example.split()[1:] + SMALLER.get(example, "").split()
    code, out, err = command(*arguments, "--no-plot")
    assert (code, err) == (0, "") and "FAIL" not in out, out
    assert max(map(len, out.splitlines())) <= 80
    assert ("the symmetric run is unstable" in out) == ("--depth 3" in example)


def test_there_are_examples_and_none_is_forgotten():
    pages = examples(_run.EXAMPLES), examples(_compare.EXAMPLES)
    assert [len(page) for page in pages] == [6, 4] and set(SMALLER) <= {*pages[0], *pages[1]}


def test_a_run_is_kept_whatever_happens_to_its_checks(command, monkeypatch, tmp_path):
    def broken(self):
        raise ValueError("no certificate today")

    monkeypatch.setattr(cf.Trajectory, "certificate", broken)
    code, _, err = command("run", "-K", "4", "--t-end", "10")
    assert code == 2 and "no certificate today" in err
    assert cf.load(tmp_path / "ceflow-run" / "run.npz").success
    monkeypatch.setattr(cf, "compare", lambda *runs: broken(runs))
    assert command("compare", "-K", "4", "--t-end", "10")[0] == 2
    assert {path.name for path in (tmp_path / "ceflow-compare").iterdir()} == {"reduced.npz", "full.npz"}


def test_a_failed_check_ends_with_1(command, monkeypatch):
    monkeypatch.setattr(cf._compare, "AGREEMENT", 1e-9)
    code, out, _ = command("compare", "-K", "4", "--no-plot")
    assert code == 1 and "FAIL  error at most" in out and "Some checks FAILED." in out
    code, out, _ = command("run", "-K", "4", "--no-plot")
    assert code == 1 and "FAIL  reduced flow agrees with it" in out


def test_a_run_that_ends_early_fails_and_is_kept(command, monkeypatch, tmp_path):
    integrate = cf.integrate
    monkeypatch.setattr(cf, "integrate", lambda *a, **k: integrate(*a, **k | {"max_steps": 20}))
    code, out, _ = command("run", "-K", "4")
    assert code == 1 and "FAIL  reached the end" in out and "stopped after max_steps = 20" in out
    assert max(map(len, out.splitlines())) <= 80
    assert not cf.load(tmp_path / "ceflow-run" / "run.npz").success


def test_a_comparison_interrupted_before_its_first_step_fails(command, monkeypatch, tmp_path):
    def interrupted(rows):
        raise KeyboardInterrupt

    integrate, early = cf.integrate, {"until": interrupted}
    monkeypatch.setattr(cf, "integrate", lambda *a, **k: integrate(*a, **k | (early if "log_t_end" in k else {})))
    code, out, _ = command("compare", "-K", "4")
    assert code == 1 and "FAIL  reduced flow reached the end" in out and "interrupted" in out
    assert not list((tmp_path / "ceflow-compare").iterdir())


def test_states_too_large_to_keep_are_not_written(command, monkeypatch, tmp_path):
    monkeypatch.setattr(_compare, "LARGEST_FILE", 10_000)
    code, out, _ = command("compare", "-K", "8", "--no-plot")
    assert code == 0 and "full.npz is not written: " in out
    assert [path.name for path in (tmp_path / "ceflow-compare").iterdir()] == ["reduced.npz"]


def test_an_interrupt_outside_of_a_run_ends_in_order(command, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cf, "integrate", interrupted)
    code, _, err = command("run", "-K", "4")
    assert code == 130 and err == "ceflow run: interrupted\n"


def test_a_run_without_rows_has_no_decades():
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), np.full(3, 0.1), 1.0)[:1]
    np.testing.assert_array_equal(_page.decades(run.log_t, -math.inf), [-math.inf])


@pytest.mark.parametrize("loss", [cf.losses.CrossEntropy(), cf.losses.SquaredError(), cf.losses.label_smoothing(0.2),
                                  cf.losses.focal(3.0)], ids=str)  # fmt: skip
def test_the_residual_that_is_printed_is_the_residual(loss):
    text = (
        loss.residual_formula.partition(",  ")[0]
        .replace("^", "**")
        .replace("11'", "1")
        .replace("(1 - e) I", "(1 - e) * I")
    )
    K, Z = 4, np.random.default_rng(0).standard_normal((4, 4))
    p = np.exp(Z) / np.exp(Z).sum(axis=0)
    p_0 = np.diag(p)
    names = {"I": np.eye(K), "K": K, "Z": Z, "p": p, "p_0": p_0, "q": 1 - p_0}
    names |= {"e": loss.parameters.get("smoothing"), "f": loss.parameters.get("focusing")}
    for spaced, product in (
        ("(I - p) diag", "(I - p) @ diag"),
        ("f q", "f * q"),
        (" p_0 log p_0", " * p_0 * log(p_0)"),
        ("e 1", "e * 1"),
    ):
        text = text.replace(spaced, product)
    G = eval(text, names | {"diag": np.diag, "log": np.log})
    expected = Z.copy()
    scale, _ = cf.losses.full_residual(loss, expected, np.arange(K))
    np.testing.assert_allclose(G, expected * np.exp(scale), rtol=0, atol=1e-14)


def test_colour_only_on_a_terminal(command, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\033[32mPASS" in command("run", "-K", "4", "--no-plot")[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033" not in command("run", "-K", "4", "--no-plot")[1]


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("compare", "--help")])
def test_help_teaches(command, arguments):
    code, out, _ = command(*arguments)
    assert code == 0 and "ceflow" in out and max(map(len, out.splitlines())) <= 80
    assert len(arguments) == 1 or "examples:" in out


def test_no_command_shows_help_and_version_is_told(command):
    assert command()[0] == 2
    assert command("--version")[1] == f"ceflow {cf.__version__}\n"


@pytest.mark.parametrize(
    ("log_t", "text"),
    [(-math.inf, "0"), (0.0, "1"), (math.log(250.0), "2.5e2"), (30 * math.log(10), "1e30"), (math.log(1e-3), "1e-3"),
     (2500 * math.log(10), "1e2500"), (math.log(9.999), "1e1"), (math.log(7.0), "7")],
)  # fmt: skip
def test_times_in_words(log_t, text):
    assert time_text(log_t) == text


def test_module_runs():
    done = subprocess.run([sys.executable, "-m", "ceflow", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("ceflow ")


def test_module_runs_only_as_a_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ceflow"])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_module("ceflow", run_name="__main__")
    assert "usage: ceflow" in capsys.readouterr().out
    runpy.run_module("ceflow.__main__")
    assert capsys.readouterr().out == ""


def test_example_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    for example in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL):
        exec(compile(example, "README.md", "exec"), {})
    plt.close("all")
    assert "max_error" in capsys.readouterr().out and (tmp_path / "run.png").exists()


# ceflow prove


def test_prove_prints_a_proof(command):
    code, out, err = command("prove", "codes")
    assert code == 0 and err == "" and out.rstrip().endswith("Proved.")
    assert "quotes, unchecked" in out
    code, out, _ = command("prove", "codes", "--wrong", "a chord at sin(a/2) sin(b/2)")
    assert code == 1 and "NOT proved." in out


def test_prove_with_bad_arguments(command):
    code, _, err = command("prove", "nope")
    assert code == 2 and "no derivation is called 'nope'" in err
    code, _, err = command("prove", "--only")
    assert code == 2 and "need the NAME" in err


def test_prove_finds_the_proofs_where_a_wheel_has_them(command, tmp_path, monkeypatch):
    """The folder of the proofs under the name that it has in a wheel, with no clone around."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    name = wheel["force-include"]["derivations"]
    shutil.copytree(ROOT / "derivations", tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(_prove, "CLONE", tmp_path / "derivations" / "_command.py")
    try:
        code, out, _ = command("prove", "error_exponents")
        assert code == 0 and out.rstrip().endswith("Proved.")
        assert Path(sys.modules[f"{name}._command"].__file__).parent == tmp_path / name
    finally:
        for module in [m for m in sys.modules if m.split(".")[0] == name]:
            del sys.modules[module]
    code = f"import sys, {name}.__main__ as m; m.main(['--list']); sys.exit('derivations' in sys.modules)"
    listed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert listed.returncode == 0 and "convergence" in listed.stdout
