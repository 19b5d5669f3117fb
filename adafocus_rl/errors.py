"""Exceptions for what the user can correct."""


class UserError(Exception):
    """A mistake that the user can correct.

    The message is one sentence that says what was got, what was expected, and what to do. The command line prints it
    without a traceback and exits with code 2. Library code raises it when the cause lies in the user's input (a file, a
    name, a number), and never for a bug in the library.
    """

    exit_code = 2


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, for a sentence about it; of an error without text, its class's name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def needs_extra(what: str, *packages: str, extra: str, otherwise: str = "") -> UserError:
    """Return the error that names packages which are not installed, and the extra that brings them.

    Args:
        what: what needs them.
        packages: names of the packages.
        extra: name of the extra in setup.cfg.
        otherwise: what the user can do instead, as the end of the sentence.
    """
    verb = "is" if len(packages) == 1 else "are"
    return UserError(
        f"{what} needs {' and '.join(packages)}, which {verb} not installed; run pip install "
        f"'adafocus_rl[{extra}]'{otherwise}"
    )


class RankError(UserError):
    """The job cannot go on because another of its processes has ended or hangs; the same command can be resumed."""
