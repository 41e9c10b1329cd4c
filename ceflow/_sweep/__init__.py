"""`sweep`: a grid of flows and many starts of each, in chunks on any executor, into a store that outlasts them."""

from ._sweep import sweep

__all__ = ["sweep"]
