"""Methods of trajectories and comparisons that need rooms above theirs.

Users ask a run for its certificate and a comparison for its figure, but neither room may know certificates or figures.
This one stands above them all and gives the classes these methods when ``ceflow`` is imported; what they need is
imported when they are called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from . import io
from ._compare import Comparison
from ._html import card, few, image
from .trajectory import Trajectory

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .certify import Certificate


def _method_of(owner: type) -> Callable[[Callable], Callable]:
    def attach(function: Callable) -> Callable:
        function.__qualname__ = f"{owner.__qualname__}.{function.__name__}"
        setattr(owner, function.__name__, function)
        return function

    return attach


_method_of(Trajectory)(io.save)


@_method_of(Trajectory)
def certificate(self: Trajectory) -> Certificate:
    """Check, after the fact and from outside, what the run verifiably satisfies: that it solves the equations, how
    large its error is, what is conserved, what must fall, and proved bounds.

    Returns
    -------
    ceflow.Certificate
        It prints itself; ``passed`` is the verdict, ``error_estimate`` the relative error, see `ceflow.certify`.
        Claims that are not proved for this flow are listed as such.

    Raises
    ------
    ValueError
        If it is a batch of runs.
    """
    from .certify import certify

    return certify(self)


@_method_of(Trajectory)
def to_pandas(self: Trajectory) -> pandas.DataFrame:
    """What is one number at each time, and each singular value, as a pandas DataFrame with the index ``t`` (needs the
    extra ``xarray``, which brings pandas). The other observables are in `to_xarray`."""
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
    facts.append(("loss at the end", time_text(float(last.log_loss[0]))))
    for name in ("margin", "singular_values"):
        if name in self.observables and not self.observables[name].why_not(self.flow):
            facts.append((f"{name.replace('_', ' ')} at the end", few(np.ravel(getattr(last, name)), 6)))
    return card("Trajectory" if self.success else "Trajectory, not complete", facts, _figure_of(self))


type.__setattr__(Trajectory, "_repr_html_", _trajectory_html)


def _figure_of(traj: Trajectory) -> str:
    """Singular values and loss as HTML, where there is something to draw."""
    if not np.isfinite(traj.log_t).any() or "singular_values" not in traj.observables:
        return ""
    from . import plot

    def draw(figure: Figure) -> None:
        for function, ax in zip((plot.singular_values, plot.loss), figure.subplots(1, 2), strict=True):
            if legend := function(traj, ax).get_legend():
                legend.remove()

    return image(draw, (7.0, 2.4), "singular values and loss over time")


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
        facts.append(("counted until", f"t = {time_text(self.trusted_until)}, for the symmetric path is unstable"))
    drawn = np.isfinite(self.log_t).any()
    figure = image(lambda figure: comparison(self, figure.subplots()), (7.0, 3.6), "errors over time") if drawn else ""
    return card("Comparison of a reduced and a full run", facts, figure)


type.__setattr__(Comparison, "_repr_html_", _comparison_html)


@_method_of(Comparison)
def plot(self: Comparison, ax: Axes | None = None) -> Axes:
    """The errors over time; see `ceflow.plot.comparison`."""
    from .plot import comparison

    return comparison(self, ax=ax)
