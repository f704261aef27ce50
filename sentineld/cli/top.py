"""``sentineld top``: every agent, live. Without a terminal one table on stdout, and that is all."""

import contextlib
import io
import locale
import os
import selectors
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import click

from sentineld.cli import why
from sentineld.cli.app import common, configuration, daemon_paths, print_json
from sentineld.cli.screen import HELP, SORTS, WHY_HELP, Choice, Line, Pager, draw, heading, rows_of, table
from sentineld.errors import SentineldError, UsageError
from sentineld.options import parse_duration
from sentineld.scoreboard import scoreboard
from sentineld.store import Store
from sentineld.views import look_at_state, why_document
from sentineld.visible import visible

#: Reading the table may take this share of the time, however often it is asked for.
_SHARE = 0.1
_LEAST_INTERVAL_S = 0.2
#: Columns where stdout is no terminal, and does not say how wide it is.
_COLUMNS = 80
_ESCAPE, _ENTER = "\x1b", ("\n", "\r")

Load = Callable[[], dict[str, Any]]
Explain = Callable[[str], list[str]]


@click.command(epilog="Example: sentineld top --interval 1s")
@click.option(
    "--interval",
    default="2s",
    show_default=True,
    metavar="TIME",
    help="How often to look; less often where that takes long.",
)
@common
def top(interval: str, config_path: str | None, state_dir: str | None, as_json: bool) -> None:
    """Show all agents live: tier, score, events a minute, what is most surprising.

    Keys: arrows, enter for why, / to filter, t s e l a to sort, r to reverse, ? for help, q to leave.
    Where stdout is no terminal it prints one table. NO_COLOR is obeyed.
    """
    interval_s = _seconds(interval)
    config = configuration(config_path, state_dir)
    paths = daemon_paths(config)

    def load() -> dict[str, Any]:
        report = look_at_state(config, paths, os.environ)
        with Store.open_readonly(paths.database) as store:
            return scoreboard(store, config, report)

    def explain(agent: str) -> list[str]:
        report = look_at_state(config, paths, os.environ)
        with Store.open_readonly(paths.database) as store:
            row = store.agent_named(agent)
            if row is None:
                return ["it is not known any more"]
            document = why_document(store, config, report, row)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            why.tell(document)
        return [visible(line, len(line)) for line in out.getvalue().splitlines()]

    document = load()
    if as_json:
        print_json(document)
    elif not _is_terminal():
        _print(document)
    else:
        _live(document, load, explain, interval_s)


def _seconds(text: str) -> float:
    try:
        seconds = float(parse_duration(text))
    except ValueError as error:
        raise UsageError(f"--interval: {error}", hint="--interval 2s") from None
    if seconds < _LEAST_INTERVAL_S:
        raise UsageError(f"--interval: at least {_LEAST_INTERVAL_S * 1000:.0f}ms", hint="--interval 2s")
    return seconds


def _print(document: dict[str, Any]) -> None:
    width = max(40, shutil.get_terminal_size((_COLUMNS, 24)).columns)
    choice = Choice()
    rows = rows_of(document, choice)
    for text, _ in heading(document, choice, len(rows), width):
        click.echo(visible(text))
    click.echo()
    for line in table(document, rows, width):
        click.echo("".join(text for text, _ in line).rstrip())


def _is_terminal() -> bool:
    """Say whether a live table can be shown: on a terminal whose cursor can be moved."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        import curses

        curses.setupterm()
    except (ImportError, curses.error):
        return False
    return curses.tigetstr("cup") is not None


def _live(document: dict[str, Any], load: Load, explain: Explain, interval_s: float) -> None:
    import curses

    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, "")
    with _signals() as signals:
        # Sequences of keys come in one piece, also over slow lines; escape alone need not wait for long.
        os.environ.setdefault("ESCDELAY", "50")
        # Not curses.wrapper: it begins colours, and paints the background black, where none are wanted.
        window = curses.initscr()
        try:
            curses.noecho()
            curses.cbreak()
            window.keypad(True)
            window.nodelay(True)
            _Live(window, document, load, explain, interval_s, signals).run()
        finally:
            curses.endwin()


class _Signals:
    """What was signalled since it was asked for last; ``fd`` is readable when there is something."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.is_over = False
        self.is_resized = False

    def take(self, number: int, _frame: FrameType | None) -> None:
        """Note a signal."""
        if number == signal.SIGWINCH:
            self.is_resized = True
        else:
            self.is_over = True


@contextlib.contextmanager
def _signals() -> Iterator[_Signals]:
    """Let signals that end the program, and a new size of the terminal, wake up whoever waits for ``fd``."""
    ends = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signals = _Signals(reading)
    before = [(number, signal.signal(number, signals.take)) for number in (*ends, signal.SIGWINCH)]
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield signals
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before:
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


