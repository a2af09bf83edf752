"""`python -m mmppl`: the command line."""

import sys

from mmppl.cli import main

sys.exit(main())
