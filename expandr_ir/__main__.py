"""`python -m expandr_ir` is `expandr`."""

import sys

from expandr_ir.cli import main

if __name__ == "__main__":
    sys.exit(main())
