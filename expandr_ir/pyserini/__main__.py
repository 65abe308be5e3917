"""`python -m expandr_ir.pyserini COMMAND ...`: a command of Pyserini, with our JVM and our encoders."""

from __future__ import annotations

import sys

from expandr_ir.pyserini import main

sys.exit(main(sys.argv[1:]))
