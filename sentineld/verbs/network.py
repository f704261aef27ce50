"""Network: verbs that reach hosts, services, databases and recipients."""

import re

from sentineld.entities import Findings, has_url
from sentineld.shell import Command
from sentineld.verbs.line import MAX_VERB, NETWORK, READ, RUN, WRITE, Invocation, Judge
from sentineld.verbs.options import names, split, unwrapped


def reach(found: Findings, word: str, role: str) -> None:
    """Note a host that a word names; a word with a substitution in it carries data there."""
    if not _is_switch(word):
        found.reaches(word, "sink" if "$(" in word else role)


def _is_switch(word: str) -> bool:
    return word[:1] == "-" or not word


_BODY = names(
    "-d --data --data-binary --data-raw --data-ascii --data-urlencode --json -F --form --form-string -T"
    " --upload-file"
)


def curl(run: Invocation) -> int:
    """Judge ``curl``: what it sends, where to, and what it reads for that."""
    run.saw()
    operands, options = split("curl", run.words[1:])
    role = "source"
    for name, value in options:
        if name in _BODY:
            role = "sink"
            if name in ("-T", "--upload-file"):
                run.found.reads_tree(value)
            elif "@" in value and name not in ("--data-raw", "--form-string"):
                at = value.partition("@" if name not in ("-F", "--form") else "=@")[2]
                if value[0] == "@" or name in ("-F", "--form", "--data-urlencode"):
                    run.found.reads(at.partition(";")[0])
        elif name in ("-X", "--request"):
            if value.upper() not in ("GET", "HEAD", "OPTIONS", ""):
                role = "sink"
        elif name in ("-o", "--output", "-D", "--dump-header", "-c", "--cookie-jar"):
            run.found.writes(value)
        elif name in ("-K", "--config", "-b", "--cookie"):
            if name in ("-K", "--config") or "=" not in value:
                run.found.reads(value, is_secret_shown=False)
        elif name == "--url":
            operands.append(value)
        elif (
            name in ("-H", "--header", "-u", "--user", "-A", "--user-agent", "-e", "--referer")
            and "$(" in value
        ):
            role = "sink"
    if any(name in ("-G", "--get") for name, _ in options) and role == "sink":
        role = "sink"
    for operand in operands:
        reach(run.found, operand, role)
    return NETWORK


def wget(run: Invocation) -> int:
    """Judge ``wget``."""
    run.saw()
    operands, options = split("wget", run.words[1:])
    role = "source"
    for name, value in options:
        if name in ("--post-data", "--body-data"):
            role = "sink"
        elif name in ("--post-file", "--body-file"):
            role = "sink"
            run.found.reads(value)
        elif name in ("-O", "--output-document", "-o", "--output-file", "-P", "--directory-prefix"):
            run.found.writes(value)
        elif name in ("-i", "--input-file"):
            run.found.reads(value)
        elif name == "--method" and value.upper() not in ("GET", "HEAD"):
            role = "sink"
    for operand in operands:
        reach(run.found, operand, role)
    return NETWORK


def httpie(run: Invocation) -> int:
    """Judge HTTPie."""
    run.saw()
    operands, _ = split(run.verb, run.words[1:])
    method = operands[0] if operands else ""
    is_method = method.isalpha() and method.isupper()
    rest = operands[1:] if is_method else operands
    is_sending = (is_method and method not in ("GET", "HEAD", "OPTIONS")) or run.command.piped
    for item in rest[1:]:
        if "@" in item:
            run.found.reads(item.rpartition("@")[2])
            is_sending = True
        elif ("=" in item and "==" not in item) or ":=" in item:
            is_sending = is_sending or not is_method
    for url in rest[:1]:
        reach(run.found, url, "sink" if is_sending else "source")
    return NETWORK


