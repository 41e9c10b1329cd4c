"""Regression on two linear layers with weight decay: global minimum, and exact solutions of the flow.

The model is from "The Prevalence of Neural Collapse in Neural Multivariate Regression" (arXiv:2409.04180). Targets Y
(n, M) have mean ybar and covariance Sigma, features are H (d, M), and a linear layer W (n, d) has bias b. The objective
is ::

    L = |W H + b 1^T - Y|^2 / (2 M) + lH / (2 M) |H|^2 + lW / 2 |W|^2.

*Canonical* variables are F = H / sqrt(M) and T = (Y - ybar) / sqrt(M) = U diag(sigma) V^T, where sigma_i^2 are the
eigenvalues of Sigma. *Canonical* time is that of ``dW/dt = (T - W F) F^T - lW W``, ``dF/dt = W^T (T - W F) - lH F``. In
gradient flow in H itself features move M times more slowly (see `ceflow.RegressionFlow`).

Examples
--------
>>> Y = cf.theory.regression.targets_of([[2.0, 0.5], [0.5, 1.0]], 20)
>>> best = cf.theory.regression.minimum(Y, 0.1)
>>> best.singular_values.round(4), f"{best.objective:.5f}"
(array([1.3856, 0.7904]), '0.22761')
"""

from ._minimum import Minimum, minimal_objective, minimum, modes_of, targets_of
from ._modes import Mode, mode, rates
from ._riccati import balanced

__all__ = ["Minimum", "Mode", "balanced", "minimal_objective", "minimum", "mode", "modes_of", "rates", "targets_of"]
