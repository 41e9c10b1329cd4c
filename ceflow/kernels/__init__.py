"""How compiled functions that allocate nothing are compiled: ``@njit(**KERNEL)``."""

# Without reference counts, of which they have no need, such functions compile in half the time. Division by zero gives
# infinity, as in NumPy, instead of an exception, whose code would be compiled too. They release
# the lock of the interpreter.
KERNEL = {"cache": True, "_nrt": False, "error_model": "numpy", "nogil": True}