def netcat(run: Invocation) -> int:
    """Judge ``nc``: a sink when something is fed to it."""
    run.saw()
    operands, options = split("nc", run.words[1:])
    names = {name for name, _ in options}
    if "-z" in names:
        role = "source"
    else:
        is_fed = (
            run.command.piped
            or run.command.stdin
            or any(operator[0] == "<" for operator, _ in run.command.redirects)
        )
        role = "sink" if is_fed or names & {"-e", "-c", "-l"} else "source"
    if "-l" not in names:
        for host in operands[:1]:
            reach(run.found, host, role)
    return NETWORK


def socat(run: Invocation) -> int:
    """Judge ``socat``."""
    run.saw()
    for word in run.words[1:]:
        kind, _, rest = word.partition(":")
        if kind.upper().startswith(("TCP", "UDP", "OPENSSL", "SSL", "PROXY", "SOCKS")) and rest:
            run.found.reaches(rest.partition(",")[0], "sink")
        elif kind.upper() in ("FILE", "OPEN") and rest:
            run.found.reads(rest.partition(",")[0])
        elif kind.upper() in ("EXEC", "SYSTEM") and rest:
            run.line.text(rest.partition(",")[0])
    return NETWORK


def ssh(run: Invocation) -> int:
    """Judge ``ssh``, and what it runs there for secrets."""
    run.saw()
    start = unwrapped("ssh", run.words)
    if start < len(run.words):
        is_fed = (
            run.command.piped
            or run.command.stdin
            or any(operator[0] == "<" for operator, _ in run.command.redirects)
        )
        is_tunnel = any(word[:2] in ("-R", "-L", "-D", "-w") for word in run.words[1:start])
        reach(run.found, run.words[start], "sink" if is_fed or is_tunnel else "source")
        # What runs there touches files of that host, not of this one; its secrets are secrets all the same.
        if start + 1 < len(run.words):
            there = Findings(run.found.is_secret_path)
            run.line.elsewhere(there).text(" ".join(run.words[start + 1 :]))
            run.found.has_credentials |= there.has_credentials
    return NETWORK


REMOTE = re.compile(r"(?:[^\s/@:]{1,128}@)?(\[[0-9A-Fa-f:.]+\]|[^\s/:]{2,255}):(?!//)")


def scp(run: Invocation) -> int:
    """Judge ``scp``, ``rsync`` and ``sftp``: the last operand is where data goes."""
    run.saw()
    operands, _ = split(run.verb, run.words[1:])
    is_remote = [REMOTE.match(path) is not None or has_url(path) for path in operands]
    if run.verb == "sftp":
        for host in operands[:1]:
            reach(
                run.found,
                host.partition(":")[0],
                "sink" if run.command.piped or run.command.redirects else "source",
            )
        return NETWORK
    for number, path in enumerate(operands):
        is_target = number == len(operands) - 1 and number > 0
        remote = REMOTE.match(path)
        if remote is not None:
            run.found.reaches_host(remote[1], "sink" if is_target else "source")
        elif is_remote[number]:
            run.found.reaches(path, "sink" if is_target else "source")
        elif is_target:
            run.found.writes(path)
        else:
            run.found.reads_tree(path)
    return NETWORK if any(is_remote) or run.verb == "scp" else WRITE


def hosts(role: str, *, count: int = 1) -> Judge:
    """Make a judge of a verb whose first operands are hosts or URLs."""

    def judge(run: Invocation) -> int:
        run.saw()
        operands, options = split(run.verb, run.words[1:])
        for word in operands[:count]:
            reach(run.found, word.lstrip("@"), role)
        for _, value in options:
            if has_url(value):
                reach(run.found, value, role)
        return NETWORK

    return judge


def open_url(run: Invocation) -> int:
    """Judge ``open``: a URL goes to a browser."""
    run.saw()
    rank = RUN
    for word in run.words[1:]:
        if has_url(word) and run.found.reaches(word, "sink" if "$(" in word else "source"):
            rank = NETWORK
    return rank


