"""Tiers: how much freedom an agent's next change has. Demotion raises the number."""

from enum import IntEnum


class Tier(IntEnum):
    """1 normal, 2 suspicious, 3 anomalous (a human must review)."""

    NORMAL = 1
    SUSPICIOUS = 2
    ANOMALOUS = 3

    @property
    def label(self) -> str:
        """The word that people read: ``normal``, ``suspicious`` or ``anomalous``."""
        return self.name.lower()
