"""Training curves of a reduced embedded recipe over several seeds, as an interval for the run of one further seed.

``make curves`` trains the seeds and writes ``curves.json``; ``test_curves.py`` trains another seed and looks where it
falls, and where runs with deliberate faults fall.
"""
