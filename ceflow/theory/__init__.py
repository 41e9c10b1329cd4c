"""Closed forms and bounds for gradient flow on two layers, and equilibria for other losses and depths.

On the *ray* of neural collapse all singular values are equal, ``s_i = s``, and ``ds/dt = sqrt(4 s^2 + c^2) lambda``
with the force ``lambda = K / (e^s + K - 1)`` and the imbalance ``c = |a^2 - b^2|``. The ray has a closed form for t(s),
which also bounds all other balanced solutions.

Times have the unit of reduction "mean" (loss averaged over the K classes) by default; with "sum" they are K times
shorter. Functions of time accept ``t`` or ``log_t`` (for times beyond 1e308). Arguments broadcast; scalars give
scalars.

Examples
--------
>>> s = cf.theory.ray_singular_value(1e6, s0=1e-3, classes=10)
>>> f"s = {s:.4f}, loss {cf.theory.collapsed_loss(s, 10):.2e}"
's = 17.2951, loss 2.77e-07'
"""

from . import codes, complexity, imbalance, landscape, low_rank, regression, replay
from ._bounds import collapsed_loss, geometric_mean_bound, least_log_loss, loss_bound, loss_log_bound
from ._centres import (
    CentreOptimum,
    SphereRates,
    angular_margins,
    centre_cosine_angle,
    centre_counts,
    centre_gain,
    centre_optimum,
    centre_pair_errors,
    centre_rates,
    centre_sphere_rates,
    single_centre_time,
)
from ._centres import checked_counts as checked_counts  # for `ceflow.flow`; not public
from ._equilibria import collapsed_force, decay_threshold, deviation_rate, equilibrium
from ._etf import ETFSphere, etf_ray_singular_value, etf_ray_time, etf_sphere, etf_squared_distance
from ._ray import collapse_exponent, deviation_decay, ray_log_time, ray_singular_value, ray_time
from ._repulsion import early_singular_values, repulsion_rate
from ._squared_error import squared_error_singular_value

__all__ = [
    "CentreOptimum",
    "ETFSphere",
    "SphereRates",
    "angular_margins",
    "centre_cosine_angle",
    "centre_counts",
    "centre_gain",
    "centre_optimum",
    "centre_pair_errors",
    "centre_rates",
    "centre_sphere_rates",
    "codes",
    "collapse_exponent",
    "collapsed_force",
    "collapsed_loss",
    "complexity",
    "decay_threshold",
    "deviation_decay",
    "deviation_rate",
    "early_singular_values",
    "equilibrium",
    "etf_ray_singular_value",
    "etf_ray_time",
    "etf_sphere",
    "etf_squared_distance",
    "geometric_mean_bound",
    "imbalance",
    "landscape",
    "least_log_loss",
    "loss_bound",
    "loss_log_bound",
    "low_rank",
    "ray_log_time",
    "ray_singular_value",
    "ray_time",
    "regression",
    "replay",
    "repulsion_rate",
    "single_centre_time",
    "squared_error_singular_value",
]