def mail(run: Invocation) -> int:
    """Judge what sends mail."""
    run.saw()
    values = iter(run.words[1:])
    for word in values:
        if word in ("-a", "-A", "--attach", "--attachment"):
            run.found.reads(next(values, ""))
        elif word in ("-s", "-S", "-f", "-F", "--subject", "--body", "-r"):
            next(values, "")
        elif "@" in word and word[:1] != "@":
            run.found.sends_to(word)
    return NETWORK


def openssl(run: Invocation) -> int:
    """Judge ``openssl`` by its subcommand."""
    first = run.words[1] if len(run.words) > 1 else ""
    run.saw(f"openssl {first}".strip()[:MAX_VERB])
    rank = RUN
    for number, word in enumerate(run.words[:-1]):
        value = run.words[number + 1]
        if word == "-connect":
            reach(run.found, value, "sink" if run.command.piped or run.command.redirects else "source")
            rank = NETWORK
        elif word == "-in":
            shows = first not in ("x509", "verify", "req", "crl", "dgst", "s_client")
            if run.found.reads(value, is_secret_shown=shows):
                rank = max(rank, READ)
        elif word in ("-out", "-keyout") and run.found.writes(value):
            rank = max(rank, WRITE)
    return rank


_ASKS = names(
    "view list status diff checks browse search watch download clone ls get describe show cat logs log"
    " events top explain version whoami info api-resources cluster-info help history verify"
)


def service(host: str) -> Judge:
    """Make a judge of a service's client; what its subcommand asks for tells source from sink."""

    def judge(run: Invocation) -> int:
        operands, options = split(run.verb, run.words[1:])
        run.saw(" ".join([run.verb, *operands[:1]])[:MAX_VERB])
        names = {name for name, _ in options}
        is_asking = any(
            word in _ASKS or word.startswith(("describe-", "get-", "list-")) for word in operands[:3]
        )
        if operands[:1] == ["api"]:
            method = next((value for name, value in options if name in ("-X", "--method")), "")
            method = method or next(
                (run.words[n + 1] for n, w in enumerate(run.words[:-1]) if w in ("-X", "--method")), ""
            )
            is_fields = bool(names & {"-f", "-F", "--field", "--raw-field", "--input"})
            is_asking = method.upper() == "GET" or (not method and not is_fields)
        role = "source" if is_asking else "sink"
        for number, word in enumerate(operands):
            if has_url(word):
                is_last = number == len(operands) - 1
                run.found.reaches(word, "sink" if is_last and not is_asking else "source")
        if host:
            run.found.reaches_host(host, role)
        return NETWORK

    return judge


def kubectl(run: Invocation) -> int:
    """Judge ``kubectl``."""
    operands, options = split("kubectl", run.words[1:])
    run.saw(" ".join([run.verb, *operands[:1]])[:MAX_VERB])
    if operands[:2] == ["config", "view"] and "--raw" in run.words:
        run.found.has_credentials = True
    if operands[:1] == ["config"]:
        return RUN
    if operands[:1] == ["exec"] and "--" in run.words:
        there = Findings(run.found.is_secret_path)
        run.line.elsewhere(there).command(Command(list(run.words[run.words.index("--") + 1 :])))
        run.found.has_credentials |= there.has_credentials
    for name, value in options:
        if name in ("-f", "--filename") and not has_url(value):
            run.found.reads(value)
    return NETWORK


_LOCAL = frozenset({"", "localhost", "127.0.0.1", "::1"})


def database(run: Invocation) -> int:
    """Judge a client of a database: on this machine it only runs."""
    run.saw()
    operands, options = split(
        "psql" if run.verb in ("psql", "pg_dump", "pg_restore") else "mysql", run.words[1:]
    )
    rank = RUN
    for word in [*operands, *(value for _, value in options)]:
        if has_url(word):
            before = run.found.reaches(word, "sink")
            rank = NETWORK if before else rank
    for name, value in options:
        if name in ("-h", "--host"):
            if value not in _LOCAL and value[:1] != "/":
                run.found.reaches_host(value, "sink")
                rank = NETWORK
        elif name in ("-f", "--file"):
            run.found.reads(value)
    return rank
