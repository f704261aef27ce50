"""The demonstration: six made-up agents, a minute in which two of them go astray, and a real daemon.

``agents`` says who they are and what they did so far, ``story`` what happens in the minute, ``stage`` plays
it and watches, as a router would, what the daemon publishes. ``sentineld demo`` prints it.
"""
