"""What ceflow costs, next to others. `python -m benchmarks --list` names what there is to run.

Every number depends on the machine, and what else it does at the time; ratios within one run are what to compare.
"""
