"""The one way in which a command line ends on bad input."""

import contextlib
import errno
import os
import sys

_LONGEST = 2000  # characters of a message


class UserError(ValueError):
    """Bad input. The message is one sentence: what was expected, what came, what to do.

    What came may be anything, so the message is kept to one line of printable characters, and its middle left out where it is very long.
    """

    def __init__(self, message: object):
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(message))
        super().__init__(text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}")


@contextlib.contextmanager
def clean_exit():
    """Turns a `UserError`, or an output that cannot be written, into one line on stderr and exit code 2; ends quietly on a closed pipe."""
    try:
        yield
    except UserError as error:
        sys.exit(_fail(error))
    except BrokenPipeError:  # who reads has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain when it flushes at the end
        sys.exit(128 + 13)  # what the shell calls an end by SIGPIPE
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
