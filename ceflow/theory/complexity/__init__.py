"""Geometric complexity of features, and what it says of classification and of transfer to new classes.

The paper is *The Impact of Geometric Complexity on Neural Collapse in Transfer Learning* (arXiv:2405.15706), of which
only the abstract was read. What follows is our model of its claim [ceflow], in which all is exact:

- Inputs of class c are ``x_c + tau xi``, the x_c orthonormal and xi standard normal in m >= K dimensions.
- Features are linear, ``phi(x) = A x``, and logits ``W phi(x)``. On the inputs x_c, of which training makes use, A is
  the matrix H of the unconstrained features model; on all other directions it is A_n, which training does not see:
  it is frozen, or fades under weight decay (see `noise_complexity`).

The geometric complexity ``E_x |J_phi(x)|_F^2`` is then ``|A|_F^2 = |H|_F^2 + |A_n|_F^2``: of modes with layers b_i,
``sum_i m_i b_i^2 + b_0^2``. The variance of a class is ``tau^2`` times that: Poincare's inequality, with equality. So
the class-distance normalized variance (CDNV: Galanti, Gyorgy & Hutter, arXiv:2112.15121) is tau^2 times complexity over
squared distance; neural collapse makes that quotient as small as possible (see `cdnv_floor`).

Two things are *not* true. The CDNV need not fall along the flow, and complexity by itself says nothing of transfer: it
is the quotient that counts, and scaling features leaves it as it is.

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
