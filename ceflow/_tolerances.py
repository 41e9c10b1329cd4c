"""The numbers that steer the numerics, each in one place with its reason."""

# Of the tolerance, the share that one step may err by: errors of some dozens of steps add up, and a mode that grows
# carries the error of its early steps along.
STEP_SHARE = 0.1

# What an estimated error of the clock counts for, in tolerances: the estimate is on the safe side, and with this share
# true errors stayed within bounds (`python -m benchmarks accuracy`). Found by trial.
CLOCK_SHARE = 0.4

# What the defect of dense output counts for: what it fails the equation by within a step, times the size of the step,
# bounds its error where the flow is stiff, and is several times as large where it is not. Found by trial.
DEFECT_SHARE = 0.05

# Velocity in the clock, over rtol, at which it is asked whether a state has come to rest; and the least such velocity,
# which is rounding.
REST_SPEED, REST_ROUNDING = 1.0, 1e-14

# Fall of the logarithm of a singular value at which a mode that shrinks counts as gone: by 1e-260.
VANISHED = 600.0

# How far from 0, over rtol, an entry of "relu" counts as being there, which decides of its gate: as far as a step may
# err. And the least such distance, which is rounding.
NEAR_SHARE, NEAR_ROUNDING = 0.1, 1e-14

# What is left, over rtol, of the bracket around a place in a step where the field changes: much less than a step may
# err by.
CROSSING_SHARE = 1e-3

# Taylor series of many runs: the share of the tolerance that the last terms of a step may have, with which errors at
# the end were up to 0.8 of it; what the defect at the end of a step may be over that; and the rounding of rates in it.
# Found by trial.
SERIES_SHARE, SERIES_DEFECT, SERIES_ROUNDING = 2.0, 50.0, 1e-14

# Coefficients of these series, and those besides for each e-fold of the tolerance. Time is flat around these.
SERIES_ORDER, SERIES_ORDERS = 2.0, 0.7
