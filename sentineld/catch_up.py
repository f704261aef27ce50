"""Catch-up: how much is left to read, how fast it goes, and when it will be done."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from sentineld.instant import SECOND_US

#: How far back rates look, and how far apart samples are, microseconds.
_SPAN_US = 20 * SECOND_US
SAMPLE_US = SECOND_US // 4
_UNITS = ("B", "kB", "MB", "GB", "TB")


class Progress(NamedTuple):
    """Where a catch-up stands: bytes done and left, bytes a second, seconds that it still takes.

    ``eta_s`` is None while nobody can say: at its beginning, and where more is appended than read.
    """

    done: int
    left: int
    bytes_per_s: int
    eta_s: int | None

    def to_dict(self) -> dict[str, int | None]:
        """Return what ``status`` and the state file say of it."""
        return {"bytes_left": self.left, "bytes_per_s": self.bytes_per_s, "eta_s": self.eta_s}


@dataclass(slots=True)
class CatchUp:
    """Follows one catch-up by samples of (instant, bytes done, bytes left); one that ends is forgotten."""

    _samples: deque[tuple[int, int, int]] = field(default_factory=deque)
    _began_done: int = 0

    def is_due(self, now_us: int) -> bool:
        """Say whether it is time for a sample (monotonic microseconds)."""
        return not self._samples or now_us - self._samples[-1][0] >= SAMPLE_US

    def note(self, now_us: int, done: int, left: int) -> Progress:
        """Take a sample: ``done`` bytes were read in all, ``left`` are known and not read."""
        if not self._samples:
            self._began_done = done
        self._samples.append((now_us, done, left))
        # The oldest one that stays is as old as the span or older: what was slow is remembered that long.
        while len(self._samples) > 2 and now_us - self._samples[1][0] >= _SPAN_US:
            self._samples.popleft()
        began_us, began_done, began_left = self._samples[0]
        took_us = now_us - began_us
        rate = (done - began_done) * SECOND_US // took_us if took_us > 0 else 0
        shrunk = began_left - left
        eta_s = -(-left * took_us // (shrunk * SECOND_US)) if took_us > 0 and shrunk > 0 else None
        return Progress(done - self._began_done, left, max(0, rate), eta_s)

    def end(self) -> None:
        """Forget this one: what comes next is another."""
        self._samples.clear()


def bar(progress: Progress, columns: int) -> str:
    """Return one line of at most ``columns`` characters about it, in ASCII; empty where that is too narrow.

    What does not fit is left out, the least needed first.
    """
    share = progress.done / max(1, progress.done + progress.left)
    percent = f"{int(100 * share)} %"
    rest = [f"{size_text(progress.left)} left"]
    if progress.bytes_per_s:
        rest.append(f"{size_text(progress.bytes_per_s)}/s")
    if progress.eta_s is not None:
        rest.append(f"ETA {span_text(progress.eta_s)}")
    for text in _forms(percent, rest):
        room = columns - len(text)
        if room >= 0:
            # The bar itself takes what is left, within reason.
            cells = min(room - 4, 30)
            if cells < 5:
                return text
            full = int(cells * share)
            return f"[{'#' * full}{'.' * (cells - full)}]  {text}"
    return ""


def _forms(percent: str, rest: list[str]) -> Iterator[str]:
    yield "  ".join(["reading", percent, *rest])
    for count in range(len(rest), -1, -1):
        yield "  ".join([percent, *rest[len(rest) - count :]])


def size_text(count: int) -> str:
    """Return a number of bytes for people: ``4.9 GB``."""
    value = float(count)
    for unit in _UNITS:
        if value < 999.5 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def span_text(seconds: int) -> str:
    """Return a length of time for people: ``0:42``, ``1:02:05``."""
    minutes, second = divmod(max(0, seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
