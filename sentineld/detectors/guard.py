"""Guards: options and settings that take a check away or widen what is touched; programs that give power.

Formula, source, range and memory: as ``sink``; a value is a verb with its option, such as ``git push
--force``.
Known false alarms: a forced push that a user asked for; a container in a project that begins to use them.
"""

from sentineld.detectors.base import GRAVE, NOTABLE, SERIOUS, SLIGHT, Detector

GUARD = Detector(
    "guard",
    {
        "power.verb": "a program is run that acts as somebody else or outside of the session",
        "secret.tool": "a program is asked for the secrets that it keeps",
        "delete.lost": "things are wiped or encrypted, many at once, in a way that none has used",
        "delete.hard": "something is destroyed in a way that none can undo and none has used",
        "power.grant": "somebody is given access in a way that none has used",
        "power.guard": "what watches the machine is ended, which none has ended",
        "power.end": "a program is ended by its name that none has ended",
        "guard.rights": "rights are given that open a file to everybody, or lend its owner's power",
        "guard.out": "a check is taken away from what leaves",
        "guard.piped": "what came from elsewhere is run as code",
        "guard.setting": "a setting is changed that none has changed",
        "guard.write": "a check is taken away from writing",
        "guard.run": "a check is taken away from a program",
        "guard.delete": "more is deleted at once",
        "guard.env": "a variable of the environment is set that none has set",
    },
    {
        "power.verb": GRAVE,
        "secret.tool": GRAVE,
        "delete.lost": GRAVE,
        "delete.hard": SERIOUS,
        "power.grant": GRAVE,
        "power.guard": GRAVE,
        "power.end": NOTABLE,
        "guard.rights": SERIOUS,
        "guard.out": SERIOUS,
        "guard.piped": SERIOUS,
        "guard.setting": NOTABLE,
        "guard.write": NOTABLE,
        "guard.run": NOTABLE,
        "guard.delete": NOTABLE,
        "guard.env": SLIGHT,
    },
)
