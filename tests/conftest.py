"""What must be settled before anything of numpy, numba or matplotlib is imported."""

import fcntl
import gc
import hashlib
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _sources() -> str:
    """Hash of the package: numba does not notice changes of functions that are called from other files."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "ceflow").rglob("*.py")):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".numba_cache" / _sources()))
os.environ["MPLBACKEND"] = "Agg"
# As many workers as cores, each with as many threads, wait for each other ten times as long as they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SYMPY_CACHE_SIZE", "30000")  # false variants of a derivation share most steps with the true one

import numpy as np  # noqa: E402
from numba.core.ccallback import CFunc  # noqa: E402
from numba.core.dispatcher import Dispatcher  # noqa: E402
from numba.core.typing.typeof import typeof  # noqa: E402

import ceflow  # noqa: E402
from ceflow.kernels import Kernel  # noqa: E402

ceflow.settings.compiled = True  # so that runs can be compared to the bit, whatever went before


def _kind(given):
    """What numba's type of an argument is made of: to make the type of many arrays takes milliseconds."""
    if isinstance(given, tuple):
        return type(given), *map(_kind, given)
    if isinstance(given, np.ndarray):
        flags = given.flags
        layout = "C" if flags.c_contiguous else "F" if flags.f_contiguous else "A"
        return given.dtype, given.ndim, layout, flags.writeable, flags.aligned
    return typeof(given)


def _enter(self, *arguments):
    """`Kernel._enter`, and a look at the types of every call: they are those of the first."""
    first = _kind(arguments)
    entry = self.dispatcher.compile(tuple(map(self.dispatcher.typeof_pyval, arguments)))

    def watched(*given):
        assert _kind(given) == first
        return entry(*given)

    self._entry = watched
    return watched(*arguments)


Kernel._enter = _enter


def _once(compile):
    """One worker compiles a function, while others that need it wait, and then load it from the cache."""

    def compiled(self, *signature):
        if self._cache.cache_path is None:
            return compile(self, *signature)
        place = Path(self._cache.cache_path, f"{self.__name__}.lock")
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
            return compile(self, *signature)

    return compiled


Dispatcher.compile, CFunc.compile = _once(Dispatcher.compile), _once(CFunc.compile)


def pytest_collection_finish():
    """What was imported stays: garbage collection need not go through its 400 000 objects again and again."""
    gc.collect()
    gc.freeze()

if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
    import interpreted

    interpreted.supply()
