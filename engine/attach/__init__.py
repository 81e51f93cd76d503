"""Steer somebody else's trainer: the cockpit's side of Transformers, TRL, Lightning and loops.

Nothing here may change what is trained: random state, flags and modes are kept around every
piece of work that a person asks for, and an error of ours ends the cockpit, never the training.
"""
