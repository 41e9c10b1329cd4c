"""Limits of the checks, with their reasons."""

import numpy as np

EPS = np.finfo(float).eps
ROUNDING = 1e-12  # relative change that counts as rounding: some thousand rounding errors
SLACK = 10.0  # limit of errors in tolerances
ROUNDS, SLACK_OF_ROUNDS = 1e-12, 30.0  # for rtol up to this value, the limit with rounding of the steps
SLACK_OF_SUMS = 100.0  # limit of the sum of the absolute contributions of all steps
SAFETY = 2.0  # factor of an estimated error, which is the maximum over some nodes only
COARSEST = 0.5  # largest limit for any tolerance
LEAST_FORCE = -1e-13  # relative to the largest force: rounding of the fast transform, which has subtractions
SLOPES = 1e-6  # relative error of a gradient by differences
UNRESOLVED = 0.1  # relative error of the smallest singular value above which V of a full flow is not meaningful


def tolerated(rtol: float) -> float:
    """Limit of the error of a run with this tolerance."""
    return min((SLACK_OF_ROUNDS if rtol <= ROUNDS else SLACK) * rtol, COARSEST)
