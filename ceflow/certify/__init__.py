"""What a run verifiably satisfies: claims of the theory, and an estimate of its error, checked after the fact.

A certificate looks at a finished trajectory from outside. Of the solver it uses only what anyone could ask for, states
at given times (`Trajectory.at`); the equations, the losses and the Lyapunov functions are written down here once more.
The estimate of the error rests on the defect: between two times the layers must have changed by the integral of their
own velocity, ::

    w(t_1) - w(t_0) = integral of (prod_{k != l} w_k) lambda(s) - mu w_l  dt,

which is computed by Clenshaw-Curtis quadrature in log t, on intervals that are halved until the quadrature is better
than the tolerance. Solver, clock and dense output have no part in it, so that an error of any of them shows.

Defects are then carried along by the linearized equations, ``e(t) = e(t_0) + d(t) + integral of J e dt``, so that
errors grow and are forgotten as the flow has it. Of more than 24 coordinates (singular values of a
reduced run, numbers of a full one) this is done in the few directions that errors take: a few dozen velocities at each
state that is looked at. Where a run is so large that parts of it are left out, the defects of the others are added up,
each divided by ``1 + integral of rho dt`` on its interval, with rho a bound of the rate at which errors are forgotten:
that may estimate too little.

Errors are relative: of a mode to its singular value, plus how far it moves while time changes by its own size. (Of two
layers a, b that may have opposite signs, to ``(a^2 + b^2) / 2``, times all further layers.) So an error of rtol is one
of the value, or of the time at which it is taken. Of full matrices it is that of all layers together. Runs may err by
ten tolerances, and by thirty where rtol <= 1e-12, as rounding counts there.

Not every claim holds for every flow. What is not proved for a run is listed as such, with the reason, and is neither
passed nor failed.

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
