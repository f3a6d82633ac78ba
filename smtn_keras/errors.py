"""The one way in which a command line ends on bad input."""

import contextlib
import sys


class UserError(ValueError):
    """Bad input. The message is one sentence: what was expected, what came, what to do."""


@contextlib.contextmanager
def clean_exit():
    """Turns a `UserError` (or a full disk) into one line on stderr and exit code 2."""
    try:
        yield
    except UserError as error:
        sys.exit(_fail(error))
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        sys.exit(_fail(f"cannot write {error.filename or 'the output'}: {error.strerror}; free some space or choose another folder"))


_DISK_ERRORS = (28, 30, 122)  # ENOSPC, EROFS, EDQUOT


def _fail(message) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
