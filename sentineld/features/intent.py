"""Intent: what a user's prompt names, as hashes, and whether a value is among it.

A prompt is what a harness records as the user's own turn. What harnesses put into it (``<system-reminder>``,
output of commands, contents of files) is left out, from the first opening of such an element to its last end,
so that text in it cannot end it early: within one part of a message where it ends there, else over all of
it. What is kept are names only, never text: hosts and URLs, addresses, paths, numbers and ids, ``@names``,
what stands in quotes, capitalised names. They are hashes of 64 bits (BLAKE2b): unlike a checksum, nobody can
choose a target so that it has the hash of what somebody asked for.

Bounded: 64 KiB of text, 256 names a prompt. Linear in the text.
"""

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b

from sentineld.features.paths import normal

#: Characters of a prompt that are read, names of one that are kept, and how many of these come from words
#: and quotes: what was pasted must not leave nothing for the rest.
MAX_TEXT = 65_536
MAX_NAMES = 256
_MAX_WORDS, _MAX_QUOTES = 160, 208
_MAX_WORD = 256
_MAX_DEPTH = 4
_MAX_PARTS = 256
_MAX_ELEMENTS = 64

#: Elements in which users' own words stand.
_OWN = frozenset({"command-args", "bash-input", "user_query"})
#: Elements that only harnesses write: also left out where they have no end.
_HARNESS = re.compile(
    r"(?:system|local-command|command|bash|task|ide|environment|user-prompt-submit|teammate|hook)[-_]"
    r"|INSTRUCTIONS\Z|user_instructions\Z|channel\Z"
)
_ELEMENT = re.compile(r"<([A-Za-z][\w-]{1,48})(?=[\s>/])")
#: From here on it is what others wrote: files that a prompt refers to, orders of a project.
_FILES, _ORDERS = "--- Content from referenced files ---", "# AGENTS.md instructions for "
#: Behind this stands what a user asks for; before it, what the editor shows: in prompts that begin so.
_REQUEST = "## My request for Codex:"
_EDITORS = ("# Context from my IDE setup:", "# Files mentioned by the user:")

# Each expression begins with one character or a set of them: those are looked for at the speed of C.
_QUOTES = (
    re.compile(r"'([^'\n]{1,128})'(?!\w)"),
    re.compile(r'"([^"\n]{1,128})"'),
    re.compile(r"`([^`\n]{1,128})`"),
    re.compile(r"[\u201c\u2018\xab]([^\u201c\u2018\xab\u201d\u2019\xbb\n]{1,128})[\u201d\u2019\xbb]"),
)
#: Characters that no word has.
_BREAKS = re.compile("['\"`<>()\\[\\]{},;|\u201c\u201d\u2018\u2019\xab\xbb]")
_TELLING = re.compile(r"[\d@/\\.:#_-]")
_GLUED = re.compile(r"[.!?](?=[A-Z])")
_NAME = re.compile(
    r"[A-Z](?<!\w.)[\w&-]{1,31}(?:['\u2019]\w{1,8})?(?: [A-Z\d][\w&-]{0,31}(?:['\u2019]\w{1,8})?){0,4}"
)
_HOST_LIKE = re.compile(r"[\w.-]+\.[A-Za-z]{2,24}\Z")
#: What may be a name in an address.
_WORDS = re.compile(r"[^\W\d_]{3,}")
_SAID = frozenset({"text", "input_text", "message"})
_MIN_DIGITS = 3

#: Features whose value a prompt may name; those of places go by their path.
TARGETS = frozenset(
    {"out.host", "out.target", "out.told", "out.tenant", "out.store", "delete.target"}
    | {"net.host", "net.tenant", "fetch.host"}
)
#: Raw features whose value is a path.
PATHS = frozenset(
    {"path.sink", "path.source", "path.delete", "path.setting", "path.touched", "path.copied", "secret"}
)
#: Features that say whom or what a call is for: where prompts named all of them, it was asked for.
AIMS = frozenset(
    {"to.host", "to.name", "out.host", "out.target", "out.store", "out.tenant"} | {"delete.target"}
)


@lru_cache(8192)
def hash_of(name: str) -> int:
    """Return the hash (64 bits) of a name, in whatever case and spacing it is written."""
    data = " ".join(name.lower().split()).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8, person=b"asked").digest(), "little")


#: What every prompt has: so that one that names nothing is a prompt too.
ANY = hash_of("")


