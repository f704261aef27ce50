"""Credentials: which paths, hosts, variables and commands give access to secrets.

Patterns are for whole paths to their end, so that a sentence about keys matches nothing. Left out on purpose:
public keys, certificates and their chains, samples such as ``.env.example``, and directories by themselves
(``holds_store`` is for commands that take them with all that is in them).

Sources: the stores that each program documents; MITRE ATT&CK T1552 and T1555.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

#: PATH_MAX of Linux: nothing longer can be opened.
_MAX_PATH = 4096
#: Longest path whose result is kept.
_MAX_KEPT = 128

_DOTENV = re.compile(
    r"\.env(?!\.(?:example|sample|template|tmpl|dist|defaults?|schema)$)"
    r"(?!.*\.(?:md|rst|html?|[jt]sx?|py|go|rs|rb)$)(?:\.[a-z0-9_*-]+)*\*?",
    re.IGNORECASE,
)

#: Names of files of credentials, wherever they are.
_SECRET_NAMES = re.compile(
    r"id_(?:rsa|dsa|ed25519|ecdsa)(?:_sk)?"
    r"|(?!.*(?:cert|chain|bundle|public|\bca\b)).+\.pem"
    r"|.+\.(?:p12|pfx|jks|keystore|kdbx?|ppk|keychain|keychain-db)"
    r"|(?:.*[._-])?(?:private|server|client|tls|ssl|master)(?:[._-]?key)?\.key"
    r"|\.netrc|_netrc|\.pgpass|\.my\.cnf|\.git-credentials|\.dockercfg|\.vault-token|\.terraformrc"
    r"|\.npmrc|\.yarnrc\.yml|\.pypirc|\.htpasswd|\.s3cfg|\.boto|rclone\.conf"
    r"|\.?credentials\.json|client_secret.*\.json|service[_-]?account.*\.json"
    r"|logins\.json|key[34]\.db|cookies\.sqlite|signons\.sqlite|ntds\.dit",
    re.IGNORECASE,
)
#: What every one of these names has behind its last dot, or is where it has none.
_SECRET_ENDINGS = frozenset(
    {"id_rsa", "id_dsa", "id_ed25519", "id_ecdsa", "id_rsa_sk", "id_dsa_sk", "id_ed25519_sk", "id_ecdsa_sk",
     "pem", "p12", "pfx", "jks", "keystore", "kdb", "kdbx", "ppk", "keychain", "keychain-db", "key", "netrc",
     "_netrc", "pgpass", "cnf", "git-credentials", "dockercfg", "vault-token", "terraformrc", "npmrc", "yml",
     "pypirc", "htpasswd", "s3cfg", "boto", "conf", "json", "db", "sqlite", "dit"}
)  # fmt: skip
#: What is in every path of ``_SECRET_FILE``, looked for first: most paths have none of it.
_SECRET_PLACE = re.compile(
    r"/\.|\A\.|shadow|secrets/|/environ\Z|ssh_host|gcloud|keychains/|keyrings/|kwallet|passw|keytab|copilot/"
    r"|windows/|microsoft/",
    re.IGNORECASE,
)
#: What one of is in every path that ``_SECRET_PLACE`` finds, and in every browser's file, in lower case.
_SECRET_PARTS = (
    "/.", "shadow", "secrets/", "/environ", "ssh_host", "gcloud", "keychains/", "keyrings/", "kwallet",
    "passw", "keytab", "copilot/", "windows/", "microsoft/", "login data", "cookies", "web data",
)  # fmt: skip
#: A name in lower case that begins with none of these parts, and the parts that it can have further on.
_HARMLESS_NAME = re.compile(r"(?!\.|environ)[a-z0-9_.+@%=,:~#^-]+\Z")
_SECRET_NAME_PART = re.compile(r"s(?:hadow|sh_host)|gcloud|k(?:wallet|eytab)|passw|cookies")
_SECRET_FILE = re.compile(
    r"(?:^|/)(?:"
    # Keys of users and machines.
    r"\.ssh/(?!known_hosts|authorized_keys|config$|environment$|rc$|[^/]*\.pub$)[^/\s]+"
    r"|etc/ssh/ssh_host_[a-z0-9]+_key"
    r"|\.gnupg/(?:private-keys-v1\.d/[^/]+|secring\.gpg)"
    r"|\.config/sops/age/keys\.txt"
    # Accounts of the system.
    r"|etc/g?shadow-?|etc/(?:master\.passwd|security/passwd|krb5\.keytab)"
    r"|windows/(?:system32/config|repair)/(?:sam|security|system)"
    # What programs keep for their users.
    r"|\.aws/credentials|\.aws/(?:sso|cli)/cache/[^/]+\.json"
    r"|\.?(?:config/)?gcloud/(?:application_default_credentials\.json|credentials\.db|access_tokens\.db"
    r"|legacy_credentials/.+)"
    r"|\.azure/(?:accesstokens\.json|msal_token_cache\.(?:json|bin)|service_principal_entries\.(?:json|bin))"
    r"|\.docker/config\.json|\.kube/config|run/secrets/.+"
    r"|\.config/git/credentials|\.gem/credentials|\.cargo/credentials(?:\.toml)?"
    r"|\.terraform\.d/credentials\.tfrc\.json"
    r"|\.config/gh/hosts\.yml|\.config/hub|github-copilot/(?:hosts|apps)\.json"
    r"|\.claude/\.credentials\.json|\.codex/auth\.json|\.gemini/oauth_creds\.json"
    r"|\.password-store/.+\.gpg"
    # Keyrings, the memory of processes.
    r"|library/keychains/.+|\.local/share/keyrings/.+|kwalletd?/.+\.kwl"
    r"|appdata/(?:roaming|local)/microsoft/(?:credentials|protect|vault)/.+"
    r"|proc/[^/\s]+/environ"
    r")\Z",
    re.IGNORECASE,
)

_BROWSER_FILES = frozenset({"login data", "cookies", "web data"})
_BROWSER = re.compile(r"chrome|chromium|brave|edge|opera|vivaldi|user data", re.IGNORECASE)
#: A path whose first part has a blank inside begins with a sentence.
_PROSE = re.compile(r"[^/\s]+\s")

_UNTIDY = re.compile(r"\A\s|\s\Z|\\|//|/\.{0,2}\Z|\A\.{1,2}(?:/|\Z)|/\.{1,2}/")

_STORE = re.compile(
    r"(?:^|/)\.(?:ssh|aws|gnupg|kube|azure|password-store|config/gcloud)(?:/\*)?\Z|(?:^|/)etc/shadow\*?\Z",
    re.IGNORECASE,
)

#: Services that hand credentials of the machine to whoever asks, in every way to write their address.
METADATA_HOSTS = frozenset(
    {
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0xa9.0xfe.0xa9.0xfe",
        "0251.0376.0251.0376",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "fd00:ec2::254",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "metadata.google.internal",
        "metadata.goog",
        "instance-data",
        "instance-data.ec2.internal",
    }
)

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|SECRET_KEY|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_KEY(?:_ID)?|PRIVATE_KEY"
    r"|CREDENTIALS?|AUTH_KEY|SIGNING_KEY|ENCRYPTION_KEY|CONNECTION_STRING|PAT)(?:_|\d*$)",
    re.IGNORECASE,
)
#: What a pattern looks for that is after secrets.
_SECRET_PATTERN = re.compile(
    r"token|secret|passw|api.?key|access.?key|private.?key|credential|(?<![a-z])(?:key|pass|pat)s?(?![a-z])",
    re.IGNORECASE,
)

#: Commands that print a secret, by the beginning of their words without options.
REVEALING: dict[str, tuple[tuple[str, ...], ...]] = {
    "security": (("find-generic-password",), ("find-internet-password",), ("dump-keychain",), ("export",)),
    "gh": (("auth", "token"),),
    "glab": (("auth", "token"),),
    "aws": (
        ("configure", "get"),
        ("configure", "export-credentials"),
        ("sts", "get-session-token"),
        ("sts", "get-federation-token"),
        ("sts", "assume-role"),
        ("secretsmanager", "get-secret-value"),
        ("secretsmanager", "batch-get-secret-value"),
        ("ecr", "get-login-password"),
        ("iam", "create-access-key"),
        ("eks", "get-token"),
    ),
    "gcloud": (
        ("auth", "print-access-token"),
        ("auth", "print-identity-token"),
        ("auth", "application-default", "print-access-token"),
        ("secrets", "versions", "access"),
        ("iam", "service-accounts", "keys", "create"),
    ),
    "az": (
        ("account", "get-access-token"),
        ("keyvault", "secret", "show"),
        ("keyvault", "secret", "download"),
        ("ad", "sp", "create-for-rbac"),
        ("storage", "account", "keys"),
        ("acr", "credential"),
    ),
    "kubectl": (("get", "secret"), ("get", "secrets"), ("create", "token")),
    "oc": (("get", "secret"), ("get", "secrets"), ("whoami", "-t"), ("create", "token")),
    "pass": (("show",), ("ls",), ("grep",)),
    "gopass": (("show",),),
    "op": (("read",), ("item", "get"), ("document", "get"), ("inject",)),
    "bw": (("get",), ("list",), ("export",)),
    "lpass": (("show",), ("export",)),
    "vault": (("read",), ("kv", "get"), ("print", "token"), ("token", "create")),
    "doppler": (("secrets",),),
    "infisical": (("secrets",), ("export",)),
    "sops": (("decrypt",), ("exec-env",)),
    "ansible-vault": (("view",), ("decrypt",)),
    "vercel": (("env", "pull"),),
    "heroku": (("auth:token",), ("config:get",), ("config",)),
    "npm": (("token",),),
    "git-credential-osxkeychain": (("get",),),
    "git-credential-store": (("get",),),
    "git-credential-manager": (("get",),),
    "secret-tool": (("lookup",), ("search",)),
    "keyring": (("get",),),
    "kwallet-query": ((),),
    "getent": (("shadow",), ("gshadow",)),
    "cmdkey": (("/list",),),
    "vaultcmd": (("/listcreds",),),
    "mimikatz": ((),),
    "get-credential": ((),),
    "unshadow": ((),),
}


def holds_credentials(path: str) -> bool:
    """Say whether a path, however it is spelled, leads to a file of credentials."""
    return len(path) <= _MAX_PATH and is_secret(normal_path(path))


def is_harmless(path: str) -> bool:
    """Say at a glance that a path is normal, printable ASCII and leads to no file of credentials.

    False says nothing: it is to be looked at closely. Paths that never come again have few directories.
    """
    place = path.rfind("/") + 1
    if not 0 < place <= _MAX_KEPT or not path.isascii() or not _is_harmless_in(path[:place]):
        return False
    name = path[place:].lower()
    return (
        _HARMLESS_NAME.match(name) is not None
        and name.rpartition(".")[2] not in _SECRET_ENDINGS
        and _SECRET_NAME_PART.search(name) is None
    )


@lru_cache(1024)
def _is_harmless_in(directory: str) -> bool:
    """Say whether a name of a usual form can be no secret in a directory, given with its slash."""
    path = f"{directory}x"
    return (
        path.isprintable()
        and directory != "/dev/"
        and normal_path(path) == path
        and not _may_be_secret(path, "x")
    )


def is_secret(normal: str) -> bool:
    """Say whether a normal path (see ``normal_path``) leads to a file of credentials."""
    # Agents read the same files again and again; what nobody has as a path must not fill the cache.
    return _is_secret_kept(normal) if len(normal) <= _MAX_KEPT else _is_secret(normal)


def _is_secret(normal: str) -> bool:
    name = normal.rpartition("/")[2]
    if normal.isascii() and not _may_be_secret(normal, name):
        return False
    if len(normal) > _MAX_PATH or _PROSE.match(normal):
        return False
    if " " not in name and _SECRET_NAMES.fullmatch(name) is not None:
        return True
    if _SECRET_PLACE.search(normal) is not None and (
        _DOTENV.fullmatch(name) is not None or _SECRET_FILE.search(normal) is not None
    ):
        return True
    return name.lower() in _BROWSER_FILES and _BROWSER.search(normal) is not None


def _may_be_secret(normal: str, name: str) -> bool:
    """Say whether a path in ASCII has the ending or the place of any secret: most have neither."""
    lower = normal.lower()
    return (
        name.rpartition(".")[2].lower() in _SECRET_ENDINGS
        or lower[:1] == "."
        or any(map(lower.__contains__, _SECRET_PARTS))
    )


_is_secret_kept = lru_cache(2048)(_is_secret)


def is_dotenv(normal: str) -> bool:
    """Say whether a normal path is that of a ``.env`` file: set up by writing it, which shows nothing."""
    return _DOTENV.fullmatch(normal.rpartition("/")[2]) is not None


def holds_store(normal: str) -> bool:
    """Say whether a normal path is a directory whose files hold credentials."""
    return _STORE.search(normal) is not None


def is_metadata_host(host: str) -> bool:
    """Say whether a host hands out the machine's credentials."""
    return host in METADATA_HOSTS


