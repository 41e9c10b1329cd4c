"""Flow and starts at each point of the grid of a sweep; pickled to the workers."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import losses, symmetry
from .._ensemble import Ensemble
from .._many import integrate_many
from ..flow import BlockFlow, Flow, SpectralFlow

Start = Any


def reduced_flow(scheme: str | symmetry.Symmetry = "hadamard:16", loss: str | losses.Loss = "cross_entropy", **options):
    """Make a SpectralFlow; scheme and loss may be strings, such as "hamming:3,4" and "focal:2"."""
    scheme = symmetry.parse(scheme) if isinstance(scheme, str) else scheme
    return SpectralFlow(scheme, loss=losses.parse(loss) if isinstance(loss, str) else loss, **options)


def random_start(flow: Flow, rng: np.random.Generator, scale: float = 1e-3) -> Start:
    """Singular values of balanced layers, uniform in ``scale * [0.1, 1]``; Gaussian layers for a flow on blocks."""
    if isinstance(flow, BlockFlow):
        return flow.random_start(scale, rng)
    if not isinstance(flow, SpectralFlow):
        raise ValueError(f'starts="random" needs a SpectralFlow; give a function of flow and rng for {flow!r}')
    return scale * rng.uniform(0.1, 1.0, flow.scheme.modes)


@dataclass(frozen=True)
class Problem:
    """Functions of the grid parameters, and the options of each run.

    Attributes
    ----------
    flow : callable
        Returns the flow.
    starts : callable or (members, ...) array
        Returns the start of a member; or the array of all starts, whose first row is the member `first`.
    seed : int
    options : dict
        Options of `integrate_many`.
    """

    flow: Callable[..., Flow]
    starts: Callable[..., Start] | np.ndarray
    seed: int
    options: dict[str, Any] = field(default_factory=dict)
    first: int = 0

    def for_members(self, members: slice) -> Problem:
        """This problem with the starts of these members only."""
        if callable(self.starts):
            return self
        return replace(self, starts=self.starts[members.start - self.first : members.stop - self.first],
                       first=members.start)  # fmt: skip

    def check_names(self, names: Iterable[str]) -> None:
        """Raise a ValueError if neither flow nor starts have a parameter of this name."""
        for name in names:
            if not any(_given(one, {name: None}) for one in (self.flow, self.starts)):
                raise ValueError(f"grid has the parameter {name!r}, which neither flow nor starts accept")

    def flow_at(self, parameters: dict[str, Any]) -> Flow:
        """Flow at a point of the grid."""
        given = _given(self.flow, parameters, self.starts)
        flow = self.flow(**given)
        if not isinstance(flow, Flow):
            raise TypeError(f"flow must return a SpectralFlow or a MatrixFlow, got {type(flow).__name__} for {given}")
        return flow

    def start(self, flow: Flow, parameters: dict[str, Any], member: int) -> Start:
        """Start of a member. Its generator depends on seed and member only, and is equal at all points of the grid."""
        if not callable(self.starts):
            return self.starts[member - self.first]
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(member,)))
        return self.starts(flow, rng, **_given(self.starts, parameters, self.flow))

    def run(self, parameters: dict[str, Any], members: slice, **options: Any) -> Ensemble:
        """Integrate some members at a point of the grid."""
        flow = self.flow_at(parameters)
        starts = [self.start(flow, parameters, member) for member in range(members.start, members.stop)]
        return integrate_many(flow, starts, **{**self.options, **options})


def _given(function: Any, parameters: dict[str, Any], other: Any = None) -> dict[str, Any]:
    """Parameters that a function names and, if it accepts any keyword, those that the other function does not name."""
    (names, takes_any), (others, _) = _signature(function), _signature(other)
    return {
        name: value for name, value in parameters.items() if name in names or (takes_any and name not in others)
    }  # fmt: skip


def _signature(function: Any) -> tuple[frozenset[str], bool]:
    """Names of the parameters of a function, and whether it accepts any keyword; empty if it is no function."""
    return _signature_of(function) if callable(function) else (frozenset(), False)


@functools.cache
def _signature_of(function: Callable) -> tuple[frozenset[str], bool]:
    found = inspect.signature(function).parameters
    return frozenset(found), any(one.kind is inspect.Parameter.VAR_KEYWORD for one in found.values())


def without_floats(spec: Any) -> Any:
    """JSON specification without its floats."""
    if isinstance(spec, dict):
        return {name: without_floats(value) for name, value in spec.items()}
    if isinstance(spec, (list, tuple)):
        return [without_floats(value) for value in spec]
    return None if isinstance(spec, float) else spec


def text_of(spec: Any) -> str:
    """Specification as one string."""
    return json.dumps(spec, sort_keys=True, default=repr)


def arrays_of(start: Start) -> list[np.ndarray]:
    """Arrays of a start."""
    return [np.asarray(part) for part in start] if isinstance(start, (tuple, list)) else [np.asarray(start)]
