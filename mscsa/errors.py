"""The one exception for bad input that a person can put right."""


class UserError(ValueError):
    """Bad input found at the boundary: a file, a data set, a configuration, a checkpoint.

    The message is one line: what was given, what is allowed, what to do. The command line prints it
    and exits with code 2.
    """


class UnknownKeyword(UserError, TypeError):
    """A keyword that a function does not know: bad input, and the TypeError that Python's callers expect."""
