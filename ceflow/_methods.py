"""Methods of trajectories and comparisons that depend on higher layers of the package.

Trajectories have a certificate and comparisons have a figure, but their modules import neither. This module attaches
the methods when ``ceflow`` is imported. The methods import their dependencies when called.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from . import io
from ._compare import Comparison
from ._ensemble import Ensemble
from ._html import card, few, image, table
from .solve import Outcome
from .trajectory import Trajectory

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from .certify import Certificate


def _method_of(owner: type, name: str | None = None) -> Callable[[Callable], Callable]:
    def attach(function: Callable) -> Callable:
        function.__name__ = name or function.__name__
        function.__qualname__ = f"{owner.__qualname__}.{function.__name__}"
        setattr(owner, function.__name__, function)
        return function

    return attach


_method_of(Trajectory)(io.save)
_method_of(Ensemble, "save")(io.save_ensemble)


@_method_of(Trajectory)
def certificate(self: Trajectory) -> Certificate:
    """Check a run a posteriori: equations, error, conservation laws, Lyapunov functions and proved bounds.

    Returns
    -------
    ceflow.Certificate
        ``passed`` is the result, ``error_estimate`` the relative error; it prints as a table (see `ceflow.certify`).
        Claims that are not proved for this flow are marked.

    Raises
    ------
    ValueError
        If the run is a batch.

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.complete(3)), [0.1], 1e3)
    >>> run.certificate().passed
    True
    """
    from .certify import certify

    return certify(self)


@_method_of(Trajectory)
def to_pandas(self: Trajectory) -> pandas.DataFrame:
    """Convert scalar observables and singular values to a pandas DataFrame with the index ``t``.

    It needs the extra ``xarray``, which includes pandas. `to_xarray` has the other observables.

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.complete(3)), [0.1], t_eval=[1.0, 10.0])
    >>> run.to_pandas()["loss"].round(4).tolist()
    [0.9769, 0.0777]
    """
    import pandas

    table = {"log_t": self.log_t}
    for key, values in self.to_xarray().data_vars.items():
        name = str(key)
        if values.ndim == 1:
            table[name] = values.to_numpy()
        elif name == "singular_values" and values.ndim == 2:
            table |= {f"s_{i + 1}": column for i, column in enumerate(values.to_numpy().T)}
    return pandas.DataFrame(table, index=pandas.Index(self.t, name="t"))


def _trajectory_html(self: Trajectory) -> str:
    from .certify import time_text

    rejected = f", {self.nrejected} rejected" if self.nrejected else ""
    facts = [
        ("flow", repr(self.flow)),
        ("until", f"t = {time_text(self.log_t_end)}: {self.message or self.outcome.name}"),
        ("rows", f"{len(self)}, of {self.nsteps} steps{rejected}, {self.nfev} evaluations"),
    ]
    if not len(self) or self.log_loss.ndim > 1:  # a batch of runs
        return card("Trajectory", facts)
    last = self[-1]
    found = {
        name: few(np.ravel(getattr(last, name)), 6)
        for name in ("margin", "singular_values")
        if name in self.observables and not self.observables[name].why_not(self.flow)
    }
    margin = f", margin {found['margin']}" if "margin" in found else ""
    facts.append(("at the end", f"loss {time_text(float(last.log_loss[0]))}{margin}"))
    if "singular_values" in found:
        facts.append(("singular values", found["singular_values"]))
    return card("Trajectory" if self.success else "Trajectory, not complete", facts, _figure_of(self))


type.__setattr__(Trajectory, "_repr_html_", _trajectory_html)


def _figure_of(traj: Trajectory) -> str:
    """Figures of singular values and loss as HTML; empty if there are fewer than two times or no singular values."""
    if np.isfinite(traj.log_t).sum() < 2 or "singular_values" not in traj.observables:
        return ""
    from . import plot

    functions = {"singular values": plot.singular_values, "loss": plot.loss}
    return "".join(
        image(functools.partial(draw, traj), (3.5, 2.4), f"{name} over time") for name, draw in functions.items()
    )


def _ensemble_html(self: Ensemble) -> str:
    from .certify import time_text

    status, counts = np.unique(self.status, return_counts=True)
    ends = [
        f"{count} {Outcome(int(one)).name.lower().replace('_', ' ')}" for one, count in zip(status, counts, strict=True)
    ]
    until = "their ends" if self.grid is None else f"t = {time_text(float(self.grid[-1]))}"
    facts = [
        ("flow", repr(self.flow)),
        ("runs", f"{len(self)}: {', '.join(ends)}"),
        ("rows", f"{self.log_t.shape[-1]} of each run, until {until}"),
        ("steps", f"{self.nsteps.sum()}, {self.nrejected.sum()} rejected, {self.nfev.sum()} evaluations"),
    ]
    last = {name: values[self.success, -1] for name, values in self.data.items() if values.ndim == 2}
    levels = (0.0, 0.25, 0.5, 0.75, 1.0)
    lines = [
        (name.replace("_", " "), *(f"{value:.4g}" for value in np.nanquantile(values, levels)))
        for name, values in last.items()
        if np.isfinite(values).any()
    ]
    head = ("at the end", "least", "quarter", "median", "three quarters", "largest")
    quantiles = table(head, lines) if lines else ""
    return card("Ensemble" if self.success.all() else "Ensemble, not complete", facts, quantiles + _bands_of(self))


type.__setattr__(Ensemble, "_repr_html_", _ensemble_html)


def _bands_of(ensemble: Ensemble) -> str:
    """Figure of quantiles over time as HTML, if there are data to plot and xarray is installed."""
    names = [name for name, values in ensemble.data.items() if values.ndim == 2 and np.any(values > 0.0)][:2]
    if not names or ensemble.grid is None or np.isfinite(ensemble.grid).sum() < 3 or not ensemble.success.any():
        return ""
    from . import plot

    def draw(name: str, ax: Axes) -> Axes:
        scale = "log" if np.nanmin(ensemble.data[name]) > 0.0 else "linear"
        return plot.quantiles(ensemble, name, ax=ax, scale=scale)

    try:
        return "".join(
            image(functools.partial(draw, name), (3.5, 2.4), f"quantiles of {name} over time") for name in names
        )
    except ImportError:
        return ""


def _comparison_html(self: Comparison) -> str:
    from .certify import time_text
    from .plot import comparison

    facts = [
        ("reduced", repr(self.reduced.flow)),
        ("full", repr(self.full.flow)),
        ("largest error", f"{self.max_error:.1e} of |Z|"),
        ("compared", f"at {len(self.log_t)} times to t = {time_text(self.log_t[-1])}"),
    ]
    if not self.trusted.all():
        facts.append(("counted until", f"t = {time_text(self.trusted_until)}, as the symmetric run is unstable"))
    drawn = np.isfinite(self.log_t).any()
    figure = image(lambda ax: comparison(self, ax), (7.0, 3.6), "errors over time", legend=True) if drawn else ""
    return card("Comparison of a reduced and a full run", facts, figure)


type.__setattr__(Comparison, "_repr_html_", _comparison_html)


@_method_of(Comparison)
def plot(self: Comparison, ax: Axes | None = None) -> Axes:
    """Plot the errors over time; see `ceflow.plot.comparison`.

    Examples
    --------
    >>> flow, s0 = cf.SpectralFlow(cf.hadamard(4)), [0.1, 0.2, 0.3]
    >>> full = cf.integrate(cf.MatrixFlow(), flow.lift(s0), 1e3, rtol=1e-6)
    >>> ax = cf.compare(cf.integrate(flow, s0, 1e3), full).plot()
    >>> ax.get_xlabel()
    'time $t$'
    """
    from .plot import comparison

    return comparison(self, ax=ax)
