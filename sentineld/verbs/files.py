"""Files: verbs that read, write, make and delete files."""

import re
from collections.abc import Sequence

from sentineld.entities import Findings
from sentineld.shell import Command, expand_braces
from sentineld.verbs.line import CREATE, DELETE, NEUTRAL, READ, WRITE, Invocation, Judge, dump
from sentineld.verbs.options import split


def read(found: Findings, path: str, *, is_secret_shown: bool = True) -> int:
    """Note that a file is read; return READ, or NEUTRAL where it is none."""
    return READ if found.reads(path, is_secret_shown=is_secret_shown) else NEUTRAL


def read_each(found: Findings, paths: Sequence[str], *, is_secret_shown: bool = True) -> int:
    """Note that files are read, alternatives in braces among them."""
    rank = NEUTRAL
    for path in paths:
        for each in expand_braces(path) if "{" in path else (path,):
            if found.reads(each, is_secret_shown=is_secret_shown):
                rank = READ
    return rank


def reader(verb: str, *, implied: bool = False, names_only: bool = False, skip: int = 0) -> Judge:
    """Make a judge of a verb that reads its operands behind the first ``skip``.

    ``implied``: without operands it reads the current directory. ``names_only``: it does not show content.
    """

    def judge(run: Invocation) -> int:
        run.saw()
        operands, options = split(verb, run.words[1:])
        left = skip
        if skip:
            for option, value in options:
                if option in ("-e", "--regexp", "--expression", "--files"):
                    left = 0
                elif option in ("-f", "--file", "--from-file"):
                    left = 0
                    read(run.found, value)
        rank = read_each(run.found, operands[left:], is_secret_shown=not names_only)
        if rank == NEUTRAL and (implied or _is_recursive(options)) and not run.command.piped:
            rank = READ
        if not names_only and len(operands) > left and _is_recursive(options):
            for operand in operands[left:]:
                run.found.reads_tree(operand)
        if verb == "sort":
            for option, value in options:
                if option in ("-o", "--output") and run.found.writes(value):
                    rank = WRITE
        return rank

    return judge


_RECURSIVE = frozenset({"-r", "-R", "--recursive", "-Recurse", "--files"})


def _is_recursive(options: Sequence[tuple[str, str]]) -> bool:
    return bool(options) and any(name in _RECURSIVE for name, _ in options)


def sed(run: Invocation) -> int:
    """Judge ``sed``: with ``-i`` it writes."""
    run.saw()
    if any(
        word[:2] == "-i"
        or word[:10] == "--in-place"
        or (word[:1] == "-" and word[1:3] in ("Ei", "ni", "ri", "zi"))
        for word in run.words[1:]
    ):
        operands, options = split("sed", [w for w in run.words[1:] if w != ""])
        scripted = any(name in ("-e", "-f", "--expression", "--file") for name, _ in options)
        for path in operands if scripted else operands[1:]:
            run.found.writes(path)
        return WRITE
    operands, options = split("sed", run.words[1:])
    scripted = any(name in ("-e", "-f", "--expression", "--file") for name, _ in options)
    return read_each(run.found, operands if scripted else operands[1:])


_FIND_RUNS = frozenset({"-exec", "-execdir", "-ok", "-okdir"})


def find(run: Invocation) -> int:
    """Judge ``find``, with what it runs and deletes."""
    run.saw()
    rank = READ
    paths: list[str] = []
    number = 1
    while number < len(run.words) and (
        run.words[number][:1] not in ("-", "!", "(") or run.words[number] in ("-L", "-H", "-P")
    ):
        if run.words[number][:1] != "-":
            paths.append(run.words[number])
        number += 1
    read_each(run.found, paths, is_secret_shown=False)
    name = ""
    while number < len(run.words):
        word = run.words[number]
        if word in ("-name", "-iname", "-path", "-wholename") and number + 1 < len(run.words):
            name = run.words[number + 1].replace("*", "x")
            number += 1
        elif word == "-delete":
            for path in paths:
                run.found.changes(path)
            rank = max(rank, DELETE)
        elif word in ("-fprint", "-fprintf", "-fls") and number + 1 < len(run.words):
            run.found.writes(run.words[number + 1])
            rank = max(rank, WRITE)
        elif word in _FIND_RUNS:
            end = number + 1
            while end < len(run.words) and run.words[end] not in (";", "+"):
                end += 1
            inner = list(run.words[number + 1 : end])
            if inner:
                at = name if name and run.found.is_secret(name) else (paths[0] if paths else ".")
                rank = max(rank, run.line.command(Command([at if word == "{}" else word for word in inner])))
            number = end
        number += 1
    return rank


