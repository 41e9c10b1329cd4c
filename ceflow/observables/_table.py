"""Table of observables: names, functions, axes, units."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

Run = Any  # a Trajectory, which this module cannot import
Flow = Any
C = TypeVar("C", bound=type)
Dims = tuple[str, ...] | dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Observable:
    """Observable of a trajectory.

    Attributes
    ----------
    function : callable
        Function of the trajectory. Its name and docstring are those of the observable.
    dims : tuple of str, dict, or callable
        Names of the axes, "row" first, without the axis "batch" after it. For a value with several parts, a dict from
        their names to their axes. If it depends on the flow, a function of the flow that returns either.
    units : str
        Units; "1" for dimensionless. The unit of time depends on the flow's `reduction`.
    cached : bool
        Whether a trajectory caches the value.
    exported : bool
        Whether it is part of `Trajectory.to_xarray`.
    requires : callable, optional
        Raises a ValueError with the reason if a flow does not have the observable.
    """

    function: Callable[[Run], Any]
    dims: Dims | Callable[[Flow], Dims] = ("row",)
    units: str = "1"
    cached: bool = False
    exported: bool = False
    requires: Callable[[Flow], None] | None = None

    @property
    def name(self) -> str:
        """Name of the attribute of a trajectory."""
        return self.function.__name__

    @property
    def doc(self) -> str:
        """Description in one line."""
        return " ".join((self.function.__doc__ or "").partition("\n\n")[0].split())

    def why_not(self, flow: Flow) -> str:
        """Reason why a flow does not have the observable; empty if it has."""
        try:
            if self.requires is not None:
                self.requires(flow)
        except ValueError as reason:
            return str(reason)
        return ""

    def __call__(self, run: Run) -> Any:
        """Value of the observable; a ValueError if the flow does not have it."""
        if self.requires is not None:
            self.requires(run.flow)
        return self.function(run)

    def variables(self, run: Run) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]]:
        """Parts of the value by name, as xarray variables: names of the axes, array, attributes."""
        dims, value = self.dims(run.flow) if callable(self.dims) else self.dims, getattr(run, self.name)
        if not isinstance(dims, dict):
            dims, value = {self.name: dims}, (value,)
        found = {}
        for (part, (row, *axes)), array in zip(dims.items(), value, strict=True):
            batch = ("batch",) * (array.ndim - 1 - len(axes))
            found[part] = ((row, *batch, *axes), array, {"units": self.units})
        return found

    def attribute(self) -> property | cached_property:
        """Property of a class of trajectories."""

        @functools.wraps(self.function)
        def value(run: Run) -> Any:
            return self(run)

        return cached_property(value) if self.cached else property(value)


def axes_of(observables: Mapping[str, Observable], flow: Flow) -> dict[str, tuple[str, ...]]:
    """Names of the axes of observables of a flow, by name; observables with several parts are split."""
    found: dict[str, tuple[str, ...]] = {}
    for name, observable in observables.items():
        dims = observable.dims(flow) if callable(observable.dims) else observable.dims
        found |= dims if isinstance(dims, dict) else {name: dims}
    return found


class Table(dict[str, Observable]):
    """Observables by their names."""

    def add(self, *dims: str, **options) -> Callable[[Callable], Callable]:
        """Decorator that adds a function as an entry; `dims` and `options` are those of `Observable`."""
        options = {"dims": dims, **options} if dims else options

        def enter(function: Callable[[Run], Any]) -> Callable[[Run], Any]:
            self[function.__name__] = Observable(function, **options)
            return function

        return enter

    def attach(self, cls: C) -> C:
        """Add the properties to a class of trajectories."""
        type.__setattr__(cls, "observables", {**getattr(cls, "observables", {}), **self})
        for name, observable in self.items():
            attribute = observable.attribute()
            setattr(cls, name, attribute)
            if isinstance(attribute, cached_property):
                attribute.__set_name__(cls, name)
        return cls
