"""The constants that steer a certificate, each with its reason."""

import numpy as np

EPS = np.finfo(float).eps
ROUNDING = 1e-12  # a relative change that counts as none: some thousand roundings
SLACK = 10.0  # how many tolerances errors may come to
ROUNDS, SLACK_OF_ROUNDS = 1e-12, 30.0  # the same of tolerances up to this one, where the rounding of steps counts
SLACK_OF_SUMS = 100.0  # the same of the sum of what all steps contribute, each as if it pointed the same way
SAFETY = 2.0  # what an estimated error is multiplied with, as it is the largest of some nodes only
COARSEST = 0.5  # and no more than this, whatever the tolerance: twice as much is no result any more
LEAST_FORCE = -1e-13  # over the largest: what a fast transform may make of 0, as it subtracts
SLOPES = 1e-6  # of a gradient by differences of the value, relative
UNRESOLVED = 0.1  # error of the least singular value, relative, from which on V of a full flow says nothing


def tolerated(rtol: float) -> float:
    """What errors may come to on a run of this tolerance."""
    return min((SLACK_OF_ROUNDS if rtol <= ROUNDS else SLACK) * rtol, COARSEST)
