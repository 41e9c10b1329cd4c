"""What a run verifiably satisfies: claims of the theory, and an estimate of its error, checked after the fact.

A certificate looks at a finished trajectory from outside. Of the solver it uses only what anyone could ask for, states
at given times (`Trajectory.at`); the equations, the losses and the Lyapunov functions are written down here once more.
The estimate of the error rests on the defect: between two times the layers must have changed by the integral of their
own velocity,

    w(t_1) - w(t_0) = integral of (prod_{k != l} w_k) lambda(s) - mu w_l  dt,

which is computed by Clenshaw-Curtis quadrature in log t, on intervals that are halved until the quadrature is better
than the tolerance. Solver, clock and dense output have no part in it, so that an error of any of them shows.

A flow that contracts forgets: where it is fast against the interval, and pulls errors back at the rate rho, a defect d
is the trace of an error of d / (1 + integral of rho dt), and is counted as that.

Not every claim holds for every flow. What is not proved for a run is listed as such, with the reason, and is neither
passed nor failed.
"""

from ._certificate import FAILED, PASSED, SKIPPED, Certificate, Check, time_text
from ._certify import certify

__all__ = ["FAILED", "PASSED", "SKIPPED", "Certificate", "Check", "certify", "time_text"]
