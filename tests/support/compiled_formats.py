"""The built-in formats, compiled once for all commands of the tests: loaded before those are forked."""

from sentineld.config import Config

Config().formats()
