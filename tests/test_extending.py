"""A loss, a scheme, a tableau, a term are one file each: each is added to a copy of the package, which then runs it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "ceflow"

# Polynomial loss with one term (Leng et al., arXiv:2204.12511): cross-entropy + epsilon (1 - p_0).
LOSS = '''
"""Cross-entropy and a multiple of the error probability 1 - p."""

from dataclasses import dataclass

import numpy as np

from ..kernels.linking import linked, vector
from ._loss import RESIDUAL, parameter
from ._margins import accuracy_gap, close_columns, cross_entropy, full_odds, log_odds_of_error, probabilities
from ._margins import weigh_columns
from ._odds import OddsLoss


@linked(*RESIDUAL)
def _residual(parameters, valencies, margins, out, a, classes, base, modes):
    valencies, margins, out = vector(valencies, modes), vector(margins, modes), vector(out, modes)
    log_scale, a[0], log_odds = probabilities(base, valencies, margins, out)
    right = 1.0 / (base + np.exp(log_odds))  # as p_0 / (1 + odds), also where some relations are left out
    return log_scale + np.log1p(parameters[0] * right)


@dataclass(frozen=True)
class Polynomial(OddsLoss):
    epsilon: float = parameter(1.0, 0.0, 100.0)

    name = "polynomial"
    formula = "log1p(S) + epsilon * S / (1 + S)"
    residual_formula = "(I - p) diag(1 + e p_0),  p = softmax(Z), p_0 = diag p"
    residual = _residual

    @property
    def words(self):
        return f"cross-entropy + e (1 - p_0), e = {self.epsilon:g}"

    def log_value(self, margins, valencies=None, mean=0.0):
        log_odds = log_odds_of_error(margins, valencies)
        return np.log(cross_entropy(log_odds) + self.epsilon * accuracy_gap(log_odds))

    def full_residual(self, Z, own, xp=np, log_weights=None):
        log_odds, log_weight = full_odds(Z, own, xp)
        log_weight += xp.log1p(self.epsilon / (1.0 + xp.exp(log_odds)))
        log_weight += 0.0 if log_weights is None else log_weights
        log_scale = log_weight.max()
        weigh_columns(Z, log_weight - log_scale, xp)
        close_columns(Z, own)
        return log_scale, -log_odds.mean()

    def slopes(self, log_odds):
        q, p = accuracy_gap(log_odds), accuracy_gap(-log_odds)
        own = q * (1.0 + self.epsilon * p)
        common = p * q * (1.0 + self.epsilon * (p - q))
        return own, common, own - common
'''
USE_LOSS = """
import numpy as np, ceflow as cf
flow = cf.SpectralFlow(cf.cyclic(5), loss=cf.losses.parse("polynomial:2"))
s0 = np.array([0.1, 0.3])
run = cf.integrate(flow, s0, 1e3, rtol=1e-9)
assert run.certificate().passed, str(run.certificate())
full = cf.integrate(cf.MatrixFlow(loss=flow.loss), flow.lift(s0), 1e3, rtol=1e-9)
assert full.certificate().passed, str(full.certificate())
assert cf.compare(run, full).max_error < 1e-7
exact = cf.reference.solve(flow, s0, np.log([1.0, 1e3]), digits=15).singular_values.astype(float)
np.testing.assert_allclose(run.at([1.0, 1e3]).singular_values, exact, rtol=1e-8)
run.save("run.npz")
assert cf.load("run.npz").flow.loss == flow.loss
assert cf.theory.deviation_rate(1.0, 5, loss=flow.loss) < 0.0 and "polynomial" in cf.losses.LOSSES
from ceflow.cli import main
assert main(["run", "--scheme", "cyclic:5", "--loss", "polynomial:2", "--t-end", "1e3", "--no-plot", "--quiet"]) == 0
"""

# The rook's graph on n x n squares: the same row or column, or neither. It is hamming(2, n), written anew.
SCHEME = '''
"""The rook's graph."""

from dataclasses import dataclass

import numpy as np

from .._checks import checked_integer
from ._registry import register
from ._scheme import Scheme, frozen


@dataclass(frozen=True, eq=False, repr=False)
class _Rook(Scheme):
    n: int

    def _eigenvalues(self):
        n = self.n
        return np.array([[1, 2 * (n - 1), (n - 1) ** 2], [1, n - 2, 1 - n], [1, -2, 1]], dtype=object)

    def _relations(self):
        row, column = np.divmod(np.arange(self.classes), self.n)
        return np.not_equal.outer(row, row).astype(int) + np.not_equal.outer(column, column)


@register("K = N^2")
def rook(n: int) -> Scheme:
    """Squares of a board of n x n, which a rook joins or does not."""
    n = checked_integer("n", n, 2, 1000)
    sizes = frozen([1, 2 * (n - 1), (n - 1) ** 2])
    return _Rook("rook", (n,), n * n, sizes, sizes, n)
