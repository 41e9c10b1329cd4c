"""Command line: `python -m derivations` proves everything as a table, `python -m derivations NAME` prints one proof."""

import os
import sys

from ._command import main

if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
