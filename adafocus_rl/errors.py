"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """A mistake that the user can put right.

    Its message is one sentence: what was got, what was expected, and what to do. The command line prints it
    without a traceback and leaves with exit code 2; library code raises it wherever the cause lies in what
    the user gave (a file, a name, a number), and never for a fault of our own.
    """

    exit_code = 2
