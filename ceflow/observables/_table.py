"""The table: names, and what there is to know of the quantities behind them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

Run = Any  # a Trajectory, whose room is above this one
Flow = Any
C = TypeVar("C", bound=type)
Dims = tuple[str, ...] | dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Observable:
    """A quantity that follows from a trajectory.

    Attributes
    ----------
    function : callable
        Of the trajectory. Its name and its docstring are those of the observable.
    dims : tuple of str, dict, or callable
        Names of the axes, "row" first. Of a value that has several parts, a dict from their names to the axes of each;
        where it depends on the flow, a function of the flow that returns either. Not counted is the axis "batch" after
        that of the rows.
    units : str
        "1" for what has none. Time has the unit that the flow's `reduction` gives it.
    cached : bool
        Whether a trajectory keeps the value.
    exported : bool
        Whether it is part of `Trajectory.to_xarray`.
    requires : callable, optional
        Raises a ValueError, which says why, for a flow that has no such quantity.
    """

    function: Callable[[Run], Any]
    dims: Dims | Callable[[Flow], Dims] = ("row",)
    units: str = "1"
    cached: bool = False
    exported: bool = False
    requires: Callable[[Flow], None] | None = None

    @property
    def name(self) -> str:
        """The attribute of a trajectory."""
        return self.function.__name__

    @property
    def doc(self) -> str:
        """What it is, in one line."""
        return " ".join((self.function.__doc__ or "").partition("\n\n")[0].split())

    def why_not(self, flow: Flow) -> str:
        """Why a flow has no such quantity; empty if it has."""
        try:
            if self.requires is not None:
                self.requires(flow)
        except ValueError as reason:
            return str(reason)
        return ""

    def __call__(self, run: Run) -> Any:
        """The value; a ValueError where there is none."""
        if self.requires is not None:
            self.requires(run.flow)
        return self.function(run)

    def variables(self, run: Run) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]]:
        """Each part of the value by its name, as xarray takes it: names of the axes, array, attributes."""
        dims, value = self.dims(run.flow) if callable(self.dims) else self.dims, getattr(run, self.name)
        if not isinstance(dims, dict):
            dims, value = {self.name: dims}, (value,)
        found = {}
        for (part, (row, *axes)), array in zip(dims.items(), value, strict=True):
            batch = ("batch",) * (array.ndim - 1 - len(axes))
            found[part] = ((row, *batch, *axes), array, {"units": self.units})
        return found

    def attribute(self) -> property | cached_property:
        """As which a class of trajectories has it."""

        @functools.wraps(self.function)
        def value(run: Run) -> Any:
            return self(run)

        return cached_property(value) if self.cached else property(value)


def axes_of(observables: Mapping[str, Observable], flow: Flow) -> dict[str, tuple[str, ...]]:
    """Names of the axes of observables of a flow, those of several parts as these, by name."""
    found: dict[str, tuple[str, ...]] = {}
    for name, observable in observables.items():
        dims = observable.dims(flow) if callable(observable.dims) else observable.dims
        found |= dims if isinstance(dims, dict) else {name: dims}
    return found


class Table(dict[str, Observable]):
    """Observables by their names."""

    def add(self, *dims: str, **options) -> Callable[[Callable], Callable]:
        """Makes an entry of the function below; `dims` and `options` are those of `Observable`."""
        options = {"dims": dims, **options} if dims else options

        def enter(function: Callable[[Run], Any]) -> Callable[[Run], Any]:
            self[function.__name__] = Observable(function, **options)
            return function

        return enter

    def attach(self, cls: C) -> C:
        """Gives a class of trajectories its properties, beside those of its base."""
        type.__setattr__(cls, "observables", {**getattr(cls, "observables", {}), **self})
        for name, observable in self.items():
            attribute = observable.attribute()
            setattr(cls, name, attribute)
            if isinstance(attribute, cached_property):
                attribute.__set_name__(cls, name)
        return cls
