"""``python -m sentineld``."""

import sys

from sentineld.cli import main

if __name__ == "__main__":
    sys.exit(main())
