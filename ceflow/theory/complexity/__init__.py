"""Geometric complexity of features, and its relation to classification and transfer to new classes.

The paper is *The Impact of Geometric Complexity on Neural Collapse in Transfer Learning* (arXiv:2405.15706), of which
we read only the abstract. Our exactly solvable model of its claim [ceflow]:

- Inputs of class c are ``x_c + tau xi``, with orthonormal x_c and standard normal xi in m >= K dimensions.
- Features are linear, ``phi(x) = A x``, and logits ``W phi(x)``. On the training inputs x_c, A is
  the matrix H of the unconstrained features model. On all other directions A is A_n, which has no loss gradient: it is
  constant, or decays under weight decay (see `noise_complexity`).

The geometric complexity ``E_x |J_phi(x)|_F^2`` is then ``|A|_F^2 = |H|_F^2 + |A_n|_F^2``. On modes with singular values
b_i of H, ``|H|_F^2 = sum_i m_i b_i^2 + b_0^2``. The variance of a class is ``tau^2`` times the complexity (equality in
Poincare's inequality). So the class-distance normalized variance (CDNV: Galanti, Gyorgy & Hutter, arXiv:2112.15121) is
tau^2 times complexity over squared distance. Neural collapse minimizes this quotient (see `cdnv_floor`).

The CDNV need not decrease along the flow. Complexity alone does not determine transfer: only the quotient does, and it
is invariant under scaling of the features.

Examples
--------
>>> run = cf.integrate(cf.SpectralFlow(cf.complete(4)), [0.1], 1e4)
>>> found = cf.theory.complexity.along(run, tau=0.1)
>>> f"complexity {found.total[-1]:.4f}, CDNV {found.cdnv[-1]:.4f} >= {found.floor:.4f}"
'complexity 36.9567, CDNV 0.0150 >= 0.0150'
"""

from ._features import (
    Complexity,
    along,
    balanced_square,
    cdnv,
    cdnv_floor,
    class_distances,
    equilibrium_complexity,
    feature_complexity,
    noise_complexity,
)
from ._nearest_means import FewShot, few_shot, pair_error_on_modes, pair_errors, union_bound

__all__ = [
    "Complexity",
    "FewShot",
    "along",
    "balanced_square",
    "cdnv",
    "cdnv_floor",
    "class_distances",
    "equilibrium_complexity",
    "feature_complexity",
    "few_shot",
    "noise_complexity",
    "pair_error_on_modes",
    "pair_errors",
    "union_bound",
]