def asked_in(prompt: object) -> tuple[int, ...]:
    """Return the hashes of what a prompt names; nothing for what is no prompt.

    ``prompt`` is a text, or a list of texts, blocks (``{"type": "text", "text": ...}``) and messages
    (``{"role": "user", "content": ...}``), the latest message last. Messages of other roles, and those that
    hold results of tools, say nothing.
    """
    own: list[str] = []
    left = MAX_TEXT
    # Each by itself: what a harness put into one ends there.
    for text in said(prompt):
        own.append(_own_words(text[:left], is_cut=len(text) >= left))
        left -= len(text)
        if left <= 0:
            break
    text = "\n".join(own)
    return (ANY, *map(hash_of, _names(text))) if text.strip() else ()


def said(prompt: object) -> list[str]:
    """Return what a user said in a prompt: a text a message, the latest first."""
    if isinstance(prompt, list) and any(isinstance(item, dict) and "role" in item for item in prompt):
        return [text for item in prompt[: -_MAX_PARTS - 1 : -1] if (text := _text_of(item))]
    return [_text_of(prompt)]


def _text_of(message: object) -> str:
    """Return a message's text; a mark in one of its parts holds for those behind it.

    An element that a part holds all of ends there: what a user said stands between two of a harness's parts.
    """
    if isinstance(message, str):
        return message
    found: list[str] = []
    _collect(message, found, 0)
    if len(found) > 1:
        left = MAX_TEXT
        for place, part in enumerate(found):
            left -= len(part)
            if left < 0:
                break
            found[place] = _without_elements(part, is_open=True)
    return "\n".join(found)


def _collect(value: object, found: list[str], depth: int) -> None:
    if isinstance(value, str):
        found.append(value)
    elif isinstance(value, list) and depth < _MAX_DEPTH:
        for item in value[:_MAX_PARTS]:
            _collect(item, found, depth + 1)
    elif isinstance(value, dict) and depth < _MAX_DEPTH:
        kind = value.get("type", "text")
        if value.get("role", "user") != "user" or not isinstance(kind, str) or kind not in _SAID:
            return
        for name in ("text", "content", "parts"):
            inner = value.get(name)
            if isinstance(inner, list) and any(map(_is_result, inner)):
                return
            if inner is not None:
                _collect(inner, found, depth + 1)
                return


def _is_result(part: object) -> bool:
    kind = part.get("type") if isinstance(part, dict) else None
    return isinstance(kind, str) and ("tool" in kind or "function" in kind)


def names_in(text: str) -> list[str]:
    """Return what a prompt's text names, each once, at most 256."""
    return _names(_own_words(text[:MAX_TEXT], is_cut=len(text) >= MAX_TEXT))


def _names(text: str) -> list[str]:
    found: dict[str, None] = {}
    for word in _BREAKS.sub(" ", text).split():
        if len(found) >= _MAX_WORDS:
            break
        if not word.isalpha() and len(word) <= _MAX_WORD:
            for name in _of_word(word):
                found[name] = None
    for quotes in _QUOTES:
        for quoted in quotes.finditer(text):
            if len(found) >= _MAX_QUOTES:
                break
            if not text[quoted.start() - 1 : quoted.start()].isalnum():
                found[quoted[1].strip()] = None
    for run in _NAME.finditer(text):
        if len(found) >= MAX_NAMES:
            break
        parts = run[0].split(" ")
        for start in range(len(parts)):
            found.update((" ".join(parts[start:end]), None) for end in range(start + 1, len(parts) + 1))
    return [name for name in found if _is_name(name)][:MAX_NAMES]


def _is_name(name: str) -> bool:
    return len(name) > 1 and not (name.isdigit() and len(name) < _MIN_DIGITS)


def _own_words(text: str, *, is_cut: bool) -> str:
    """Return a prompt's text without what its harness put into it; ``is_cut``: there was more of it."""
    shown, _, request = text.rpartition(_REQUEST)
    # A file that an editor shows may hold the same words: those are in what is left out.
    if shown.lstrip().startswith(_EDITORS) or not _holds_others(shown):
        text = request
    for mark in (_FILES, _ORDERS):
        if mark in text:
            text = text[: text.index(mark)]
    return _without_elements(text, is_cut=is_cut)


def _without_elements(text: str, *, is_cut: bool = False, is_open: bool = False) -> str:
    """Return a text without the elements that harnesses put into prompts.

    What one without an end holds goes on to the end of the text: where a harness alone writes it, or the text
    ``is_cut``. With ``is_open`` the text goes on elsewhere, and what has no end here stays.
    """
    position = 0
    for _ in range(_MAX_ELEMENTS):
        element = _ELEMENT.search(text, position)
        if element is None:
            return text
        name = element[1]
        is_harness = _HARNESS.match(name) is not None
        if not _is_put(name):
            position = element.end()
            continue
        closing = f"</{name}>"
        end = text.rfind(closing, element.end())
        if end >= 0:
            text = f"{text[: element.start()]} {text[end + len(closing) :]}"
            position = element.start()
        elif (is_harness or is_cut) and not is_open:
            return text[: element.start()]
        else:
            position = element.end()
    # That is no prompt any more.
    return text if is_open else text[:position]


