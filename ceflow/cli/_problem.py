"""Flow and start from the options, and their description."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import ceflow as cf

from ..certify import time_text


def problem(options: argparse.Namespace) -> tuple[cf.SpectralFlow, np.ndarray]:
    """Flow and start."""
    if not 1e-290 <= options.scale <= 1e290:
        raise ValueError(f"--scale must be between 1e-290 and 1e290, got {options.scale:g}")
    if options.seed < 0:
        raise ValueError(f"--seed must not be negative, got {options.seed}")
    flow = cf.SpectralFlow(
        _option("scheme", cf.symmetry.parse, options.scheme, options.classes),
        loss=_option("loss", cf.losses.parse, options.loss),
        depth=options.depth,
        weight_decay=options.weight_decay,
        reduction=options.reduction,
    )
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out {options.out} is not a directory")
    if options.start is not None:
        return flow, flow.start(_read(options.start))
    return flow, options.scale * np.random.default_rng(options.seed).uniform(0.1, 1.0, flow.scheme.modes)


def _read(path: Path) -> np.ndarray:
    """Read the numbers in a file."""
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        return np.loadtxt(path, delimiter="," if path.suffix == ".csv" else None)
    except ValueError as error:
        raise ValueError(f"--start {path} holds no array of numbers: {error}") from None


def _option(name: str, parse: Callable, *text: Any) -> Any:
    """Parse an option; errors name the option as written."""
    try:
        return parse(*text)
    except ValueError as error:
        raise ValueError(f"--{error}" if str(error).startswith(f"{name} ") else str(error)) from None


def describe(
    flow: cf.SpectralFlow, start: np.ndarray, options: argparse.Namespace, width: int | None = None
) -> list[str]:
    """Description of the problem, as lines; the first is a heading."""
    scheme, features = flow.scheme, "" if width is None else f", d = {width} features"
    decay = f"            and (mu / 2) sum |W_l|^2, weight decay mu = {flow.weight_decay:g}"
    return [
        f"Gradient flow on unconstrained features, {_network(flow.depth)}",
        f"  loss      {flow.loss.words}, {'averaged' if flow.reduction == 'mean' else 'summed'} over the classes",
        *([decay] if flow.weight_decay else []),
        *textwrap.wrap(f"  residual  G = {flow.loss.residual_formula}", 79, subsequent_indent=12 * " "),
        *_equations(flow.depth, bool(flow.weight_decay), " / K" if flow.reduction == "mean" else ""),
        f"  scheme    {scheme.name}: K = {scheme.classes} classes, D = {scheme.modes} modes{features}",
        f"  start     {_start(options)}: {start.min():.3g} to {start.max():.3g}",
        f"  until     t = {time_text(options.t_end)}, rtol = {options.rtol:g}",
    ]


def _start(options: argparse.Namespace) -> str:
    if options.start is not None:
        return f"from {options.start.name}"
    return f"balanced, s = {options.scale:g} * U(0.1, 1), seed {options.seed}"


def _network(depth: float) -> str:
    if depth == 2:
        return "two layers, Z = W H"
    if not isinstance(depth, int):
        return f"depth {depth:g}"
    return f"{depth} layers, Z = W_1 W_2 W_3" if depth == 3 else f"{depth} layers, Z = W_1 ... W_{depth}"


def _equations(depth: float, decays: bool, unit: str) -> list[str]:
    """Equations of the full flow, if there is one, and of the reduced flow."""
    lines = []
    if depth == 2:
        terms = (" - mu W", " - mu H") if decays else ("", "")
        lines.append(f"  full      dW/dt = G H'{unit}{terms[0]},  dH/dt = W' G{unit}{terms[1]}")
    elif isinstance(depth, int):
        term = " - mu W_l" if decays else ""
        lines.append(f"  full      dW_l/dt = (W_1 ... W_(l-1))' G (W_(l+1) ... W_{depth})'{unit}{term}")
    power = "s_i" if depth == 2 else f"s_i^(2 - 2/{depth:g})"
    term = f" - {depth:g} mu s_i" if decays else ""
    lines.append(f"  reduced   ds_i/dt = {depth:g} {power} lambda_i(s){unit}{term}")
    meaning = "lambda = modes of G"
    if len(lines[-1]) + len(meaning) + 3 <= 80:
        lines[-1] += f",  {meaning}"
    else:
        lines.append(f"            {meaning}")
    return lines
