"""Sweep: what a command line could do at worst, by the words in it, where it is too long to be judged.

A line that takes more than its budget (see ``sentineld.shell.Budget``) is read by what runs at the speed
of C: its quotes and escapes are taken out, variables that it sets are put in, and it is cut into words of
letters, digits, dots, dashes and underscores. Each word that is a known verb counts with the most that the
verb can do, wherever it stands; a path of credentials counts when all its parts are there. So the result is
not less than what the judgement of each command would give, and often more. A line with more variables,
escapes or names like those of credentials than anybody looks at, or longer than ``MAX_SWEPT``, counts as an
access to credentials.
"""

import re
from collections.abc import Iterator, Mapping

from sentineld.credentials import METADATA_HOSTS, REVEALING, is_secret_name
from sentineld.entities import Findings
from sentineld.shell import Budget, Command, unescape
from sentineld.verbs.line import CREDENTIAL, DELETE, NETWORK, RUN, SPAWN, WRITE, Judge, Line
from sentineld.verbs.options import ALIAS, names
from sentineld.verbs.packages import FETCHING

#: Longest text that is swept, characters: Linux takes no argument of half of it.
MAX_SWEPT = 1 << 18
#: Escapes, variables and braces that are put in, and names that are looked up; what has more hides something.
_MAX_EVENTS = 6144
_MAX_NAMES = 512
_MAX_EXPANDED = 65_536
_MAX_VALUE = 512
#: Bytes that are cut into words at a time, to hold no list of all of them.
_PIECE = 1 << 16
#: Hosts, verbs and paths that are looked at for entities, and the work for them.
_MAX_SHOWN = 16
_STEPS = 1024

_WORD_BYTES = b"abcdefghijklmnopqrstuvwxyz0123456789._-"
_TO_WORDS = bytes(
    ord(chr(byte).lower())
    if byte < 128 and chr(byte).lower().encode() in _WORD_BYTES
    else byte
    if byte >= 128
    else 32
    for byte in range(256)
)  # fmt: skip
_SLASHED = bytes.maketrans(b"\\", b"/")
_NAME_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
_ANSI_QUOTES = re.compile(r"\$'((?:[^'\\]|\\.)*+)(?:'|\Z)", re.DOTALL)
_EVENT = re.compile(rb"[$={]")
_NAME = re.compile(rb"\{?(?:env:)?([A-Za-z_]\w*)\}?", re.IGNORECASE)
_VALUE = re.compile(rb"[^\s;&|()<>`]{0,512}")
_BRACES = re.compile(rb"\{([^\s{}]{0,512})\}([^\s;&|()<>`]{0,128})")
_BLANK = re.compile(rb"[\s;&|()<>`]")
_END = re.compile(rb"[;&|\n)`]")

