"""Methods of trajectories and comparisons that need rooms above theirs.

Users ask a run for its certificate and a comparison for its figure, but neither room may know certificates or figures.
This one stands above them all and gives the classes these methods when ``ceflow`` is imported; what they need is
imported when they are called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from . import io
from ._compare import Comparison
from .trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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


@_method_of(Comparison)
def plot(self: Comparison, ax: Axes | None = None) -> Axes:
    """The errors over time; see `ceflow.plot.comparison`."""
    from .plot import comparison

    return comparison(self, ax=ax)
