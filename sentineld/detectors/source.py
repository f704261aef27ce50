"""First-seen source: code or data come from where none of the role's sessions ever fetched any.

Formula, source, range and memory: as ``sink``; reading is weighed less than code that is run.
Known false alarms: documentation on a new site, a dependency from a new registry.
"""

from sentineld.detectors.base import GRAVE, NOTABLE, SLIGHT, Detector

SOURCE = Detector(
    "source",
    {
        "net.host": "a command reaches a host that none has reached",
        "net.code": "an interpreter reaches the network by itself",
        "net.by": "a program reaches the network that never did",
        "net.tenant": "somebody's place on a shared host is read that none has read",
        "fetch.host": "a page is read on a host that none has read",
        "code.from": "code is installed from where none was, or checks of its origin are changed",
    },
    {
        "net.host": GRAVE,
        "net.code": GRAVE,
        "code.from": GRAVE,
        "net.by": NOTABLE,
        "net.tenant": NOTABLE,
        "fetch.host": SLIGHT,
    },
    groups={"code.from": "net"},
)
