"""`sweep`: many starts of each flow of a grid, in chunks on any executor, into a Zarr store."""

from ._sweep import sweep

__all__ = ["sweep"]
