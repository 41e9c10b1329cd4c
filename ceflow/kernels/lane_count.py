"""Number of float64 numbers in a vector of `lanes`, and of its compiled form in `lanes_machine`."""

LANES = 16  # four independent AVX2 instructions per operation; more would not fit in registers
