"""Where the command line begins: the processes of a replay import this too, so a command's own needs come later."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return the exit code."""
    from service.commands import parser  # noqa: PLC0415 (see above)

    return parser.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
