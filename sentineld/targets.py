"""Targets: the webhook, the command and Apprise's services that messages are delivered to.

Each touches the outside once for an attempt and says how that ended. Names of targets and texts of errors
hold no part of a URL but its host: URLs carry tokens.
"""

import base64
import contextlib
import email.utils
import errno
import hashlib
import hmac
import http.client
import json
import logging
import os
import signal
import ssl
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any, Protocol
from urllib.parse import urlsplit

from sentineld.config import is_safe_url
from sentineld.errors import AccessError, ConfigError
from sentineld.instant import SECOND_US
from sentineld.keys import with_credentials
from sentineld.notices import Message, Outcome
from sentineld.options import NotifyOptions
from sentineld.published_file import never_waiting
from sentineld.version import __version__

#: What a command sees of our environment.
_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "XDG_RUNTIME_DIR")
#: Answers that are about the one message, not about the receiver.
_REFUSALS = frozenset({400, 409, 413, 414, 415, 422})
_MAX_SECRET_BYTES = 1 << 16
_MIN_SECRET_BYTES = 16


class Target(Protocol):
    """Somewhere that messages are delivered to; ``name`` is fit to be shown and stays the same."""

    name: str

    def deliver(self, message: Message, now_us: int) -> Outcome:
        """Try once. Never raises for what the other side does."""
        ...


def make_targets(options: NotifyOptions, env: Mapping[str, str]) -> list[Target]:
    """Make the targets that are configured.

    Raises ``ConfigError`` for one that cannot be, ``AccessError`` for a file that may not be read.
    """
    found: list[Target] = []
    timeout_s = float(options.timeout)
    webhook = options.webhook
    if options.webhook_file:
        lines = _lines(options.webhook_file, "notify.webhook_file", env)
        if len(lines) != 1 or not is_safe_url(lines[0]):
            raise ConfigError(
                f"notify.webhook_file: {options.webhook_file} must hold one https URL, and nothing else",
                hint="http is for this machine only (127.0.0.1)",
            )
        webhook = lines[0]
    if webhook:
        secret = b""
        if options.secret_file:
            secret = _secret(_lines(options.secret_file, "notify.secret_file", env), options.secret_file)
        found.append(Webhook(webhook, timeout_s, secret))
    if options.command:
        found.append(Command(options.command, timeout_s, env))
    urls = list(options.apprise)
    if options.apprise_file:
        urls += _lines(options.apprise_file, "notify.apprise_file", env)
    found += [Apprise(url) for url in dict.fromkeys(urls)]
    return found


class Webhook:
    """Posts JSON. Redirects are not followed: what was posted would be lost on the way."""

    def __init__(self, url: str, timeout_s: float, secret: bytes = b"") -> None:
        parts = urlsplit(url)
        # Another path of the same host is another target.
        self.name = f"webhook {parts.hostname}-{_digest(url)}"
        self._url = url
        self._timeout_s = timeout_s
        self._secret = secret
        handlers: list[urllib.request.BaseHandler] = [
            _NoRedirect(),
            urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        ]
        if parts.scheme == "http":
            # It is on this machine, where no proxy finds it.
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def deliver(self, message: Message, now_us: int) -> Outcome:
        """Post one message; 2xx is success."""
        body = json.dumps(message.document()).encode("ascii")
        request = urllib.request.Request(  # noqa: S310 (its scheme was checked)
            self._url, body, self._headers(message.key, body, now_us), method="POST"
        )
        try:
            with self._opener.open(request, timeout=self._timeout_s):
                return Outcome()
        except urllib.error.HTTPError as error:
            with error:
                wait = _retry_after(error.headers.get("Retry-After"), now_us)
            return Outcome(f"HTTP {error.code}", is_refused=error.code in _REFUSALS, retry_after_us=wait)
        except urllib.error.URLError as error:
            return Outcome(_reason(error.reason))
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Outcome(_reason(error))

    def _headers(self, key: str, body: bytes, now_us: int) -> dict[str, str]:
        stamp = str(now_us // SECOND_US)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"sentineld/{__version__}",
            "Idempotency-Key": key,
            # As https://www.standardwebhooks.com says, so that receivers find a library that verifies it.
            "webhook-id": key,
            "webhook-timestamp": stamp,
        }
        if self._secret:
            signed = b".".join((key.encode(), stamp.encode(), body))
            digest = hmac.new(self._secret, signed, hashlib.sha256).digest()
            headers["webhook-signature"] = "v1," + base64.b64encode(digest).decode()
        return headers


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_more: Any) -> None:  # noqa: ANN401 (the library's)
        return None


