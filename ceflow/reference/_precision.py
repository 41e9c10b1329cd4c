"""Numbers of many digits."""

from __future__ import annotations


def context(digits: int):
    """A context of mpmath's own, so that nobody else's precision changes."""
    try:
        from mpmath.ctx_mp import MPContext
    except ImportError:
        raise ImportError("ceflow.reference needs mpmath: pip install 'ceflow[reference]'") from None
    ctx = MPContext()
    ctx.dps = digits
    return ctx
