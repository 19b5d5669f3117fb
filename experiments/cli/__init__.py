"""The command line: one module per command.

A command imports what needs torch inside its functions, after its options are parsed: ``--help`` and mistakes in the
options are answered at once.
"""