#: Parts of names that files of credentials have; the word around one is looked up.
_SECRET = (
    b"_rsa", b"_dsa", b"ed25519", b"ecdsa", b".pem", b".p12", b".pfx", b".jks", b".kdb", b".ppk", b".key",
    b"_key", b"-key", b".env", b"_secret", b"account", b"ssh_host",
)  # fmt: skip
#: Prints of all variables, and how each of them begins.
_DUMPS = (b"env", b"set", b"export", b"declare")
_DUMP = re.compile(
    rb"(?<![\w./-])(?:env(?:[ \t]+-[^\s;&|]{0,64}|(?<=-u)[ \t]+\w{1,64}){0,8}+|set|export(?:[ \t]+-p)?"
    rb"|declare(?:[ \t]+-[px])?)[ \t]{0,64}+(?:[;&|\n)>`]|\Z)|env:(?:[^a-z_]|\Z)"
)
_DUMPS_OF_CODE = ("environ)", "process.env)", "ENV)")
#: What code that reaches the network has in it.
_CODE = (
    "http", "HTTP", "Http", "urlopen", "requests.", "socket", "fetch(", "axios", "LWP::", "open-uri",
    "smtplib", "ftplib", "paramiko", "curl_exec",
)  # fmt: skip
_PRINTING = names("echo printf write-host write-output printenv")
#: Paths and commands that give access to credentials, by words that stand there together.
_TOGETHER = (
    ".ssh", ".aws", ".gnupg", ".kube", ".azure", ".password-store", ".netrc", "_netrc", ".pgpass", ".my.cnf",
    ".git-credentials", ".dockercfg", ".vault-token", ".terraformrc", ".npmrc", ".yarnrc.yml", ".pypirc",
    ".htpasswd", ".s3cfg", ".boto", "rclone.conf", "credentials.json", ".credentials.json", "logins.json",
    "key3.db", "key4.db", "cookies.sqlite", "signons.sqlite", "ntds.dit", "krb5.keytab", "master.passwd",
    "shadow-", "gshadow", "gshadow-", "shadow", "etc security passwd", "keychains", "keyrings", "kwallet",
    "kwalletd", "credentials.tfrc.json", "github-copilot hosts.json", "github-copilot apps.json",
    "gh hosts.yml", ".config hub", ".codex auth.json", ".gemini oauth_creds.json", "sops keys.txt",
    "git credentials", ".gem credentials", ".cargo credentials", ".cargo credentials.toml",
    ".docker config.json", "run secrets", "proc environ", "gcloud credentials.db", "gcloud access_tokens.db",
    "gcloud application_default_credentials.json", "gcloud legacy_credentials", "system32 sam",
    "system32 security", "system32 system", "repair sam", "repair security", "repair system",
    "microsoft credentials", "microsoft protect", "microsoft vault", "kubectl config view --raw",
    "oc config view --raw", "git credential fill", "git credential get",
)  # fmt: skip
_BROWSERS = ("chrome", "chromium", "brave", "edge", "opera", "vivaldi", "user")
_BROWSER_FILES = ("login data", "cookies", "web data")

#: The most that verbs can do whose judges depend on more than one operand.
_MOST = {
    **dict.fromkeys((*FETCHING, "git", "kubectl", "oc", "k9s"), NETWORK),
    **dict.fromkeys(names("dd tar zip unzip unrar rar 7z 7za"), WRITE),
}
_PROBE = ["https://h.example/x", "h.example:x", "-delete", "-i", "-connect", "h.example"]


