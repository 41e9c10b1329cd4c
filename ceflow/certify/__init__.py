"""A posteriori certificates of runs: claims of the theory, and an estimate of the error.

A certificate checks a finished trajectory. It uses only states at given times (`Trajectory.at`), and has its own
implementations of the equations, the losses and the Lyapunov functions. The error estimate is based on the defect:
between two times the layers must change by the integral of their velocity, ::

    w(t_1) - w(t_0) = integral of (prod_{k != l} w_k) lambda(s) - mu w_l  dt,

computed by Clenshaw-Curtis quadrature in log t, on intervals that are halved until the quadrature error is below the
tolerance. This is independent of solver, clock and dense output, so it detects errors of any of them.

Defects are propagated by the linearized equations, ``e(t) = e(t_0) + d(t) + integral of J e dt``, so errors grow and
decay as in the flow. For more than 24 coordinates (singular values of a reduced run, entries of a
full one) this is projected on the few directions that errors take, at the cost of a few dozen velocities per state. If
a run is so large that parts of it are omitted, the defects of the other intervals are added, each divided by ``1 +
integral of rho dt``, where rho is a bound of the damping rate of errors; this may underestimate the error.

Errors are relative. For a mode they are relative to its singular value plus ``t |ds/dt|``; for two layers a, b of
possibly opposite signs, to ``(a^2 + b^2) / 2`` times all further layers. So rtol is an error of the value, or of the
time at which it is attained. For full matrices errors are those of all layers together. The limit is ten tolerances, or
thirty for rtol <= 1e-12 because of rounding.

Claims that are not proved for a flow are listed with the reason, and neither pass nor fail.

Examples
--------
>>> certificate = cf.integrate(cf.SpectralFlow(cf.complete(3)), [0.1], 1e3).certificate()
>>> certificate.passed, certificate.error_estimate < 1e-9
(True, True)
>>> print(certificate["layers follow the equations"].status)
passed
"""

from ._certificate import FAILED, PASSED, SKIPPED, Certificate, Check, time_text
from ._certify import certify

__all__ = ["FAILED", "PASSED", "SKIPPED", "Certificate", "Check", "certify", "time_text"]
