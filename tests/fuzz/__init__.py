"""Hostile input for everything that reads what a stranger may have written: ``make fuzz``.

A *reader* (`fuzz.readers`) makes one hostile input from a seed and hands it to the product as a user would. Cases run
in worker processes (`fuzz.worker`), watched from inside for what must not happen (`fuzz.guard`) and from outside for
hangs and memory (`fuzz.runner`). ``python -m fuzz --help``, with ``tests`` on the path, has the options.
"""
