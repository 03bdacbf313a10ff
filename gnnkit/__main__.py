"""``python -m gnnkit``."""

import sys

from gnnkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