def is_secret_name(name: str) -> bool:
    """Say whether a variable of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


def seeks_secrets(pattern: str) -> bool:
    """Say whether a pattern over environment variables is after secrets."""
    return _SECRET_PATTERN.search(pattern) is not None


def may_hold_secrets(directory: str) -> bool:
    """Say whether it can matter for credentials that a relative path is meant in a directory."""
    # An agent runs most of its commands in one directory.
    return (_may_hold_kept if len(directory) <= _MAX_KEPT else _may_hold)(directory)


def _may_hold(directory: str) -> bool:
    return _SECRET_PLACE.search(directory) is not None or "etc" in directory or "proc" in directory


_may_hold_kept = lru_cache(512)(_may_hold)


def reveals(verb: str, operands: Iterable[str]) -> bool:
    """Say whether a command prints a secret: ``operands`` are its words without options."""
    heads = REVEALING.get(verb)
    if heads is None:
        return False
    words = tuple(operands)
    return any(words[: len(head)] == head for head in heads)


def normal_path(path: str) -> str:
    """Return a path without dots, doubled and trailing slashes, blanks around it, or backslashes."""
    if (
        "/." not in path
        and "//" not in path
        and "\\" not in path
        and path[-1:] != "/"
        and path[:1] != "."
        and not path[:1].isspace()
        and not path[-1:].isspace()
    ) or _UNTIDY.search(path) is None:
        return path
    path = path.strip().replace("\\", "/")
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return ("/" if path[:1] == "/" else "") + "/".join(parts)
