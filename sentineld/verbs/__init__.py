"""Verbs: what the programs that agents run do, by their names, options and operands."""
