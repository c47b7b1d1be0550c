"""How a command ends: the exit codes of the contract, and the exceptions that carry them."""

from enum import IntEnum


class Exit(IntEnum):
    """What the shell is told."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOTHING = 3
    UNREACHABLE = 4


class CommandError(Exception):
    """A command can't do what it was asked; its text is for the person at the terminal."""

    code = Exit.FAILED


class Usage(CommandError):
    """The command was called in a way that can't work here: the caller has to change something."""

    code = Exit.USAGE


class NothingMatched(CommandError):
    """What was named isn't there."""

    code = Exit.NOTHING


class OutOfReach(CommandError):
    """A service or the broker gave no usable answer."""

    code = Exit.UNREACHABLE