def _holds_others(text: str) -> bool:
    """Say whether there may be something in a text that its user did not write."""
    return _FILES in text or _ORDERS in text or any(_is_put(one[1]) for one in _ELEMENT.finditer(text))


def _is_put(element: str) -> bool:
    """Say whether an element is one of those that harnesses put into prompts."""
    if element in _OWN:
        return False
    return "-" in element or "_" in element or _HARNESS.match(element) is not None


def _of_word(word: str) -> Iterator[str]:
    word = word.rstrip(".:!?*_-").lstrip("*:-")
    if not _TELLING.search(word):
        return
    yield word
    glued = _GLUED.search(word)
    if glued is not None:
        word = word[: glued.start()]
        yield word
    scheme, has_scheme, rest = word.partition("://")
    if has_scheme:
        host, _, path = rest.partition("/")
        host = host.rpartition("@")[2]
        yield from _of_host(host)
        yield from _of_repository(path)
        yield f"{scheme}://{host}"
    elif word[:1] in ("@", "#"):
        yield word[1:]
    elif "@" in word:
        host, _, path = word.partition("@")[2].partition(":")
        yield from _of_host(host)
        yield from _of_repository(path)
    elif "/" in word or "\\" in word:
        plain = word.removeprefix("./").rstrip("/\\")
        yield plain
        yield normal(plain)
        first, _, path = plain.partition("/")
        if ":" in first:
            yield f"{first.partition(':')[0]}:"
        if _HOST_LIKE.match(first):
            yield from _of_host(first)
            yield from _of_repository(path)
        elif path and "/" not in path:
            yield from _of_repository(plain)
    elif _HOST_LIKE.match(word.partition(":")[0]):
        yield from _of_host(word)


def _of_host(host: str) -> Iterator[str]:
    yield host
    host = host.partition(":")[0]
    yield host
    yield host.removeprefix("www.")


def _of_repository(path: str) -> Iterator[str]:
    owner, _, name = path.partition("/")
    if owner and name:
        yield owner
        yield f"{owner}/{name.partition('/')[0].removesuffix('.git')}"


def names(asked: Container[int], feature: str, value: str) -> bool:
    """Say whether a prompt named the value of a feature; ``asked`` holds the hashes of what it named."""
    if feature == "delete.target":
        value = value.partition(" ")[2]
    # A place that was worked out somewhere is nothing that anybody can name.
    return value not in ("", "computed") and hash_of(value) in asked


def names_path(asked: Container[int], path: str, *, is_inside: bool, is_exact: bool = False) -> bool:
    """Say whether a prompt named a normal path: itself, a directory around it, or its last parts.

    A name alone is enough where the path is inside of the session's own tree (``is_inside``). With
    ``is_exact`` a directory around it is not enough.
    """
    parts = path.split("/")
    if hash_of(path) in asked or (is_inside and len(parts[-1]) > 1 and hash_of(parts[-1]) in asked):
        return True
    # Not the root or a home: whoever names one of these names nothing.
    least = 3 if parts[0] == "" else 2
    around = range(least, len(parts)) if path[:1] in ("/", "~") and not is_exact else ()
    behind = range(1, len(parts) - 1)
    return any(hash_of("/".join(parts[:end])) in asked for end in around) or any(
        hash_of("/".join(parts[start:])) in asked for start in behind
    )


def is_asked_for(asked: Container[int], features: Iterable[tuple[str, str]]) -> bool:
    """Say whether a prompt named everybody and everything that a call is for, and there is any."""
    aims = [feature for feature in features if feature[0] in AIMS]
    return bool(aims) and all(names(asked, *feature) for feature in aims)


def names_any(asked: Container[int], values: Sequence[str]) -> bool:
    """Say whether a prompt named any of some values, or somebody by whose name one is an address."""
    return any(hash_of(value) in asked or names_person(asked, value) for value in values)


def names_person(asked: Container[int], value: str) -> bool:
    """Say whether a value is an address at which a part of a name stands that a prompt gave.

    "Invite Mark" means ``mark.davies@example.org``, and perhaps ``mark.black@example.org``: a hint, no more.
    A domain is nobody's name.
    """
    mailbox = value.rpartition("@")[0]
    return mailbox != "" and any(hash_of(word) in asked for word in _WORDS.findall(mailbox[:_MAX_WORD]))
