"""Argument novelty: values of a tool's arguments that none of the role's sessions ever gave it.

Formula: ``log2((n + v) / v)`` for an argument that was given ``n`` values, ``v`` different ones: minus the
binary logarithm of the chance that the next one is new, after Witten and Bell (1991, method C). Each value
once a session; the sum over an event's arguments.
Source: Good (1953) and Witten and Bell for the chance of the unseen. Range: 0 to about 10 bits a value.
Memory: one hash of 8 bytes a value, shared by the role. Free text and paths are not looked at.
Known false alarms: a new kind of task. Roles whose sessions differ much count it less (see ``scoring``).
"""

#: What stands before the name of a tool and the path of its argument.
PREFIX = "arg:"

NAME = "argument"
SENTENCE = "an argument has a value that none has given it"
