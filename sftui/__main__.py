"""`python -m sftui`."""

import sys

from sftui.terminal import interrupts

interrupts.listen()

from sftui.cli import main  # noqa: E402  Ctrl-C is noted while this is imported, too

sys.exit(main())
