"""Constants of the numerics, with their reasons."""

# Error of one step as a share of the tolerance: errors of some dozens of steps add up, and growing modes amplify the
# errors of early steps.
STEP_SHARE = 0.1

# Weight of the estimated clock error relative to the tolerance. The estimate is conservative; with this weight true
# errors met the tolerance (`python -m benchmarks accuracy`). Found by trial.
CLOCK_SHARE = 0.4

# Weight of the defect of dense output. The residual of the equation within a step, times the step size, bounds the
# error of stiff flows and is several times the error of others. Found by trial.
DEFECT_SHARE = 0.05

# Velocity per unit of the clock, over rtol, below which a state is tested for rest; and its lower limit by rounding.
REST_SPEED, REST_ROUNDING = 1.0, 1e-14

# Decrease of the logarithm of a singular value at which a decaying mode counts as 0 (factor 1e-260).
VANISHED = 600.0

# Distance from 0, over rtol, at which an entry of "relu" counts as 0 for the choice of its gate: the error of a step.
# And its lower limit by rounding.
NEAR_SHARE, NEAR_ROUNDING = 0.1, 1e-14

# Final width, over rtol, of the bracket of a point in a step where the field changes: much less than the error of a
# step.
CROSSING_SHARE = 1e-3

# Taylor series of many runs: the last terms of a step as a share of the tolerance (final errors were then up to 0.8 of
# it); the allowed defect at the end of a step relative to that; and the rounding of its rates. Found by trial.
SERIES_SHARE, SERIES_DEFECT, SERIES_ROUNDING = 2.0, 50.0, 1e-14

# Number of coefficients of these series, and more for each e-fold of the tolerance. Run times are flat near these
# values.
SERIES_ORDER, SERIES_ORDERS = 2.0, 0.7
