"""Everything that sentineld raises.

::

    SentineldError              anything that an operator can do something about
      UsageError                the command line is off                        exit 2
      ConfigError               the configuration, a key or a schema is off    exit 78
      LockedError               another daemon holds the state directory       exit 75
      AccessError               no permission for a path                       exit 77
      StoreError                the database cannot be used                    exit 78
        NoDatabaseError         there is no database yet                       exit 3
        DamagedError            the database is damaged                        exit 78
      StorageError              the disk is full, failing or busy: try again   exit 74
      StateFileError            the state file fails a reader's check          (becomes tier 3)

Rejected input is not an exception: it is a value, ``sentineld.decode.Reject``.
"""

from collections.abc import Sequence


class SentineldError(Exception):
    """Base of all errors that an operator can act on.

    ``hint`` is the next step; the command line prints it behind ``try:``.
    ``exit_code`` is the process exit status (sysexits(3) where one fits).
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(SentineldError):
    """Raised when a command's arguments cannot be carried out."""

    exit_code = 2


class ConfigError(SentineldError):
    """Raised when the configuration, a key file or an option is unusable.

    ``key`` is the option, ``file`` and ``line`` (from 1) are where it stands; empty and 0 where that is not
    known. ``others`` are what else is wrong with the same configuration.
    """

    exit_code = 78

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        key: str = "",
        file: str = "",
        line: int = 0,
        others: "Sequence[ConfigError]" = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.key, self.file, self.line = key, file, line
        self.others = others


class LockedError(SentineldError):
    """Raised when another daemon holds the state directory."""

    exit_code = 75


class AccessError(SentineldError):
    """Raised when a path that the daemon needs may not be read or written."""

    exit_code = 77


class StoreError(SentineldError):
    """Raised when the database is corrupt, newer than this program, or not ours."""

    exit_code = 78


class NoDatabaseError(StoreError):
    """Raised by a command that only reads, where no daemon has run yet."""

    exit_code = 3


class DamagedError(StoreError):
    """Raised when the database's content is not what was written."""


class StorageError(SentineldError):
    """Raised when the storage fails for reasons that pass, such as a full disk; systemd starts us again."""

    exit_code = 74


class StateFileError(SentineldError):
    """Raised inside the reader when the state file fails a check; becomes tier 3 at its edge.

    Also for the override beside it, which then counts for nothing.
    """
