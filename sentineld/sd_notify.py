"""sd_notify(3): tells systemd how the service is, over the datagram socket that it names."""

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends states to ``$NOTIFY_SOCKET``; without one it is silent."""

    def __init__(self, env: Mapping[str, str]) -> None:
        address = env.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watchdog_us = env.get("WATCHDOG_USEC", "")
        is_ours = env.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        #: Interval in which systemd wants a sign of life, microseconds; 0 for none.
        self.watchdog_us = int(watchdog_us) if watchdog_us.isdigit() and is_ours else 0

    def send(self, *states: str) -> None:
        """Send states such as ``READY=1``. A socket that is gone or full is no reason to stop."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.connect(self._address)
                sock.send("\n".join(states).encode(), socket.MSG_DONTWAIT)
        except OSError:
            return
