"""Landscape of cross-entropy with weight decay: minimizers, saddles, and escape directions.

With n samples of each of K classes, N = K n, a classifier W (K, d), features H (d, N) and a bias b, ::

    f = (1/N) sum_i CE(W h_i + b) + (lW/2) |W|^2 + (lH/2) |H|^2 + (lb/2) |b|^2.

Let g = (p - Y)/N be the gradient in the logits, with softmax p. At every critical point ``lW W = -g H^T`` and ``lH H =
-W^T g``. It is a global minimum if and only if ``|g|_2 <= sqrt(lW lH)``. Otherwise, if the width exceeds the rank of W,
the smallest eigenvalue of the Hessian is `least_curvature`, so all saddles are strict. Samples of a class have equal
features at every critical point, so features are stored as ``H = X (x) 1_n^T / sqrt(n)`` with X (d, K); this preserves
norms. Proofs: ``python -m derivations landscape``.

Source: the problem, "strict saddles only" and global optimality are from arXiv:2105.02375, of which we read only the
abstract; the formulas are [ceflow]. Time is that of ``MatrixFlow(reduction="mean")``.

Examples
--------
>>> landscape = cf.theory.landscape.Landscape(4, 4, 0.05)
>>> for point in landscape.mode_points(cf.hadamard(4)):
...     print(f"objective {point.objective:.4f}, rank {point.rank}, index {point.index}")
objective 0.5875, rank 3, index 0
objective 0.6502, rank 2, index 2
objective 0.6502, rank 2, index 2
objective 0.6502, rank 2, index 2
objective 1.0182, rank 1, index 8
objective 1.0182, rank 1, index 8
objective 1.0182, rank 1, index 8
objective 1.3863, rank 0, index 12
"""

from ._census import are_copies, copies, morse_sums
from ._landscape import Landscape
from ._point import CriticalPoint, Spectrum, least_curvature

__all__ = ["CriticalPoint", "Landscape", "Spectrum", "are_copies", "copies", "least_curvature", "morse_sums"]