'''
USE_SCHEME = """
import numpy as np, ceflow as cf
s0 = np.array([0.1, 0.3])
runs = [cf.integrate(cf.SpectralFlow(scheme), s0, 1e3, rtol=1e-9) for scheme in (cf.rook(3), cf.hamming(2, 3))]
np.testing.assert_allclose(runs[0].at(1e3).singular_values, runs[1].at(1e3).singular_values, rtol=1e-12)
assert runs[0].certificate().passed, str(runs[0].certificate())
runs[0].save("run.npz")
assert cf.load("run.npz").flow.scheme == cf.rook(3) == cf.symmetry.parse("rook:3")
from ceflow.cli import main
assert main(["run", "--scheme", "rook:3", "--t-end", "1e3", "--no-plot", "--quiet"]) == 0
"""

# Bogacki and Shampine's pair of order 3(2), with a cubic Hermite interpolant.
TABLEAU = '''
"""BS3: the explicit pair of order 3(2) by Bogacki and Shampine."""

import numpy as np

from ._tableau import Tableau

_A = np.zeros((4, 4))
_A[1, 0], _A[2, 1] = 1 / 2, 3 / 4
_A[3, :3] = 2 / 9, 1 / 3, 4 / 9
_FIRST, _LAST = np.eye(4)[[0, 3]]

BS3 = Tableau(
    "bs3", 3, 3, 3, _A, np.array([[5 / 72, -1 / 12, -1 / 9, 1 / 8]]),
    np.array([_A[3], _FIRST - _A[3], 2 * _A[3] - _FIRST - _LAST]), 0.5 - 0.5 * np.cos(np.pi * np.arange(5) / 4),
)
'''
USE_TABLEAU = """
import numpy as np, ceflow as cf
flow, s0, t = cf.SpectralFlow(cf.hadamard(4)), np.array([0.1, 0.3, 0.2]), np.geomspace(0.1, 1e4, 30)
exact = cf.integrate(flow, s0, t_eval=t, rtol=1e-12).singular_values
run = cf.integrate(flow, s0, 1e4, rtol=1e-4, method="bs3")
np.testing.assert_allclose(run.at(t).singular_values, exact, rtol=1e-3)
run.save("run.npz")
np.testing.assert_array_equal(cf.load("run.npz").at(t).y, run.at(t).y)
assert cf.resume(run, 1e5).success and run.certificate().passed
"""


# The distance of W from the transposed features, for one column a class.
TERM = '''
"""Distance of the classifier from the transposed features."""

from dataclasses import dataclass

from ._term import Term


@dataclass(frozen=True)
class Duality(Term):
    strength: float = 1.0

    name = "duality"
    words = "strength/2 |W - X^T|^2"

    def constants(self, rows, labels, samples):
        return ()

    def value(self, W, X, xp=None):
        return 0.5 * self.strength * ((W - X.swapaxes(-1, -2)) ** 2).sum(-1).sum(-1)

    def gradient(self, W, X, xp=None):
        apart = self.strength * (W - X.swapaxes(-1, -2))
        return apart, -apart.swapaxes(-1, -2)
'''
USE_TERM = """
import numpy as np, ceflow as cf
flow = cf.MatrixFlow(terms=(cf.terms.as_term({"name": "duality", "strength": 0.5}),), reduction="sum")
W, H = cf.random_init(classes=4, width=5, scale=1.0, rng=0)
run = cf.integrate(flow, (W, H), 4.0)
assert run.certificate().passed, str(run.certificate())
# minus strength 2 (W - H^T) beside what the loss does
assert np.linalg.norm(run.W[-1] - run.H[-1].T) < 0.2 * np.linalg.norm(W - H.T)
run.save("run.npz")
assert cf.load("run.npz").flow.objective == flow.objective and "duality" in cf.terms.TERMS
"""


def test_one_file_each_is_all_it_takes(tmp_path):
    """All in one copy of the package and in one process, which imports it once."""
    shutil.copytree(PACKAGE, tmp_path / "ceflow", ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    additions = (
        ("losses/_polynomial.py", LOSS, USE_LOSS),
        ("symmetry/_rook.py", SCHEME, USE_SCHEME),
        ("solve/tableaus/bs3.py", TABLEAU, USE_TABLEAU),
        ("terms/_duality.py", TERM, USE_TERM),
    )
    for file, source, _ in additions:
        (tmp_path / "ceflow" / file).write_text(source.lstrip())
    uses = [(file, use) for file, _, use in additions]
    program = f"for file, use in {uses!r}:\n    exec(compile(use, file, 'exec'), {{}})"  # a traceback names the file
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
