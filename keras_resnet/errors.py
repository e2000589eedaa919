"""The one kind of error that a user can mend: what is wrong, where, and what to do, in one line."""


class UserError(Exception):
    """Something about the input, the files or the machine is wrong. The CLI prints it and exits 1."""

    exit_code = 1


class UsageError(UserError, ValueError):
    """The command or call itself is wrong (unknown name, impossible combination). Exit code 2.

    A ValueError too, as Keras raises for a wrong argument.
    """

    exit_code = 2
