"""What must be settled before anything of numba or matplotlib is imported."""

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

import ceflow  # noqa: E402
from ceflow.kernels import Kernel  # noqa: E402

ceflow.settings.compiled = True  # so that runs can be compared to the bit, whatever went before


def _enter(self, *arguments):
    """`Kernel._enter`, and a look at the types of every call: they are those of the first."""

    def types_of(given):
        return tuple(map(self.dispatcher.typeof_pyval, given))

    first = types_of(arguments)
    entry = self.dispatcher.compile(first)

    def watched(*given):
        assert types_of(given) == first
        return entry(*given)

    self._entry = watched
    return watched(*arguments)


Kernel._enter = _enter

if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
    import interpreted

    interpreted.supply()