class Sweep:
    """What words of command lines can do. ``classes`` is what the configuration says."""

    def __init__(self, judges: Mapping[str, Judge], classes: Mapping[str, str]) -> None:
        self._judges = judges
        self._ranks: dict[bytes, int] = {}
        for verb in (*judges, *ALIAS):
            rank = _MOST.get(verb) or Line(Findings(), judges, {}).verb([verb, *_PROBE], Command([]))
            if rank >= SPAWN:
                # Verbs may end with a number: `nc6`.
                for digit in ("", *"0123456789") if rank >= DELETE else ("",):
                    self._ranks[f"{verb}{digit}".encode()] = rank
        self._ranks[b"-delete"] = DELETE
        self._named = [(_words(name), name, event_class) for name, event_class in classes.items()]
        reveal = (" ".join((verb, *head)) for verb, heads in REVEALING.items() for head in heads)
        places = (f"{browser} {file}" for browser in _BROWSERS for file in _BROWSER_FILES)
        self._together = [_words(text) for text in (*_TOGETHER, *reveal, *places, *METADATA_HOSTS)]
        self._known = frozenset(self._ranks).union(
            *self._together, *(words for words, _, _ in self._named), [word.encode() for word in _PRINTING]
        )
        self._interpreters = frozenset(
            f"{verb}{digit}".encode()
            for verb in names("python node ruby php lua perl julia pypy ipython tsx ts-node nodejs osascript")
            for digit in ("", "2", "3")
        )
        self._known |= self._interpreters

    def rank(self, line: Line, text: str) -> int:
        """Return the rank of a text. What it touches goes into ``line``, as far as there is place."""
        found = line.found
        data, variables = _plain(text) if len(text) <= MAX_SWEPT else (None, set())
        if data is None:
            found.has_credentials = True
            return CREDENTIAL
        lower = data.lower()
        words = self._words_in(lower)
        other = b""
        if "\\" in text or "`" in text:
            # For Windows, a backslash separates and a backtick escapes.
            other = text.encode("utf-8", "surrogatepass").translate(_SLASHED, b"'\"`").lower()
            words |= self._words_in(other)
        rank = max([RUN, *(self._ranks.get(word, RUN) for word in words)])
        if b">" in lower:
            rank = max(rank, WRITE)
            if b"/dev/tcp/" in lower or b"/dev/udp/" in lower:
                rank = max(rank, NETWORK)
        if "*** Delete File: " in text:
            rank = max(rank, DELETE)
        if not self._interpreters.isdisjoint(words) and any(part in text for part in _CODE):
            rank = max(rank, NETWORK)
        for parts, name, event_class in self._named:
            if parts <= words:
                line.saw(name)
                rank = max(rank, line.name(event_class))
        is_printing = any(word.encode() in words for word in _PRINTING)
        if (
            any(together <= words for together in self._together)
            or (b"::" in lower and any(host.encode() in lower for host in METADATA_HOSTS if "::" in host))
            or (is_printing and any(map(is_secret_name, variables)))
            or b"printenv" in words
            or _dumps(lower)
            or any(part in text for part in _DUMPS_OF_CODE)
            or self._names_secret(found, lower)
            or (other and self._names_secret(found, other))
        ):  # fmt: skip
            found.has_credentials = True
        self._tell(line, lower, words)
        return CREDENTIAL if found.has_credentials else rank

    def _words_in(self, data: bytes) -> set[bytes]:
        data = data.translate(_TO_WORDS).replace(b".exe ", b" ")
        words: set[bytes] = set()
        position, size = 0, len(data)
        while position < size:
            end = data.find(b" ", position + _PIECE)
            end = size if end < 0 else end
            words |= self._known.intersection(data[position:end].split())
            position = end
        return words

    def _names_secret(self, found: Findings, data: bytes) -> bool:
        for literals in getattr(found.is_secret_path, "literals", ()):
            if all(literal in data for literal in literals):
                return True
        left = _MAX_NAMES
        for part in _SECRET:
            position = data.find(part)
            while position >= 0:
                left -= 1
                word = _around(data, position)
                if left < 0 or found.is_secret(word):
                    found.reads(word)
                    return True
                position = data.find(part, position + len(part))
        return False

    def _tell(self, line: Line, data: bytes, words: set[bytes]) -> None:
        position = len(data)
        for _ in range(_MAX_SHOWN):
            # From the end: padding stands before what it hides.
            position = data.rfind(b"://", 0, position)
            if position < 0:
                break
            line.found.reaches_urls(_text(data[max(0, position - 8) : position + 300]), "sink")
        telling = sorted(words & self._ranks.keys(), key=self._ranks.__getitem__, reverse=True)
        there = Line(line.found, self._judges, {}, Budget(_STEPS, 1 << 16))
        for word in telling[:_MAX_SHOWN]:
            at = _last(data, word)
            if self._ranks[word] >= DELETE and at >= 0:
                piece = data[at : at + 512]
                end = _END.search(piece)
                there.text(_text(piece[: end.start()] if end else piece))
        for verb in there.verbs:
            line.saw(verb)


def _dumps(data: bytes) -> bool:
    left = _MAX_NAMES
    for part in _DUMPS:
        position = data.find(part)
        while position >= 0:
            left -= 1
            if left < 0 or _DUMP.match(data, position):
                return True
            position = data.find(part, position + len(part))
    return False


