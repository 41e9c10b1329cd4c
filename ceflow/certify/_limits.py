"""The constants that steer a certificate, each with its reason."""

import numpy as np

EPS = np.finfo(float).eps
ROUNDING = 1e-12  # a relative change that counts as none: some thousand roundings
SLACK = 100.0  # how many tolerances the errors of all steps may add up to; a run takes tens of steps, stiff ones more
COARSEST = 0.5  # and no more than this, whatever the tolerance: twice as much is no result any more
LEAST_FORCE = -1e-13  # over the largest: what a fast transform may make of 0, as it subtracts
SLOPES = 1e-6  # of a gradient by differences of the value, relative
UNRESOLVED = 0.1  # error of the least singular value, relative, from which on V of a full flow says nothing


def tolerated(rtol: float, times: float = SLACK) -> float:
    """What errors may come to on a run of this tolerance."""
    return min(times * rtol, COARSEST)
