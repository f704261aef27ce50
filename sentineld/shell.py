"""Shell: the simple commands of a command line, as a POSIX shell or bash would split it.

``parse`` is a lexer with the little grammar that splitting needs: quotes, escapes, comments, operators,
redirects, here-documents, subshells, command and process substitution, arithmetic, ``case``, ``[[ ]]``,
functions, arrays. It judges nothing, expands nothing that needs the world (globs, unknown variables stay as
they are written) and never fails: what is unbalanced or cut off ends at the end of the text. A substitution
stands in its word as ``$()``; its commands are commands of their own. Variables that the text itself sets to
plain text are replaced, so that a path cannot hide in two halves.

Time and memory are linear in the text: one pass, nested text is parsed where it stands, and no more than
``MAX_DEPTH`` levels of it are kept apart. A ``Budget`` ends the parsing of a text that takes too much of it.
Libraries were measured for this and found wanting: see ``docs/taxonomy.md``.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

#: Longest text that is parsed, characters: what a shell reads from a file or a pipe may be long.
MAX_TEXT = 1 << 20
#: Longest text whose commands are kept for the next one who asks.
MAX_KEPT = 4096
#: Nested substitutions and subshells that are kept apart; deeper ones become commands of the same level.
MAX_DEPTH = 64
#: Characters of variables that are put into words, in all.
_MAX_EXPANDED = 65_536
_MAX_VALUE = 512

_CMD = re.compile(
    r"((?:[^ \t\r\n;&|<>()$`\"'\\#][^ \t\r\n;&|<>()$`\"'\\]*+[ \t]+){1,64}+)"  # 1 plain texts that end words
    r"|([^ \t\r\n;&|<>()$`\"'\\#][^ \t\r\n;&|<>()$`\"'\\]*)"  # 2 plain text
    r"|([ \t\r]+)"  # 3 blank
    r"|'([^']*)(?:'|\Z)"  # 4 single quotes
    r'|"([^"$`\\]*)"'  # 5 double quotes without expansions
    r"|(&&|\|\||\|&?|;;&|;&|;;?|&(?!>))"  # 6 operator
    r"|(&>>?|<<<|<<-?|<>|<&|>&|>\||>>|<(?!\()|>(?!\())"  # 7 redirect
    r"|(\n)"  # 8
    r"|\\(.|\n|\Z)"  # 9 escape
    r"|(#)"  # 10
    r"|(\()"  # 11
    r"|(\))"  # 12
    r"|(\"|\$\")"  # 13 double quotes with expansions
    r"|\$'((?:[^'\\]|\\.)*+)(?:'|\Z)"  # 14 ANSI-C quotes
    r"|([<>]\()"  # 15 process substitution
)
# What expands inside and outside of double quotes. Where none fits, the character stands for itself.
_EXPANSION = re.compile(
    r"\$(\w+|[@*#?$!-])"  # 1 variable
    r"|\$\{([#!]?\w+|[@*#?$!-])\}"  # 2 variable in braces
    r"|(\$\{[#!]?\w*)"  # 3 expansion with an operator
    r"|(\$\(\(?)"  # 4 substitution, arithmetic
    r"|(`)"  # 5
)
_QUOTED = re.compile(r'([^"$`\\]+)|\\([$`"\\])|(\\\n)|(\\)|(")')
_BRACED = re.compile(r'([^}"$`\\]+)|\\(.)|(\\\n)|(\\)|(")|(\})')
#: Texts that need no more than splitting: words of these characters, joined by these operators.
_PLAIN = re.compile(r"[\w \t./:,@%+~^?*=-]*+(?:(?:&&|\|\|?|;)[\w \t./:,@%+~^?*=-]++)*+\Z", re.ASCII)
_OPERATORS = re.compile(r"(&&|\|\|?|;)")
_MAX_PLAIN = 4096
_EMPTY_PARENTHESES = re.compile(r"\([ \t]*\)")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)\+?=")
_ANSI = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|u([0-9A-Fa-f]{1,4})|(.))", re.DOTALL)
_CONTROL = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "e": "\x1b",
    "E": "\x1b",
}

#: Words that only introduce the command behind them, or end a compound one.
_INTRODUCERS = frozenset(
    {"if", "then", "else", "elif", "fi", "while", "until", "do", "done", "!", "{", "}", "coproc"}
)
_DECLARERS = frozenset({"export", "local", "declare", "readonly", "typeset"})


class Budget:
    """The work that one command line may take, with all that is opened in it.

    ``steps`` are left, of about a microsecond: a piece of text, a word, a part of a judgement. ``characters``
    are left for texts that are parsed. Once there were not enough for something, the budget ``is_spent``.
    """

    __slots__ = ("characters", "is_spent", "steps")

    def __init__(self, steps: int = 1 << 60, characters: int = 1 << 60) -> None:
        self.steps = steps
        self.characters = characters
        self.is_spent = False

    def spend(self, steps: int) -> bool:
        """Take steps; say whether there were as many."""
        self.steps -= steps
        if self.steps < 0:
            self.is_spent = True
        return self.steps >= 0


class Command:
    """One simple command.

    ``words`` are its words without quotes, the leading assignments among them; ``redirects`` pairs of
    operator and target. ``piped`` says that it reads from a pipe: from ``before``, the last command there,
    where one is known; that one's ``after`` is this. ``stdin`` is text given to it by a here-document or
    here-string.
    """

    __slots__ = ("_body", "after", "before", "piped", "redirects", "words")

    def __init__(
        self,
        words: list[str],
        redirects: Sequence[tuple[str, str]] = (),
        body: Sequence[str] = (),
        before: "Command | None" = None,
        piped: bool = False,
    ) -> None:
        self.words = words
        self.redirects = redirects
        self._body = body
        self.before = before
        self.piped = piped
        self.after: Command | None = None
        if piped and before is not None:
            before.after = self

    @property
    def stdin(self) -> str:
        """Text on its standard input; empty where none is written out."""
        return self._body[0] if self._body else ""


def parse(text: str, budget: Budget | None = None) -> list[Command]:
    """Return the simple commands of a text, in order; those of a substitution before what is around it.

    With a ``budget`` that runs out, or a text longer than ``MAX_TEXT``, only those of its beginning.
    """
    if len(text) <= _MAX_PLAIN:
        # Joining the outputs of one command changes nothing here, and is in half of all command lines.
        plain = text.replace(" 2>&1", "")
        if _PLAIN.match(plain):
            commands = _split_plain(plain)
            if budget is not None:
                budget.spend(2 * len(commands))
            return commands
    budget = budget or Budget()
    commands = _Parser(text[:MAX_TEXT], budget).run()
    budget.is_spent |= len(text) > MAX_TEXT
    return commands


@lru_cache(64)
def parse_kept(text: str, steps: int) -> tuple[Sequence[Command], int, bool]:
    """Return what ``parse`` does within so many steps, how many are left, and whether they ran out.

    The commands are kept for the next one who asks, so nobody may change them. For texts of at most
    ``MAX_KEPT`` characters.
    """
    budget = Budget(steps)
    return parse(text, budget), budget.steps, budget.is_spent


def _split_plain(text: str) -> list[Command]:
    """Split a text without quotes, expansions, redirects and lines, as the parser would."""
    commands: list[Command] = []
    before: Command | None = None
    parts = _OPERATORS.split(text)
    for number in range(0, len(parts), 2):
        words = parts[number].split()
        while words and words[0] in _INTRODUCERS:
            del words[0]
        is_piped = number > 0 and parts[number - 1] == "|"
        if not is_piped:
            before = None
        if words:
            before = Command(words, (), (), before, is_piped)
            commands.append(before)
    return commands


def assigns(word: str) -> bool:
    """Say whether a word has the form of an assignment."""
    return "=" in word and _ASSIGNMENT.match(word) is not None


class _Frame:
    """A list of commands under way: the text itself, a subshell or a substitution."""

    __slots__ = (
        "before", "body", "cases", "kind", "own", "parts", "pattern", "piped", "quoted", "redirect",
        "redirects", "words",
    )  # fmt: skip

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.own: list[int] = []
        self.cases = 0
        self.pattern = False
        self.before: Command | None = None
        self.piped = False
        self.clear()

    def clear(self) -> None:
        self.parts: list[str] = []
        self.quoted = False
        self.words: list[str] = []
        self.redirect = ""
        self.redirects: list[tuple[str, str]] = []
        self.body: list[str] | tuple[()] = ()


_COMMANDS, _QUOTES, _BRACES = 0, 1, 2


class _Parser:
    def __init__(self, text: str, budget: Budget, depth: int = 0) -> None:
        self._text = text
        self._budget = budget
        self._depth = depth
        self._commands: list[Command | None] = []
        self._frame = _Frame("")
        self._frames: list[_Frame] = []
        self._modes: list[int] = []
        self._heredocs: list[tuple[list[str], str, bool, bool]] = []
        self._variables: dict[str, str] = {}
        self._expanded = 0

    def run(self, mode: int = _COMMANDS) -> list[Command]:
        """Parse the text; in quotes, only what is substituted there."""
        self._modes.append(mode)
        is_quoted = mode == _QUOTES
        position, size = 0, len(self._text)
        while position < size:
            if not self._budget.spend(1):
                break
            mode = self._modes[-1]
            if mode == _COMMANDS:
                position = self._lex(position)
            else:
                position = self._lex_quoted(position, _QUOTED if mode == _QUOTES else _BRACED)
        while self._frames:
            self._end()
            self._frame = self._frames.pop()
        if is_quoted:
            self._frame.clear()
        self._end()
        return [command for command in self._commands if command is not None]

    def _lex(self, position: int) -> int:
        # The most frequent kinds of text are told here, as long as nothing else comes up.
        text, size, match = self._text, len(self._text), _CMD.match
        frame, budget = self._frame, self._budget
        while position < size:
            budget.steps -= 1
            if budget.steps < 0:
                return position
            found = match(text, position)
            if found is None:
                return self._expand(position)
            kind = found.lastindex
            if kind == 1:
                position = found.end()
                texts = found[1].split()
                budget.steps -= len(texts) >> 1
                for number, word in enumerate(texts):
                    words = frame.words
                    if words and not frame.parts and not frame.redirect and words[0] != "case":
                        words += texts[number:] if number else texts
                        break
                    frame.parts.append(word)
                    self._end_word()
            elif kind == 2:
                position = found.end()
                frame.parts.append(found[2])
            elif kind == 3:
                position = found.end()
                parts = frame.parts
                if parts:
                    words = frame.words
                    if words and not frame.redirect and words[0] != "case":
                        words.append(parts[0] if len(parts) == 1 else "".join(parts))
                        frame.parts, frame.quoted = [], False
                    else:
                        self._end_word()
            elif kind == 4 or kind == 5:
                position = found.end()
                frame.quoted = True
                frame.parts.append(found[kind])
            elif kind == 6:
                position = found.end()
                self._operator(found[6])
            elif kind == 7:
                position = found.end()
                self._redirect(found[7])
            else:
                position = self._lex_rare(found, kind)
                if self._frame is not frame or self._modes[-1] != _COMMANDS:
                    return position
        return position

    def _lex_rare(self, found: re.Match[str], kind: int | None) -> int:
        frame, position = self._frame, found.end()
        if kind == 8:
            position = self._newline(position)
        elif kind == 9:
            if found[9] == "`" and frame.kind == "`":
                self._end()
            elif found[9] != "\n":
                frame.quoted = True
                frame.parts.append(found[9])
        elif kind == 10:
            if frame.parts:
                frame.parts.append("#")
            else:
                line_end = self._text.find("\n", position)
                return len(self._text) if line_end < 0 else line_end
        elif kind == 11:
            position = self._open(position)
        elif kind == 12:
            position = self._close(position)
        elif kind == 13:
            frame.quoted = True
            frame.parts.append("")
            self._modes.append(_QUOTES)
        elif kind == 14:
            frame.quoted = True
            frame.parts.append(unescape(found[14])[0])
        else:
            self._push("$")
        return position

    def _lex_quoted(self, position: int, pattern: re.Pattern[str]) -> int:
        frame = self._frame
        found = pattern.match(self._text, position)
        if found is None:
            return self._expand(position)
        kind = found.lastindex
        if kind == 1 or kind == 2:
            frame.parts.append(found[kind])
        elif kind == 4:
            frame.parts.append("\\")
        elif kind == 5 and pattern is _BRACED:
            self._modes.append(_QUOTES)
        elif kind == 5 or kind == 6:
            # The text of a here-document has quotes that close nothing.
            if len(self._modes) > 1:
                self._modes.pop()
            else:
                frame.parts.append(found[0])
        return found.end()

    def _expand(self, position: int) -> int:
        frame = self._frame
        found = _EXPANSION.match(self._text, position)
        if found is None:
            frame.parts.append(self._text[position])
            return position + 1
        kind = found.lastindex
        if kind == 1 or kind == 2:
            frame.parts.append(self._value(found[kind]))
        elif kind == 3:
            name = found[3][2:]
            frame.parts.append("$" + name if name.isidentifier() else "")
            self._modes.append(_BRACES)
        elif kind == 4:
            self._push("$((" if found[4] == "$((" else "$")
        elif frame.kind == "`" and self._modes[-1] == _COMMANDS:
            self._pop()
        else:
            self._push("`")
        return found.end()

    def _value(self, name: str) -> str:
        if name[0] == "#" and len(name) > 1:
            return "0"
        value = self._variables.get(name)
        if value is None or self._expanded + len(value) > _MAX_EXPANDED:
            return "$" + name
        self._expanded += len(value)
        return value

    def _operator(self, operator: str) -> None:
        frame = self._frame
        if self._is_testing() and operator in {"&&", "||", "|"}:
            frame.words.append(operator)
            return
        if frame.pattern:
            if operator == "|":
                return
            frame.pattern = False
        self._end()
        if operator[0] == "|" and operator != "||":
            frame.piped = True
        else:
            frame.before, frame.piped = None, False
            if operator[0] == ";" and len(operator) > 1:
                frame.pattern = frame.cases > 0

    def _redirect(self, operator: str) -> None:
        frame = self._frame
        if self._is_testing():
            frame.words.append(operator)
            return
        # A number right before it says which descriptor.
        if len(frame.parts) == 1 and not frame.quoted and frame.parts[0].isdigit():
            frame.parts = []
        elif frame.parts:
            self._end_word()
        frame.redirect = operator

    def _newline(self, position: int) -> int:
        frame = self._frame
        if frame.pattern or frame.kind == "a":
            if frame.parts:
                self._end_word()
        else:
            was_piped = frame.piped and not frame.words and not frame.parts
            self._end()
            if not was_piped:
                frame.before, frame.piped = None, False
        if self._heredocs:
            for body, delimiter, is_indented, is_quoted in self._heredocs:
                start = position
                position, end = self._find_line(position, delimiter, is_indented=is_indented)
                body.append(self._text[start:end])
                if not is_quoted and self._depth < 4 and ("$(" in body[0] or "`" in body[0]):
                    self._commands.extend(_Parser(body[0], self._budget, self._depth + 1).run(_QUOTES))
            self._heredocs = []
        return position

    def _find_line(self, position: int, delimiter: str, *, is_indented: bool) -> tuple[int, int]:
        # Where the text goes on behind the line, and where the line begins.
        text, size = self._text, len(self._text)
        if "\n" in delimiter or delimiter[-1:] == "\r" or (is_indented and delimiter[:1] == "\t"):
            # No line can be that.
            return size, size
        at = text.find(delimiter, position)
        while at >= 0 and self._budget.spend(1):
            start = at
            while is_indented and start > position and text[start - 1] == "\t":
                start -= 1
            if start == position or text[start - 1] == "\n":
                end = at + len(delimiter)
                while text.startswith("\r", end):
                    end += 1
                if end == size or text[end] == "\n":
                    return end, start
            if not is_indented:
                # Only at the beginning of a line is it worth a look.
                at = text.find("\n" + delimiter, at)
                at += at >= 0
            else:
                at = text.find(delimiter, at + 1)
        return size, size

    def _open(self, position: int) -> int:
        frame = self._frame
        if self._is_testing():
            frame.words.append("(")
            return position
        if frame.pattern:
            return position
        empty = _EMPTY_PARENTHESES.match(self._text, position - 1)
        if empty is not None:
            # The head of a function.
            frame.clear()
            return empty.end()
        if frame.parts:
            self._push("a")
        else:
            self._end()
            is_arithmetic = self._text.startswith("(", position)
            self._push("((" if is_arithmetic else "(")
            position += is_arithmetic
        return position

    def _close(self, position: int) -> int:
        frame = self._frame
        if self._is_testing():
            frame.words.append(")")
        elif frame.pattern:
            frame.pattern = False
            frame.clear()
        elif frame.kind == "" or frame.kind == "`":
            self._end()
        elif frame.kind in {"((", "$(("}:
            if self._text.startswith(")", position):
                self._pop(keep=False)
                return position + 1
            # It was a subshell that begins with a subshell.
            self._end()
            frame.kind = frame.kind[:-1]
        else:
            self._pop(keep=frame.kind != "a")
        return position

    def _is_testing(self) -> bool:
        frame = self._frame
        if not frame.words or frame.words[0] != "[[":
            return False
        if frame.parts:
            self._end_word()
        return frame.words[-1] != "]]"

    def _push(self, kind: str) -> None:
        if len(self._frames) >= MAX_DEPTH:
            self._end()
            return
        self._frames.append(self._frame)
        self._frame = _Frame(kind)
        self._modes.append(_COMMANDS)

    def _pop(self, *, keep: bool = True) -> None:
        inner = self._frame
        self._end()
        self._frame = outer = self._frames.pop()
        self._modes.pop()
        if not keep:
            for number in inner.own:
                self._commands[number] = None
        if inner.kind == "(" or inner.kind == "((":
            if keep:
                outer.own += inner.own
            outer.before = inner.before
        else:
            outer.parts.append("()" if inner.kind == "a" else "$()")

    def _end_word(self) -> None:
        frame = self._frame
        parts = frame.parts
        if parts:
            word = parts[0] if len(parts) == 1 else "".join(parts)
            frame.parts = []
        else:
            word = ""
        redirect, words = frame.redirect, frame.words
        if redirect:
            frame.redirect = ""
            if redirect == "<<" or redirect == "<<-":
                frame.body = []
                self._heredocs.append((frame.body, word, redirect == "<<-", frame.quoted))
            elif redirect == "<<<":
                frame.body = [word]
            else:
                frame.redirects.append((redirect, word))
        elif not words and not frame.quoted and word in _INTRODUCERS:
            pass
        elif not words and frame.cases and word == "esac":
            frame.cases -= 1
            frame.pattern = False
        elif parts:
            words.append(word)
        frame.quoted = False
        if len(words) == 3 and words[2] == "in" and words[0] == "case":
            frame.cases += 1
            self._end()
            frame.pattern = True

    def _end(self) -> None:
        """End the command under way, if there is one."""
        frame = self._frame
        if frame.parts:
            self._end_word()
        words = frame.words
        if not words and not frame.redirects:
            if frame.redirect or frame.body:
                frame.clear()
            return
        if (words and "=" in words[0]) or (words and words[0] in _DECLARERS):
            self._assign(words)
        # What is judged next is bounded with it.
        self._budget.steps -= 2
        command = Command(words, frame.redirects, frame.body, frame.before, frame.piped)
        frame.own.append(len(self._commands))
        self._commands.append(command)
        frame.before, frame.piped = command, False
        frame.clear()

    def _assign(self, words: list[str]) -> None:
        assignments = words[1:] if words[0] in _DECLARERS else words
        if len(assignments) > 16 or not all(map(assigns, assignments)):
            return
        for word in assignments:
            name, _, value = word.partition("=")
            if "$" not in value and "(" not in value and len(value) <= _MAX_VALUE and name[-1:] != "+":
                if len(self._variables) < 64:
                    self._variables[name] = value
            else:
                self._variables.pop(name, None)


def unescape(text: str, count: int = 0) -> tuple[str, int]:
    """Return the text of ANSI-C quotes without escapes, and how many were taken out; 0 as ``count``: all."""
    return _ANSI.subn(_unescape, text, count)


def _unescape(found: re.Match[str]) -> str:
    if found[4]:
        return _CONTROL.get(found[4], found[4])
    code = int(found[1] or found[3], 16) if found[1] or found[3] else int(found[2], 8)
    return chr(code) if code else ""


def expand_braces(word: str, limit: int = 16) -> Iterator[str]:
    """Give the words that the first braces of a word make (``a{b,c}``), or the word; at most ``limit``."""
    start = word.find("{")
    end = word.find("}", start)
    if start < 0 or end < 0 or "," not in word[start:end]:
        yield word
        return
    for part in word[start + 1 : end].split(",")[:limit]:
        yield f"{word[:start]}{part}{word[end + 1 :]}"
