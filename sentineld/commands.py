"""Commands: what a shell command line does, by its verbs, their operands and its redirects.

The order of the classes, and why, is in ``docs/taxonomy.md``. Wrappers (``sudo``, ``env``, ``xargs``,
``sh -c``, ``docker exec``, ...) are opened.
"""

from collections.abc import Mapping, Sequence

from sentineld.entities import Findings
from sentineld.shell import Command
from sentineld.verbs import files, network, packages, programs, repository
from sentineld.verbs.line import CREATE, CREDENTIAL, MAX_VERBS, WRITE, Judge, Line, class_of
from sentineld.verbs.options import names
from sentineld.verbs.sweep import Sweep

#: Stands as the last verb of a command line that was too much work to be judged command by command.
SWEPT = "(swept)"


class Commands:
    """Judges command lines. ``verbs`` are classes by verb (``deployctl``), or by verb and first operand."""

    def __init__(self, verbs: Mapping[str, str] | None = None) -> None:
        self._classes = {" ".join(verb.lower().split()): name for verb, name in (verbs or {}).items()}
        self._sweep: Sweep | None = None

    def judge(
        self, command: str | Sequence[str], found: Findings, *, is_windows: bool = False
    ) -> tuple[str, tuple[str, ...]]:
        """Return the event class of a command line, and its verbs in order, each once, at most 16.

        ``command`` is text for a shell, or the arguments of one program. What it touches goes into ``found``.
        A line that takes too much work is swept (see ``sentineld.verbs.sweep``): its last verb is ``SWEPT``.
        ``is_windows``: the text is for PowerShell or cmd.exe, whose backslashes are no escapes.
        """
        line = Line(found, _JUDGES, self._classes)
        if isinstance(command, str):
            rank = line.text(command, is_windows=is_windows)
        else:
            rank = line.command(Command(list(command)))
        if line.budget.is_spent:
            line.verbs = dict.fromkeys([*line.verbs][: MAX_VERBS // 2])
            rank = max(rank, self._swept(line, command))
            line.verbs = dict.fromkeys([*[*line.verbs][: MAX_VERBS - 1], SWEPT])
        if found.has_credentials:
            rank = CREDENTIAL
        is_named = line.named is not None and rank <= line.named[0]
        return (line.named[1] if is_named and line.named else class_of(rank)), tuple(line.verbs)

    def _swept(self, line: Line, command: str | Sequence[str]) -> int:
        if self._sweep is None:
            self._sweep = Sweep(_JUDGES, self._classes)
        return self._sweep.rank(line, command if isinstance(command, str) else "\n".join(command))


_SHELLS = names("bash sh zsh dash ksh mksh ash fish")
_AGENTS = names("claude codex gemini copilot opencode aider goose cursor-agent amp qwen droid")


def _table() -> dict[str, Judge]:
    table: dict[str, Judge] = {}

    def put(verbs: str, judge: Judge) -> None:
        for verb in verbs.split():
            table[verb] = judge

    for verb in names(
        "cat less more most bat head tail wc nl tac sort uniq cut column od xxd hexdump strings fold"
        " paste cmp comm diff join expand fmt view pygmentize zcat bzcat xzcat zless iconv base64 base32"
        " cksum md5sum sha1sum sha256sum sha512sum shasum md5 b2sum sum delta difft look pr csvlook"
        " xmllint plutil exiftool pdftotext file mdcat glow get-content gc get-filehash import-csv"
        " sqlite3_analyzer tokei cloc scc"
    ):
        put(verb, files.reader(verb))
    for verb in names("grep rg ag ack jq yq awk ast-grep sg xq gron htmlq select-string sls findstr"):
        put(verb, files.reader(verb, skip=1, implied=verb in ("rg", "ag", "ack", "ast-grep", "sg")))
    for verb in names(
        "ls tree du df stat lsof realpath readlink namei getfacl lsattr test-path get-item resolve-path"
    ):
        put(verb, files.reader(verb, implied=verb in ("ls", "tree", "du", "df"), names_only=True))
    put("dir get-childitem gci vdir", files.directory)
    put("sed", files.sed)
    put("find", files.find)
    put("fd", files.fd)
    put("tar", files.tar)
    put("zip 7z 7za rar", files.archive)
    put("unzip unrar", files.unzip)
    put("gzip gunzip bzip2 bunzip2 xz unxz zstd unzstd lz4 compress", files.compress)
    put("touch mkdir mktemp mkfifo mknod new-item ni md", files.writer(CREATE))
    put(
        "tee truncate sponge set-content add-content out-file sc ac fallocate export-csv", files.writer(WRITE)
    )
    put("chmod chown chgrp setfacl chattr xattr icacls attrib takeown", files.attributes)
    put("rm rmdir unlink shred srm trash trash-put del erase rd remove-item ri wipe", files.delete)
    put(
        "cp mv install ln copy move xcopy robocopy copy-item move-item cpi mi rename ren rename-item"
        " mklink ditto",
        files.copy,
    )
    put("type", files.show_or_tell)
    put("dd", files.dd)
    put("apply_patch applypatch", files.apply_patch)
    put("patch", files.patch)
    put("split csplit", files.reader("split"))
    put("vi vim nvim nano emacs ed ex pico micro code", files.editor)
    put("crontab", files.crontab)
    put("ssh-keygen", files.keygen)
    put("ssh-add ssh-agent ssh-copy-id", programs.runs)
    put(
        "sudo doas nice nohup stdbuf time setsid ionice unbuffer caffeinate builtin exec coproc chrt"
        " strace ltrace watch parallel npx uvx winpty busybox command_not_found noglob nocorrect runuser"
        " setpriv direnv gtime rlwrap firejail bwrap proxychains proxychains4 torsocks faketime"
        " systemd-run",
        programs.wrapper(),
    )
    put("timeout flock chroot taskset nsenter", programs.wrapper(skip=1))
    put("env", programs.env)
    put("printenv", programs.printenv)
    put("command", programs.command_or_lookup)
    put("xargs", programs.xargs)
    put("eval invoke-expression iex", programs.evaluate)
    put(" ".join(_SHELLS), programs.shell)
    put("su", programs.su)
    put("source .", programs.source)
    put("python node ruby php lua osascript Rscript julia pypy ipython tsx ts-node", programs.interpreter)
    put("perl", programs.perl)
    put("powershell pwsh cmd", programs.powershell)
    put(" ".join(_AGENTS), programs.agent)
    put("curl", network.curl)
    put("wget wget2", network.wget)
    put("http https httpie xh curlie", network.httpie)
    put("nc", network.netcat)
    put("socat", network.socat)
    put("ssh mosh", network.ssh)
    put("scp rsync sftp", network.scp)
    put(
        "telnet ftp tftp lftp ncftp ping ping6 nslookup whois traceroute tracepath mtr nmap masscan"
        " rustscan aria2c axel invoke-webrequest iwr invoke-restmethod irm start-bitstransfer"
        " test-netconnection resolve-dnsname w3m lynx links youtube-dl yt-dlp websocat grpcurl wscat ab"
        " wrk hey k6 certutil bitsadmin lwp-request",
        network.hosts("source"),
    )
    put("dig host drill kdig", network.hosts("source", count=4))
    put("ngrok cloudflared localtunnel lt bore frpc tailscale", network.hosts("sink"))
    put("open xdg-open start", network.open_url)
    put("mail mailx mutt neomutt sendmail msmtp swaks send-mailmessage", network.mail)
    put("openssl", network.openssl)
    put("git", repository.git)
    put("gh hub", network.service("github.com"))
    put("glab", network.service("gitlab.com"))
    put(
        "aws gcloud gsutil bq az doctl heroku vercel netlify fly flyctl wrangler firebase supabase"
        " railway render linode-cli hcloud oci ibmcloud s3cmd s5cmd rclone azcopy b2 mc slack stripe"
        " twilio sentry-cli datadog jira linear vault op bw lpass doppler circleci buildkite-agent eksctl"
        " gcloud-crc32c ibmcloud cf",
        network.service(""),
    )
    put("kubectl oc k9s", network.kubectl)
    put(
        "psql mysql pg_dump pg_restore mysqldump mongo mongosh mongodump redis-cli sqlcmd cqlsh"
        " clickhouse-client",
        network.database,
    )
    put(" ".join(packages.FETCHING), packages.manager)
    return table


_JUDGES = _table()
