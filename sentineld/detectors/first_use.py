"""First use: a tool, a method of a server or a program that no session of the role ever used.

Formula, source and memory: as ``sink``. Slight by itself: new work needs new tools.
Known false alarms: an agent that was given a new tool.
"""

from sentineld.detectors.base import NOTABLE, SLIGHT, Detector

FIRST_USE = Detector(
    "first_use",
    {
        "first.tool": "a tool is used for the first time",
        "first.method": "a method of a tool is used for the first time",
        "run.verb": "a program is run for the first time",
        "write.verb": "a program that writes is run for the first time",
        "delete.verb": "a program that deletes is run for the first time",
    },
    {
        "delete.verb": NOTABLE,
        "first.tool": SLIGHT,
        "first.method": SLIGHT,
        "run.verb": SLIGHT,
        "write.verb": SLIGHT,
    },
)