class Command:
    """Runs a program: JSON on its stdin, the main facts in its environment; exit 0 is success."""

    def __init__(self, arguments: Sequence[str], timeout_s: float, env: Mapping[str, str]) -> None:
        self.name = f"command {os.path.basename(arguments[0])}-{_digest(chr(0).join(arguments))}"
        self._arguments = list(arguments)
        self._timeout_s = timeout_s
        self._env = {name: env[name] for name in _PASSED_ON if name in env}

    def deliver(self, message: Message, now_us: int) -> Outcome:
        """Run the program once."""
        del now_us
        document = json.dumps(message.document()).encode("ascii") + b"\n"
        try:
            process = subprocess.Popen(  # noqa: S603 (what the operator configured, and no shell)
                self._arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**self._env, **facts(message)},
                start_new_session=True,
            )
        except OSError as error:
            # What is too long is this message's environment; the next one may fit.
            is_refused = error.errno == errno.E2BIG
            return Outcome(f"it cannot be started: {error.strerror}", is_refused=is_refused)
        try:
            process.communicate(document, self._timeout_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Outcome(f"no end within {self._timeout_s:g} s")
        return Outcome() if process.returncode == 0 else Outcome(f"exit code {process.returncode}")


#: Characters of a variable of the environment, of which the kernel takes 128 KiB; all of it stands on stdin.
_MAX_VARIABLE = 16_384


def facts(message: Message) -> dict[str, str]:
    """Return what a command finds in its environment."""
    agents = list(dict.fromkeys(item.agent_id for item in message.decisions if item.agent_id))
    return {
        "SENTINELD_NOTICE_KEY": message.key,
        "SENTINELD_NOTICE_SUBJECT": message.subject,
        "SENTINELD_NOTICE_TEXT": message.text[:_MAX_VARIABLE],
        "SENTINELD_NOTICE_DECISIONS": str(len(message.decisions)),
        "SENTINELD_NOTICE_AGENTS": " ".join(agents[:100])[:_MAX_VARIABLE],
        "SENTINELD_NOTICE_TIER": str(max((item.to_tier for item in message.decisions), default=0)),
        "SENTINELD_NOTICE_TEST": "1" if message.is_test else "",
    }


class Apprise:
    """One service that the library Apprise knows. Raises ``ConfigError`` without it, or for its URL."""

    def __init__(self, url: str) -> None:
        try:
            import apprise
        except ImportError as error:
            raise ConfigError(
                "notify.apprise needs the library Apprise", hint="pip install 'sentineld[notify]'"
            ) from error
        # It tells of URLs, and they hold tokens.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        service = url.partition(":")[0]
        asset = apprise.AppriseAsset(app_id="sentineld", async_mode=False, storage_mode="memory")
        self._apprise = apprise.Apprise(asset=asset)
        self._format = apprise.NotifyFormat.TEXT
        if not self._apprise.add(url):
            shown = service if service.isalnum() and len(service) <= 20 else "?"
            raise ConfigError(
                f"notify.apprise: the URL {shown}://... is not one that Apprise knows",
                hint="https://github.com/caronc/apprise#supported-notifications",
            )
        self.name = f"apprise {service}-{_digest(url)}"

    def deliver(self, message: Message, now_us: int) -> Outcome:
        """Send title and text."""
        del now_us
        try:
            is_sent = self._apprise.notify(body=message.text, title=message.subject, body_format=self._format)
        except Exception as error:  # noqa: BLE001 (a hundred services: whatever one raises, it did not take it)
            return Outcome(f"Apprise failed: {type(error).__name__}")
        return Outcome() if is_sent else Outcome("the service did not take it")


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt ended."""

    target: str
    key: str
    outcome: Outcome


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]


def _retry_after(value: str | None, now_us: int) -> int:
    """Read ``Retry-After`` (RFC 9110, 10.2.3), seconds or a date, as microseconds from now; 0 for none."""
    if value is None:
        return 0
    value = value.strip()
    if value.isascii() and value.isdigit():
        return int(value[:9]) * SECOND_US
    try:
        at = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0
    return max(0, round(at * SECOND_US) - now_us)


def _reason(error: object) -> str:
    """Say why there was no answer, without quoting what was asked."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def _lines(path: str, key: str, env: Mapping[str, str]) -> list[str]:
    """Return the lines of a file of secrets, without blank ones and comments."""
    path = with_credentials(path, env.get("CREDENTIALS_DIRECTORY"))
    try:
        with open(path, "rb", opener=never_waiting) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ConfigError(f"{key}: {path} is no ordinary file", hint=f"ls -l {quote(path)}")
            if mode & 0o022:
                raise ConfigError(
                    f"{key}: others than its owner may write {path}", hint=f"chmod go-w {quote(path)}"
                )
            text = file.read(_MAX_SECRET_BYTES).decode("utf-8")
    except PermissionError as error:
        raise AccessError(f"{key}: may not read {path}", hint=f"ls -l {quote(path)}") from error
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigError(f"{key}: cannot read {path}: {why}", hint=f"ls -l {quote(path)}") from error
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _secret(lines: list[str], path: str) -> bytes:
    """Read a secret: ``whsec_`` and base64 as Standard Webhooks has it, else its bytes as they are."""
    secret = b""
    if len(lines) == 1:
        text = lines[0]
        with contextlib.suppress(ValueError):
            secret = (
                base64.b64decode(text.removeprefix("whsec_"), validate=True)
                if text.startswith("whsec_")
                else text.encode()
            )
    if len(secret) < _MIN_SECRET_BYTES:
        raise ConfigError(
            f"notify.secret_file: {path} must hold one line, a secret of {_MIN_SECRET_BYTES} bytes or more",
            hint=f'(umask 077; echo "whsec_$(head -c 32 /dev/urandom | base64)" > {quote(path)})',
        )
    return secret
