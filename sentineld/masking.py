"""Masking: secrets in text that is shown to people or kept as evidence are replaced by ``***``.

What is masked: keys and tokens whose makers gave them a recognisable form, private keys, passwords in URLs
and in options or assignments whose name says so, and authorisation headers. Telling a secret from other
random text is a guess; long random words in themselves are left alone, because hashes and ids are what
evidence consists of. Linear in the length of the text: no expression here can backtrack over more than one
word.
"""

import re

MASK = "***"

#: Names of options, members and variables whose value is a secret.
_NAME = (
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|auth[-_]?token"
    r"|client[-_]?secret|credentials?|session[-_]?key|signing[-_]?key|encryption[-_]?key)"
)

_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, flags), replacement)
    for pattern, flags, replacement in (
        # PEM, also cut in the middle.
        (
            r"-----BEGIN ([A-Z ]{0,32})PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,32}PRIVATE KEY-----)?",
            0,
            r"-----BEGIN \1PRIVATE KEY----- " + MASK,
        ),
        # Makers' own forms: AWS, GitHub, GitLab, Slack, Stripe, Google, OpenAI and Anthropic, npm, PyPI, JWT.
        (r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}", 0, MASK),
        (r"\b(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{16,}", 0, MASK),
        (r"\bgl(?:pat|dt|rt|ptt)-[A-Za-z0-9_-]{16,}", 0, MASK),
        (r"\bxox[abprse]-[A-Za-z0-9-]{8,}", 0, MASK),
        (r"\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{8,}", 0, MASK),
        (r"\bAIza[A-Za-z0-9_-]{30,}", 0, MASK),
        (r"\bsk-[A-Za-z0-9_-]{16,}", 0, MASK),
        (r"\b(?:npm_|pypi-)[A-Za-z0-9_-]{20,}", 0, MASK),
        (r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]*", 0, MASK),
        (r"hooks\.slack\.com/services/[A-Za-z0-9/]+", 0, "hooks.slack.com/services/" + MASK),
        # scheme://user:password@host
        (r"(?<=://)([^\s/:@\"']{0,256}):[^\s/@\"']{1,256}@", 0, r"\1:" + MASK + "@"),
        (r"\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE, r"\1 " + MASK),
        (r"(?<![\w-])(-u\s*|--user[ =])([^\s:\"']{1,128}):[^\s\"']{1,256}", 0, r"\1\2:" + MASK),
        # --password x, PASSWORD=x, "password": "x"
        (
            (
                rf"((?<![A-Za-z0-9])(?:[A-Za-z0-9]{{1,32}}[-_]){{0,4}}{_NAME}(?:[-_][A-Za-z0-9]{{1,16}})?"
                r"[\"']?\s{0,4}[=:]\s{0,4})(?!\$|\s)(?:\"[^\"]{1,4096}\"?|'[^']{1,4096}'?|[^\s\"'&;,|}]{1,4096})"
            ),
            re.IGNORECASE,
            r"\1" + MASK,
        ),
        (
            rf"(--(?:[a-z0-9]{{1,32}}-){{0,4}}{_NAME}\s+)(?!-|\$)(?:\"[^\"]{{1,4096}}\"?|'[^']{{1,4096}}'?|[^\s\"']{{1,4096}})",
            re.IGNORECASE,
            r"\1" + MASK,
        ),
    )
)


#: In lower case: every ASCII text that one of the rules changes has one of these, most others have none.
_NEEDLES = (
    "akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-",
    "gldt-", "glrt-", "glptt-", "xox", "_live_", "_test_", "aiza", "sk-", "npm_", "pypi-", "eyj",
    "hooks.slack.com/", "://", "bearer", "basic", "-u", "pass", "pwd", "secret", "token", "key", "credential",
)  # fmt: skip


def mask(text: str) -> str:
    """Return a text with its secrets replaced; what stands around them stays."""
    if text.isascii():
        lower = text.lower()
        if not any([needle in lower for needle in _NEEDLES]):  # noqa: C419 (a list is faster)
            return text
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text