def _words(text: str) -> frozenset[bytes]:
    return frozenset(text.lower().encode().translate(_TO_WORDS).split())


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _last(data: bytes, word: bytes) -> int:
    """Return where a word stands last, as far as that is found soon."""
    position = len(data)
    for _ in range(_MAX_SHOWN):
        position = data.rfind(word, 0, position)
        if position < 0:
            break
        before, after = data[position - 1 : position], data[position + len(word) : position + len(word) + 1]
        if before not in _IN_WORD and after not in _IN_WORD and after != b":":
            return position
        position += len(word) - 1
    return -1


_IN_WORD = frozenset(bytes([byte]) for byte in _WORD_BYTES)


def _around(data: bytes, position: int) -> str:
    start, end = max(0, position - 256), position + 256
    before, after = _BLANK.split(data[start:position].translate(_APART))[-1], data[position:end]
    return _text(before + _BLANK.split(after.translate(_APART), 1)[0])


#: What stands before a path without a blank: `-d@x`, `if=x`, `{x,y}`.
_APART = bytes(32 if byte in b"@={},:" else byte for byte in range(256))


def _plain(text: str) -> tuple[bytes | None, set[str]]:
    """Return a text without quotes and escapes, with its variables put in, and which ones are used.

    Instead of the text None, where there are too many of them.
    """
    left = _MAX_EVENTS
    if "$'" in text:

        def plain(quotes: re.Match[str]) -> str:
            nonlocal left
            inner, count = unescape(quotes[1], max(1, left))
            left -= count + 1
            return inner

        text = _ANSI_QUOTES.sub(plain, text, count=left)
        if left <= 0:
            return None, set()
    data = text.encode("utf-8", "surrogatepass").replace(b"\\\n", b"").translate(None, b"'\"\\")
    variables: dict[bytes, bytes] = {}
    used: set[bytes] = set()
    out: list[bytes] = []
    more: list[bytes] = []
    expanded, done, events = 0, 0, 0
    if b"$" in data or b"{" in data:
        for event in _EVENT.finditer(data):
            events += 1
            if events > left:
                break
            at = event.start()
            if at < done:
                continue
            kind = event[0]
            if kind == b"$":
                name = _NAME.match(data, at + 1)
                if name is None:
                    continue
                used.add(name[1])
                value = variables.get(name[1])
                if value is not None and expanded + len(value) <= _MAX_EXPANDED:
                    expanded += len(value)
                    out += (data[done:at], value)
                    done = name.end()
            elif kind == b"=":
                before = data[max(0, at - 64) : at]
                name_of = before[len(before.rstrip(_NAME_BYTES)) :]
                value_found = _VALUE.match(data, at + 1)
                if name_of and value_found is not None:
                    value = _put_in(value_found[0], variables)
                    if len(value) <= _MAX_VALUE:
                        variables[name_of] = value
            else:
                alternatives = list(_alternatives(data, at))
                more += alternatives
                events += 2 * len(alternatives)
    is_obscure = left <= 0 or events > left or expanded > _MAX_EXPANDED - _MAX_VALUE
    names_used = {name.decode() for name in used}
    if is_obscure:
        return None, names_used
    out.append(data[done:])
    return b" ".join([b"".join(out), *more]), names_used


def _put_in(value: bytes, variables: Mapping[bytes, bytes]) -> bytes:
    if b"$" not in value:
        return value
    return re.sub(rb"\$\{?([A-Za-z_]\w*)\}?", lambda name: variables.get(name[1], name[0]), value, count=8)


def _alternatives(data: bytes, position: int) -> Iterator[bytes]:
    braces = _BRACES.match(data, position)
    if braces is None or b"," not in braces[1]:
        return
    before = _BLANK.split(data[max(0, position - 128) : position])[-1]
    if before or braces[2]:
        for part in braces[1].split(b",")[:16]:
            yield before + part + braces[2]
