"""The one way in which a command line ends on bad input."""

import contextlib
import errno
import sys


class UserError(ValueError):
    """Bad input. The message is one sentence: what was expected, what came, what to do."""


@contextlib.contextmanager
def clean_exit():
    """Turns a `UserError`, or an output that cannot be written, into one line on stderr and exit code 2."""
    try:
        yield
    except UserError as error:
        sys.exit(_fail(error))
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS:
            raise
        sys.exit(_fail(f"cannot write {error.filename or 'the output'}: {error.strerror}; free some space or name another folder"))


_OUTPUT_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
)


def _fail(message) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