def fd(run: Invocation) -> int:
    """Judge ``fd``, with what it runs."""
    for number, word in enumerate(run.words):
        if word in ("-x", "-X", "--exec", "--exec-batch"):
            rank = _NAMES(run.of(run.words[:number]))
            return (
                max(rank, run.line.command(Command(list(run.words[number + 1 :]))))
                if number + 1 < len(run.words)
                else rank
            )
    return _NAMES(run)


def tar(run: Invocation) -> int:
    """Judge ``tar`` by its mode."""
    run.saw()
    mode = run.words[1] if len(run.words) > 1 else ""
    rest = list(run.words[1:])
    if mode and mode[0] != "-":
        rest[0] = f"-{mode}"
    operands, options = split("tar", rest)
    names = {name for name, _ in options}
    archive = next((value for name, value in options if name in ("-f", "--file")), "")
    if "-c" in names or "-r" in names or "-u" in names or "--create" in names:
        for path in operands:
            run.found.reads_tree(path)
        return CREATE if run.found.writes(archive) else READ
    if "-x" in names or "--extract" in names or "--get" in names:
        read(run.found, archive)
        target = next((value for name, value in options if name in ("-C", "--directory")), "")
        run.found.writes(target)
        return CREATE
    return read(run.found, archive) or (READ if not run.command.piped else NEUTRAL)


def archive(run: Invocation) -> int:
    """Judge ``zip``, ``7z`` and ``rar``."""
    run.saw()
    operands, _ = split("zip", run.words[1:])
    if run.verb in ("7z", "7za", "rar"):
        is_adding = operands[:1] in (["a"], ["u"])
        operands = operands[1:]
        if not is_adding:
            read_each(run.found, operands[:1])
            return CREATE
    for path in operands[1:]:
        run.found.reads_tree(path)
    return CREATE if operands and run.found.writes(operands[0]) else READ


def unzip(run: Invocation) -> int:
    """Judge ``unzip``: it lists or unpacks."""
    run.saw()
    operands, options = split("unzip", run.words[1:])
    read_each(run.found, operands[:1])
    return READ if {name for name, _ in options} & {"-l", "-p", "-v", "-t", "-Z"} else CREATE


def compress(run: Invocation) -> int:
    """Judge ``gzip`` and its like: with ``-c`` they show."""
    run.saw()
    operands, options = split(run.verb, run.words[1:])
    rank = read_each(run.found, operands)
    is_shown = any(name in ("-c", "--stdout", "-l", "-t", "--list") for name, _ in options)
    return rank if is_shown or not operands else WRITE


def writer(rank: int, *, skip: int = 0) -> Judge:
    """Make a judge of a verb that makes or changes its operands behind the first ``skip``."""

    def judge(run: Invocation) -> int:
        run.saw()
        operands, _ = split(run.verb, run.words[1:])
        is_any = False
        for path in operands[skip:]:
            is_any |= run.found.writes(path)
        return rank if is_any or not operands or rank == CREATE else NEUTRAL

    return judge


def attributes(run: Invocation) -> int:
    """Judge what changes rights and owners."""
    # Rights and owners change; content is neither shown nor written.
    run.saw()
    operands, _ = split(run.verb, run.words[1:])
    for path in operands[1:]:
        run.found.changes(path)
    return WRITE