class _Live:
    """The table on a terminal: reads keys, reads the database from time to time, paints."""

    def __init__(
        self,
        window: Any,  # noqa: ANN401 (curses has no public name for it)
        document: dict[str, Any],
        load: Load,
        explain: Explain,
        interval_s: float,
        signals: _Signals,
    ) -> None:
        self._window, self._document = window, document
        self._load, self._explain, self._signals = load, explain, signals
        self._interval_s = interval_s
        self._choice = Choice()
        #: What covers the table, the uppermost last.
        self._pagers: list[Pager] = []
        self._styles = _styles()

    def run(self) -> None:
        """Go on until the operator leaves, or the terminal does."""
        due = time.monotonic() + self._interval_s
        with selectors.DefaultSelector() as selector:
            selector.register(sys.stdin, selectors.EVENT_READ)
            selector.register(self._signals.fd, selectors.EVENT_READ)
            while not self._signals.is_over:
                self._paint()
                ready = selector.select(max(0.0, due - time.monotonic()))
                if self._signals.is_resized:
                    self._resize()
                if any(key.fileobj is sys.stdin for key, _ in ready) and not self._keys():
                    return
                with contextlib.suppress(BlockingIOError):
                    os.read(self._signals.fd, 512)
                if time.monotonic() >= due:
                    began = time.monotonic()
                    self._refresh()
                    took = time.monotonic() - began
                    due = began + max(self._interval_s, took / _SHARE)

    def _refresh(self) -> None:
        try:
            self._document = self._load()
            self._choice.trouble = ""
        except (SentineldError, sqlite3.Error, OSError) as error:
            # It may come back: a restore, a new start. What was known stays on the screen.
            self._choice.trouble = visible(str(error))

    def _resize(self) -> None:
        import curses

        self._signals.is_resized = False
        with contextlib.suppress(OSError, curses.error):
            columns, rows = os.get_terminal_size(sys.stdout.fileno())
            curses.resizeterm(max(1, rows), max(1, columns))
            self._window.clear()

    def _paint(self) -> None:
        import curses

        height, width = self._window.getmaxyx()
        if self._pagers:
            lines = self._pagers[-1].draw(width, height)
        else:
            lines = draw(self._document, self._choice, width, height)
        self._window.erase()
        for y, line in enumerate(lines[:height]):
            # The last cell of the screen cannot be written without moving the cursor off it.
            with contextlib.suppress(curses.error):
                self._write(y, line)
        self._window.refresh()

    def _write(self, y: int, line: Line) -> None:
        self._window.move(y, 0)
        for text, style in line:
            encoding = self._window.encoding
            plain = text.encode(encoding, "replace").decode(encoding, "replace")
            self._window.addstr(plain, self._styles.get(style, 0))

    def _keys(self) -> bool:
        """Obey all keys that were pressed; False: the operator leaves, or the terminal is gone."""
        import curses

        pressed = 0
        while True:
            try:
                key = self._window.get_wch()
            except curses.error:
                # Readable, and yet nothing to read: nobody is there any more.
                return pressed > 0
            pressed += 1
            if not self._obey(_NAMES.get(key, "") if isinstance(key, int) else key):
                return False

    def _obey(self, key: str) -> bool:
        choice = self._choice
        if self._pagers:
            self._scroll(self._pagers[-1], key)
        elif choice.is_typing:
            self._type(key)
        elif key == "q":
            return False
        elif key == "/":
            choice.is_typing = True
        elif key == _ESCAPE:
            choice.pattern = ""
        elif key == "r":
            choice.is_reversed = not choice.is_reversed
        elif key == "?":
            self._pagers.append(Pager("sentineld top: keys", HELP))
        elif key in SORTS:
            choice.sort = key
        else:
            self._move(key)
        return True

    def _move(self, key: str) -> None:
        rows = rows_of(self._document, self._choice)
        if not rows:
            return
        height, _ = self._window.getmaxyx()
        place = next((n for n, one in enumerate(rows) if one["agent"] == self._choice.agent), 0)
        if key in _ENTER:
            self._open(rows[place]["agent"])
            return
        place = _moved(key, place, len(rows), height - 4)
        self._choice.agent = rows[place]["agent"]

    def _open(self, agent: str) -> None:
        try:
            lines = self._explain(agent)
        except (SentineldError, sqlite3.Error, OSError) as error:
            lines = [visible(str(error))]
        self._choice.agent = agent
        self._pagers.append(Pager(f"why {visible(agent)}", lines, ("? help",)))

    def _type(self, key: str) -> None:
        choice = self._choice
        if key == _ESCAPE:
            choice.pattern, choice.is_typing = "", False
        elif key in _ENTER:
            choice.is_typing = False
        elif key in ("backspace", "\x7f", "\b"):
            choice.pattern = choice.pattern[:-1]
        elif len(key) == 1 and key.isprintable():
            choice.pattern += key

    def _scroll(self, pager: Pager, key: str) -> None:
        height, _ = self._window.getmaxyx()
        if key in ("q", _ESCAPE, "left", *_ENTER):
            self._pagers.pop()
        elif key == "?" and len(self._pagers) == 1 and pager.keys:
            self._pagers.append(Pager("sentineld top: keys of this view", WHY_HELP))
        else:
            pager.top = _moved(key, pager.top, len(pager.lines), height - 3)


def _moved(key: str, place: int, count: int, page: int) -> int:
    """Return the place that a key leads to, among so many."""
    steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -page, "page down": page, " ": page}
    steps |= {"home": -count, "end": count}
    return max(0, min(place + steps.get(key, 0), count - 1))


#: Names of keys by the numbers that curses has for them.
_NAMES = {
    258: "down", 259: "up", 260: "left", 262: "home", 263: "backspace", 338: "page down", 339: "page up",
    343: "\n", 360: "end",
}  # fmt: skip


def _styles() -> dict[str, int]:
    import curses

    with contextlib.suppress(curses.error):
        curses.curs_set(0)
    styles = {
        "bold": curses.A_BOLD,
        "dim": curses.A_DIM,
        "selected": curses.A_REVERSE,
        "tier2": curses.A_BOLD,
        "tier3": curses.A_BOLD,
    }
    if not os.environ.get("NO_COLOR") and curses.has_colors():
        curses.start_color()
        curses.use_default_colors()
        colors = {"tier2": curses.COLOR_YELLOW, "tier3": curses.COLOR_RED}
        for number, (style, color) in enumerate(colors.items(), 1):
            curses.init_pair(number, color, -1)
            styles[style] = curses.color_pair(number) | curses.A_BOLD
    return styles
