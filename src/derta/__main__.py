"""`python -m derta` is the `derta` command."""

from __future__ import annotations

import sys

from derta.cli import main

if __name__ == "__main__":
    sys.exit(main())
