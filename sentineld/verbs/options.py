"""Options: which options of a verb take a value, so that operands can be told from values.

From the manuals of the programs (GNU and BSD, where they differ the more frequent reading).
"""

from collections.abc import Sequence

from sentineld.shell import assigns


def names(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


#: Options that take a value, by verb: single letters, then long ones. The value is no operand.
_VALUED: dict[str, str] = {
    "ack": "A B C m --type",
    "ag": "A B C G m p --ignore --depth",
    "awk": "F v f --field-separator --assign --file",
    "aws": "--profile --region --output --query --endpoint-url",
    "az": "o g n --subscription --output --query",
    "bash": "O --rcfile --init-file",
    "bat": "l r H --language --line-range --style --theme --paging",
    "column": "s t c N o",
    "cp": "t S --target-directory --suffix",
    "curl": (
        "A b c C d D e E F H h I K m o P Q r t T u U w x X y Y z --data --data-binary --data-raw"
        " --data-ascii --data-urlencode --json --form --form-string --upload-file --request --header"
        " --user --user-agent --output --url --proxy --cert --key --cacert --cookie --cookie-jar"
        " --connect-timeout --max-time --retry --retry-delay --write-out --config --referer --resolve"
        " --output-dir --oauth2-bearer --netrc-file --range --limit-rate --retry-max-time --connect-to"
        " --interface --unix-socket --capath --dump-header --stderr --trace --trace-ascii --aws-sigv4"
        " --proto --max-redirs --max-filesize --dns-servers --socks5 --socks5-hostname --proxy-user"
    ),
    "cut": "d f c b --delimiter --fields --characters --output-delimiter",
    "df": "t x",
    "diff": "U C x I L --label --exclude --ignore-matching-lines",
    "doas": "u C",
    "docker": (
        "e u w v p l m --env --user --workdir --env-file --name --network --volume --mount"
        " --entrypoint --detach-keys --host --context -H -f --file --project-name"
    ),
    "du": "d t --max-depth --exclude",
    "env": "u C S --unset --chdir",
    "exec": "a",
    "fd": ("e t d E x X S c j o --extension --type --exclude --exec --exec-batch --max-depth --size --owner"),
    "flock": "w E --timeout",
    "fold": "w",
    "gcloud": "--project --account --configuration --format --filter",
    "gh": "R --repo",
    "git": "C c --git-dir --work-tree --namespace --exec-path",
    "grep": "A B C m e f d D --include --exclude --exclude-dir --regexp --file",
    "head": "n c",
    "hexdump": "e f n s",
    "install": "m o g S",
    "ionice": "c n p",
    "jq": "f L --indent --tab --rawfile --slurpfile",
    "kubectl": (
        "n f o l c --namespace --context --kubeconfig --output --selector --filename --container"
        " --cluster --user"
    ),
    "less": "p j x",
    "ln": "t S",
    "ls": "I w T --ignore --block-size",
    "ltrace": "e o p s",
    "mkdir": "m --mode",
    "mktemp": "p --tmpdir --suffix",
    "mv": "t S --target-directory --suffix",
    "mysql": "h P u D e --host --port --user --database --execute",
    "nc": "e g G i I m M o p P q s T V w X x c",
    "nice": "n --adjustment",
    "nl": "b s w v",
    "node": "r e p c --require --eval --print --import --loader --input-type --env-file --test-reporter",
    "npx": "p --package",
    "oc": "n f o l c --namespace --context --kubeconfig",
    "od": "A j N t w",
    "op": "--account --vault",
    "parallel": "j I N a --jobs",
    "paste": "d",
    "patch": "p i o d B r F --input --directory --output",
    "perl": "I M m e E i F",
    "psql": "h p U d f c o v F R T P L --host --port --username --dbname --file --command --output --set",
    "python": "W X m c Q",
    "rg": (
        "A B C m e f g t T j M d r E --glob --iglob --type --type-not --max-count --regexp --file"
        " --context --after-context --before-context --max-depth --sort --sortr --replace --color"
        " --colors --encoding --pre --max-columns --threads --engine"
    ),
    "rsync": (
        "e f T B M --rsh --exclude --include --filter --files-from --exclude-from --include-from"
        " --port --bwlimit --timeout --chmod --password-file --log-file --out-format --rsync-path"
    ),
    "ruby": "e I r C E",
    "runuser": "u g",
    "scp": "c F i J l o P S X D",
    "sed": "e f l --expression --file",
    "sftp": "b B c F i J l o P R S s",
    "shred": "n s",
    "sort": "k t S T o --key --field-separator --output",
    "split": "b l n a C",
    "ssh": "b c D E e F I i J L l m O o p Q R S W w",
    "stat": "f c t --format --printf",
    "stdbuf": "i o e",
    "strace": "e o p s P u",
    "strings": "n t e",
    "su": "s g",
    "sudo": "u g h p C T U r t D R --user --group --host --prompt --chdir",
    "tail": "n c s --pid",
    "tar": "f C T X I b --file --directory --exclude --transform --strip-components --files-from",
    "time": "f o",
    "timeout": "s k --signal --kill-after",
    "touch": "d r t --date --reference",
    "tree": "L I P o H T --filelimit --charset",
    "truncate": "s r --size --reference",
    "uniq": "f s w",
    "uv": "p --with --python --from --directory --project --extra --group --env-file --index --index-url",
    "uvx": "p --from --with --python",
    "watch": "n --interval",
    "wc": "--files0-from",
    "wget": (
        "O o a i P t T e U Q w B D I X A R l --output-document --output-file --append-output"
        " --input-file --directory-prefix --tries --timeout --user-agent --header --post-data"
        " --post-file --body-data --body-file --method --user --password --load-cookies --save-cookies"
        " --referer --accept --reject --level --ca-certificate --certificate --private-key"
        " --limit-rate --wait --retry-connrefused"
    ),
    "xargs": "I n P L d a E s i l --replace --max-args --max-procs --max-lines --delimiter --arg-file",
    "xxd": "l s c g o",
    "yq": "i p o --input-format --output-format",
    "zip": "x i b t n P",
}

#: Other names of a verb.
_ALIASES: dict[str, str] = {
    "awk": "gawk mawk nawk",
    "bat": "batcat",
    "cp": "gcp",
    "docker": "nerdctl podman",
    "fd": "fdfind",
    "find": "gfind",
    "grep": "egrep fgrep ggrep ugrep zgrep",
    "ls": "exa eza",
    "mv": "gmv",
    "mysql": "mariadb",
    "nc": "ncat netcat",
    "node": "nodejs",
    "npx": "bunx",
    "python": "python3",
    "rg": "ripgrep",
    "rm": "grm",
    "sed": "gsed",
    "ssh": "autossh",
    "tar": "bsdtar gtar",
    "timeout": "gtimeout",
    "uvx": "pipx",
}
ALIAS = {alias: verb for verb, aliases in _ALIASES.items() for alias in aliases.split()}


class _Options:
    """The options of one verb that take a value."""

    __slots__ = ("letters", "names")

    def __init__(self, text: str) -> None:
        parts = text.split()
        self.letters = frozenset(part for part in parts if len(part) == 1)
        self.names = frozenset(part for part in parts if len(part) > 1)


_OPTIONS = {verb: _Options(text) for verb, text in _VALUED.items()}
_NO_OPTIONS = _Options("")


def split(verb: str, words: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the operands and the options (name, value) of a command's words behind its verb."""
    known = _OPTIONS.get(verb, _NO_OPTIONS)
    operands: list[str] = []
    options: list[tuple[str, str]] = []
    count, number = len(words), 0
    while number < count:
        word = words[number]
        number += 1
        if word[:1] != "-" or word == "-":
            operands.append(word)
        elif word == "--":
            operands.extend(words[number:])
            break
        elif word[:2] == "--":
            name, is_joined, value = word.partition("=")
            if not is_joined and name in known.names and number < count:
                value = words[number]
                number += 1
            options.append((name, value))
        else:
            for place in range(1, min(len(word), 32)):
                letter = word[place]
                if letter in known.letters:
                    value = word[place + 1 :]
                    if not value and number < count:
                        value = words[number]
                        number += 1
                    options.append((f"-{letter}", value))
                    break
                options.append((f"-{letter}", ""))
    return operands, options


def unwrapped(verb: str, words: Sequence[str]) -> int:
    """Return where, in a wrapper's words, the wrapped command begins."""
    known = _OPTIONS.get(verb, _NO_OPTIONS)
    number = 1
    while number < len(words):
        word = words[number]
        if word == "--":
            return number + 1
        if word[:1] == "-" and word != "-":
            if (word in known.names and "=" not in word) or (
                len(word) > 1
                and word[1] != "-"
                and word[-1] in known.letters
                and not known.letters & set(word[1:-1])
            ):
                number += 1
        elif not assigns(word):
            return number
        number += 1
    return number
