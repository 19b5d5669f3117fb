"""Mutation testing: deliberate faults, one at a time, each of which the tests of its module must detect.

``make mutants`` runs it. Nothing on disk changes: a process that has imported a module and collected its tests forks
for each mutant, and the fork puts the changed code into the module. Survivors that are no faults are listed in
``accepted.json`` with the reason why.
"""
