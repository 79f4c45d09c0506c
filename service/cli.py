"""Where the command line begins: the processes of a replay import this too, so a command's own needs come later."""

import signal
import sys
import threading
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return the exit code."""
    is_program = threading.current_thread() is threading.main_thread()
    if is_program:
        handler = signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports ends it without a traceback
    from service.commands import parser  # noqa: PLC0415 (see above)

    if is_program:
        signal.signal(signal.SIGINT, handler)
    return parser.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
