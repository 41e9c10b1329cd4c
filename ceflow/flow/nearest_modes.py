"""Projection of full matrices to the modes of a scheme."""

from __future__ import annotations

import math

import numpy as np

from ..symmetry import Scheme


def nearest_modes(scheme: Scheme, factors: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """Layers (depth, D) and the distance from the scheme; see `SpectralFlow.project`."""
    basis, columns = scheme.basis(), scheme.columns
    multiplicities = scheme.multiplicities.astype(float)

    def mean(x: np.ndarray) -> np.ndarray:
        return np.bincount(columns, x, minlength=len(multiplicities)) / multiplicities

    far, layers = [0.0], []

    def gram_off_diagonal(gram: np.ndarray) -> np.ndarray:
        size = np.linalg.norm(gram)
        on = mean(np.diag(gram))
        if size > 0.0:
            far.append(float(np.linalg.norm(gram - np.diag(on[columns])) / size))
        return on

    left, before = basis.T, None
    for factor in factors[:-1]:
        left = left @ factor
        size = np.sqrt(gram_off_diagonal(left @ left.T))
        layers.append(size if before is None else size / np.where(before > 0.0, before, np.inf))
        before = size
    right = factors[-1] @ basis
    layers.append(np.sqrt(gram_off_diagonal(right.T @ right)))
    s = gram_off_diagonal(left @ right)
    product = np.prod(layers, axis=0)
    total = math.sqrt(multiplicities @ product**2)
    if total > 0.0:
        far.append(float(math.sqrt(multiplicities @ (np.abs(s) - product) ** 2) / total))
    layers[-1] = np.copysign(layers[-1], s)
    return np.stack(layers)[:, 1:], max(far)
