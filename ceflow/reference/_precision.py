"""Arbitrary precision."""

from __future__ import annotations


def context(digits: int):
    """Separate mpmath context, so that the global precision does not change."""
    try:
        from mpmath.ctx_mp import MPContext
    except ImportError:
        raise ImportError("ceflow.reference needs mpmath: pip install 'ceflow[reference]'") from None
    ctx = MPContext()
    ctx.dps = digits
    return ctx
