"""`python -m memguard_runner.companion`: the command `memguard` from a checkout or without its script."""

import sys

from .main import main

sys.exit(main())