def delete(run: Invocation) -> int:
    """Judge ``rm`` and its like."""
    run.saw()
    operands, _ = split("rm", run.words[1:])
    for path in operands:
        if not _SWITCH.match(path):
            run.found.changes(path)
    return DELETE


_SWITCH = re.compile(r"/[A-Za-z?]{1,3}(?::.*)?\Z")


def copy(run: Invocation) -> int:
    """Judge ``cp``, ``mv``, ``ln`` and their like."""
    run.saw()
    operands, options = split("cp", run.words[1:])
    operands = [path for path in operands if not _SWITCH.match(path)]
    target = next((value for name, value in options if name in ("-t", "--target-directory")), "")
    if not target and len(operands) > 1:
        target = operands.pop()
    for path in operands:
        if run.verb == "ln":
            run.found.reads(path)
        else:
            run.found.reads_tree(path)
    run.found.writes(target)
    return CREATE if run.verb in ("ln", "mklink") else WRITE


def keygen(run: Invocation) -> int:
    """Judge ``ssh-keygen``, which makes keys and shows none."""
    run.saw()
    _, options = split("ssh-keygen", run.words[1:])
    for name, value in options:
        if name == "-f":
            run.found.changes(value)
    return CREATE


def dd(run: Invocation) -> int:
    """Judge ``dd``."""
    run.saw()
    rank = NEUTRAL
    for word in run.words[1:]:
        name, _, value = word.partition("=")
        if name == "if":
            rank = max(rank, read(run.found, value))
        elif name == "of" and run.found.writes(value):
            rank = WRITE
    return rank


_PATCHED = re.compile(
    r"^\*\*\* (Add|Update|Delete) File: (.{1,4096})$|^\*\*\* Move to: (.{1,4096})$", re.MULTILINE
)


def patch_rank(text: str, found: Findings) -> int:
    """Judge a patch as ``apply_patch`` takes it: what it adds, changes and deletes."""
    rank = NEUTRAL
    for number, part in enumerate(_PATCHED.finditer(text)):
        if number >= 1024:
            # The worst of what is left.
            return DELETE if "\n*** Delete File: " in text else max(rank, WRITE)
        path = (part[2] or part[3]).strip()
        if part[1] == "Delete":
            found.changes(path)
            rank = max(rank, DELETE)
        else:
            found.writes(path)
            rank = max(rank, CREATE if part[1] == "Add" else WRITE)
    return rank or WRITE


def show_or_tell(run: Invocation) -> int:
    """Judge ``type``."""
    # A shell tells what a name means; cmd.exe and PowerShell show a file.
    if any("/" in word or "." in word for word in run.words[1:]):
        return reader("cat")(run)
    run.saw()
    return NEUTRAL


def apply_patch(run: Invocation) -> int:
    """Judge ``apply_patch``."""
    run.saw()
    return patch_rank(run.words[1] if len(run.words) > 1 else run.command.stdin, run.found)


def patch(run: Invocation) -> int:
    """Judge ``patch``."""
    run.saw()
    operands, options = split("patch", run.words[1:])
    for name, value in options:
        if name in ("-i", "--input"):
            read(run.found, value)
    for path in operands[:1]:
        run.found.writes(path)
    return WRITE


def editor(run: Invocation) -> int:
    """Judge an editor: it is opened to write."""
    run.saw()
    operands, _ = split(run.verb, run.words[1:])
    for path in operands:
        run.found.writes(path)
    return WRITE


def crontab(run: Invocation) -> int:
    """Judge ``crontab``."""
    run.saw()
    return READ if "-l" in run.words else WRITE


def directory(run: Invocation) -> int:
    """Judge ``dir`` and ``Get-ChildItem``."""
    # PowerShell lists drives of all kinds; one of them is the environment.
    if any(word.lower().rstrip("/*") == "env:" for word in run.words[1:]):
        dump(run)
    return _LISTING(run.of([word for word in run.words if not _SWITCH.match(word)]))


_NAMES = reader("fd", implied=True, names_only=True, skip=1)
_LISTING = reader("ls", implied=True, names_only=True)
