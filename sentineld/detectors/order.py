"""Order: an action that does not follow those before it.

Formula: ``max(0, -log2 P - 2)``, P by a Markov model of variable order up to 2 over the verbs of command
lines and the names of tools, backing off after Witten and Bell (1991, method C).
Source: variable-order Markov models of system calls (Begleiter, El-Yaniv, Yona, 2004; Forrest et al., 1996).
Range: 0 to about 12 bits an event. Memory: at most 4096 contexts of 64 followers a role.
Known false alarms: a new kind of task. Roles whose sessions differ much count it less (see ``scoring``).
"""

NAME = "order"
FEATURE = "order"
SENTENCE = "an action does not follow those before it"
#: Bits that are no surprise.
FLOOR = 2.0
