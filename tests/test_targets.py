"""Webhook, command and Apprise: what is delivered, how failures are told, and that no secret shows."""

import base64
import datetime as dt
import hashlib
import hmac
import ipaddress
import json
import os
import re
import time

import apprise
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from receivers import receiver
from schemas import check

from sentineld.errors import ConfigError
from sentineld.notices import Terms, compose_message, notice, trial_message
from sentineld.options import Duration, NotifyOptions
from sentineld.targets import Webhook, make_targets

NOW = 1_800_000_000_000_000
SECRET = b"0123456789abcdef0123456789abcdef"


def message(**changes):
    decision = {
        "decision_no": 193, "agent_id": "mailer", "from_tier": 1, "to_tier": 3, "score": 0.9,
        "decided_at": "2026-11-23T14:57:25Z", "cause": "rule", "actor": "", "note": "", "role": None,
        "reasons": [{"detector": "rule", "feature": "credential_sent"}], "evidence": [],
    }  # fmt: skip
    return compose_message([notice(decision | changes)], NOW, Terms(host="web-1"))


@pytest.fixture
def hook():
    with receiver() as made:
        yield made


def target(**options):
    (made,) = make_targets(NotifyOptions(**{"timeout": Duration(5), **options}), dict(os.environ))
    return made


def test_a_webhook_gets_a_documented_document_with_its_key_and_a_signature_that_libraries_verify(
    hook, tmp_path
):
    file = tmp_path / "secret"
    file.write_text("whsec_" + base64.b64encode(SECRET).decode() + "\n")
    assert target(webhook=hook.url, secret_file=str(file)).deliver(message(), NOW).error == ""
    (post,) = hook.posts

    check("notice", post.document)
    assert post.document["decisions"][0]["agent_id"] == "mailer"
    headers = {name.lower(): value for name, value in post.headers.items()}
    assert headers["idempotency-key"] == headers["webhook-id"] == message().key
    assert headers["webhook-timestamp"] == str(NOW // 1_000_000)
    signed = f"{message().key}.{NOW // 1_000_000}.".encode() + post.body
    mac = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"


@pytest.mark.parametrize(
    ("answer", "error", "is_refused", "wait_s"),
    [
        (500, "HTTP 500", False, 0), (404, "HTTP 404", False, 0), (401, "HTTP 401", False, 0),
        (400, "HTTP 400", True, 0), (413, "HTTP 413", True, 0),
        ((429, {"Retry-After": "120"}), "HTTP 429", False, 120),
        ((503, {"Retry-After": "Fri, 15 Jan 2027 08:01:00 GMT"}), "HTTP 503", False, 60),
        ((503, {"Retry-After": "soon"}), "HTTP 503", False, 0),
        ((302, {"Location": "/elsewhere"}), "HTTP 302", False, 0),
        ("lose", "RemoteDisconnected", False, 0), ("cut", "BadStatusLine", False, 0),
    ],
)  # fmt: skip
def test_what_a_webhook_answers_is_told(hook, answer, error, is_refused, wait_s):
    hook.plan = [answer]
    outcome = target(webhook=hook.url).deliver(message(), NOW)

    assert (outcome.error, outcome.is_refused) == (error, is_refused)
    assert outcome.retry_after_us == wait_s * 1_000_000
    assert len(hook.posts) == 1


def test_a_webhook_that_hangs_or_is_not_there_is_not_waited_for(hook):
    hook.plan = ["hang"]
    began = time.monotonic()
    assert (
        target(webhook=hook.url, timeout=Duration(0.1)).deliver(message(), NOW).error == "no answer in time"
    )
    assert time.monotonic() - began < 30
    assert target(webhook="http://127.0.0.1:1/").deliver(message(), NOW).error == "Connection refused"
    assert target(webhook="https://no-such-host.invalid/").deliver(message(), NOW).error


def self_signed(path):
    """Write a certificate of this machine, signed by nobody else, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return str(path)


def test_a_certificate_is_verified(tmp_path, monkeypatch):
    file = self_signed(tmp_path / "both.pem")
    with receiver(file) as hook:
        outcome = target(webhook=hook.url).deliver(message(), NOW)
        assert outcome.error.startswith("its certificate is not valid: self")
        assert hook.posts == []
        monkeypatch.setenv("SSL_CERT_FILE", file)
        assert target(webhook=hook.url).deliver(message(), NOW).error == ""
        assert len(hook.posts) == 1


def test_a_receiver_on_this_machine_is_not_looked_for_behind_a_proxy(hook, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    assert target(webhook=hook.url).deliver(message(), NOW).error == ""


def test_a_command_gets_the_document_and_the_facts_and_no_shell(tmp_path):
    script = tmp_path / "told"
    script.write_text(
        f'#!/bin/sh\ncat > {tmp_path}/stdin; env > {tmp_path}/env; echo "$1" > {tmp_path}/arg\n'
    )
    script.chmod(0o755)
    env = {"PATH": os.environ["PATH"], "SENTINELD_NOTIFY_WEBHOOK": "https://secret.example"}
    (made,) = make_targets(NotifyOptions(command=[str(script), "$(id); x"]), env)
    assert made.deliver(message(), NOW).error == ""

    check("notice", json.loads((tmp_path / "stdin").read_text()))
    assert (tmp_path / "arg").read_text() == "$(id); x\n"
    facts = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line)
    assert facts["SENTINELD_NOTICE_KEY"] == message().key
    assert facts["SENTINELD_NOTICE_AGENTS"] == "mailer"
    assert facts["SENTINELD_NOTICE_TIER"] == "3"
    assert facts["SENTINELD_NOTICE_SUBJECT"] == message().subject
    assert message().subject == "sentineld on web-1: agent mailer moved from tier 1 to tier 3 (anomalous)"
    assert "SENTINELD_NOTIFY_WEBHOOK" not in facts


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (["sh", "-c", "exit 3"], "exit code 3"),
        (["/no/such/program"], "it cannot be started: No such file or directory"),
        (["sh", "-c", "sleep 100 & wait"], "no end within 0.2 s"),
    ],
)  # fmt: skip
def test_a_command_that_fails_is_told_and_one_that_hangs_is_ended_with_its_children(command, error):
    assert target(command=command, timeout=Duration(0.2)).deliver(message(), NOW).error == error


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_apprise_delivers_title_and_text(hook):
    url = hook.url.replace("http://", "json://")
    made = target(apprise=[url])
    assert made.deliver(message(), NOW).error == ""
    assert hook.posts[0].document["title"] == message().subject
    assert hook.posts[0].document["message"] == message().text

    hook.plan = [500]
    assert made.deliver(trial_message(NOW, Terms()), NOW).error == "the service did not take it"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_apprise_url_that_is_none_is_refused_without_showing_it():
    with pytest.raises(ConfigError) as caught:
        make_targets(NotifyOptions(apprise=["nonsense://s3cret@host"]), {})

    assert "nonsense://..." in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_names_of_targets_tell_them_apart_and_hold_no_secret(tmp_path):
    file = tmp_path / "urls"
    file.write_text("# a comment\njson://host/s3cret\n\njson://host/s3cret\nntfy://host/s3cret\n")
    made = make_targets(
        NotifyOptions(
            webhook="https://user:s3cret@hooks.example.net/s3cret", command=["/bin/true", "s3cret"],
            apprise=["json://host/other"], apprise_file=str(file),
        ), {},
    )  # fmt: skip
    names = [one.name for one in made]

    assert [name.rpartition("-")[0] for name in names] == [
        "webhook hooks.example.net", "command true", "apprise json", "apprise json", "apprise ntfy"
    ]  # fmt: skip
    assert len(set(names)) == 5
    assert "s3cret" not in str(names)
    assert Webhook("https://a.example/1", 1).name != Webhook("https://a.example/2", 1).name


@pytest.mark.parametrize(
    ("text", "mode", "error"),
    [
        ("https://a.example/x\nhttps://b.example/x\n", 0o600, ConfigError), ("", 0o600, ConfigError),
        ("http://elsewhere.example/x\n", 0o600, ConfigError), ("https://a.example/x\n", 0o666, ConfigError),
        ("\xff", 0o600, ConfigError),
    ],
)  # fmt: skip
def test_a_file_of_secrets_that_cannot_be_used_is_named_and_not_shown(tmp_path, text, mode, error):
    file = tmp_path / "url"
    file.write_bytes(text.encode("latin-1"))
    file.chmod(mode)
    with pytest.raises(error, match="url") as caught:
        make_targets(NotifyOptions(webhook_file=str(file)), {})
    assert "example/x" not in str(caught.value)
    with pytest.raises(ConfigError):
        make_targets(NotifyOptions(webhook_file=str(tmp_path / "none")), {})


@pytest.mark.parametrize(
    "text", ["", "short\n", "whsec_###\n", "whsec_AAAA\n", "a secret of two\nlines of text\n"]
)
def test_a_secret_that_is_none_is_refused_with_a_way_to_make_one(tmp_path, text):
    file = tmp_path / "secret"
    file.write_text(text)
    with pytest.raises(ConfigError, match="16 bytes") as caught:
        make_targets(NotifyOptions(webhook="https://a.example", secret_file=str(file)), {})
    assert "/dev/urandom" in caught.value.hint


def test_secrets_come_from_systemds_credentials_too(tmp_path):
    (tmp_path / "url").write_text("https://a.example/x\n")
    (made,) = make_targets(
        NotifyOptions(webhook_file="${CREDENTIALS_DIRECTORY}/url"), {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    )
    assert made.name.startswith("webhook a.example-")


def test_what_is_too_long_for_the_environment_is_cut_there_and_whole_on_stdin(tmp_path):
    got = tmp_path / "got"
    long = msgspec.structs.replace(message(), text="\N{SNOWMAN}" * 100_000)
    script = f"cat >{got}; test ${{#SENTINELD_NOTICE_TEXT}} -gt 1000"

    assert target(command=["sh", "-c", script]).deliver(long, NOW).error == ""
    assert json.loads(got.read_text())["text"] == long.text


def test_a_pipe_in_the_place_of_a_secret_is_refused_and_not_waited_for(hook, tmp_path):
    os.mkfifo(tmp_path / "secret", 0o600)

    with pytest.raises(ConfigError, match="no ordinary file"):
        target(webhook=hook.url, secret_file=str(tmp_path / "secret"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("answer", [500, "lose", "hang", "cut"])
def test_a_service_that_fails_apprise_is_told_and_takes_the_message_later(hook, answer):
    made = target(apprise=[hook.url.replace("http://", "json://") + "&cto=1&rto=0.2"])
    hook.plan = [answer]
    failed = made.deliver(message(), NOW)

    assert (failed.error, failed.is_refused) == ("the service did not take it", False)
    assert made.deliver(message(), NOW).error == ""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("form", ["html", "markdown", "text"])
def test_what_apprise_makes_of_a_message_holds_no_markup_of_an_agent(hook, form):
    agent, tool = "@everyone/https://evil.example", "arg:<b>x</b>.](http://evil.example)*b*`c`"
    reasons = [{"detector": "argument", "feature": tool}]
    made = target(apprise=[hook.url.replace("http://", "json://") + f"&format={form}"])
    made.deliver(message(agent_id=agent, reasons=reasons), NOW)
    (post,) = hook.posts
    told = post.document["title"] + post.document["message"]

    assert r"\x40everyone" in told
    assert set(re.findall(r"<[^>]*>", told)) <= {"<br/>", "<br />", "<p>", "</p>"}
    assert not re.search(r"[@*`\[\]]|://|evil\.", told)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_plugin_of_apprise_that_raises_is_a_failure_that_shows_no_secret():
    class Broken(apprise.NotifyBase):
        service_name, protocol, templates = "broken", "broken", ("{schema}://",)

        def send(self, **_given):
            raise RuntimeError("s3cret")

    made = target(apprise=["json://127.0.0.1"])
    made._apprise.clear()
    made._apprise.add(Broken())
    failed = made.deliver(message(), NOW)

    assert failed.error
    assert "s3cret" not in failed.error


def test_an_environment_that_the_kernel_does_not_take_is_a_refusal_of_this_message(tmp_path):
    script = tmp_path / "told"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    # One argument has 128 KiB at most; a message's own variables are cut far below that.
    outcome = target(command=[str(script), "x" * (1 << 18)]).deliver(message(), NOW)

    assert (outcome.error, outcome.is_refused) == ("it cannot be started: Argument list too long", True)
