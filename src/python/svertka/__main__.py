"""The command `svertka`."""

import signal
import sys

from svertka import _svertka


def main() -> None:
    """Runs the command line of this process."""
    # Python's own handler would wait until the command has ended.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(_svertka.main(["svertka", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
