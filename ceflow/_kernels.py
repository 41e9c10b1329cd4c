"""How compiled functions that allocate nothing are compiled: ``@njit(**KERNEL)``."""

# Without reference counts, of which they have no need, such functions compile in half the time, and a call of one that
# takes a system of arrays costs tenths of microseconds instead of microseconds.
KERNEL = {"cache": True, "_nrt": False}

# For what is called so often that no system of arrays should be passed on at all.
INLINE = KERNEL | {"forceinline": True}
