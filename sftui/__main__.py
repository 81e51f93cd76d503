"""`python -m sftui`."""

import sys

from sftui.cli import main

sys.exit(main())
