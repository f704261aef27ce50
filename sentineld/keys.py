"""Keys: what signs the state file and overrides, and what readers check them with.

Two algorithms. With ``ed25519`` the daemon has a private key and readers the public one: who can read can not
sign. With ``hmac-sha256`` both have the same secret, so that every reader could forge; it needs nothing but
the standard library. Ed25519 comes from the library cryptography (the extra ``[sign]``), which is imported
only where such a key is used: routers import this module and must start in tens of milliseconds.

Which algorithm a key is for follows from its file, never from the document that it is to check: PEM
(PKCS#8 or SubjectPublicKeyInfo, RFC 8410, as ``openssl genpkey -algorithm ed25519`` writes them) is Ed25519,
anything else an HMAC secret.
"""

import datetime as dt
import os
import re
import stat
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping, Sequence
from shlex import quote
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from sentineld.errors import ConfigError
from sentineld.instant import SECOND_US, iso, parse_iso
from sentineld.published_file import READ_FLAGS, read_at_most, why_unopened

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HMAC_SHA256 = "hmac-sha256"
ED25519 = "ed25519"

#: Every algorithm that a document may be signed with; its name is part of the signed bytes.
ALGORITHMS = (ED25519, HMAC_SHA256)

#: Key id where a configuration names a key file and no id.
DEFAULT_KEY_ID = "default"

#: A shorter secret than the digest (RFC 2104 section 3) would be the weakest part.
MIN_SECRET_BYTES = 32

#: A "key" of more bytes than this is another file given by mistake.
MAX_SECRET_BYTES = 4096

#: Bytes of an Ed25519 key, private or public (RFC 8032 section 5.1.5).
_ED25519_BYTES = 32

#: How long before its end a key is told to be in need of a successor.
EXPIRY_NOTICE_US = 30 * 86_400 * SECOND_US

#: What a key id may be: it stands in the file and in sentences.
KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

#: The hint of every error that says that cryptography is missing.
INSTALL_HINT = "pip install 'sentineld[sign]', or use an HMAC key: sentineld keygen --algorithm hmac-sha256"

_TABLE_HINT = '[state.keys.2026-11a], and below it file = "/etc/sentineld/2026-11a.pub"'

_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END \1-----\s*")
#: All of the DER but the key itself (RFC 8410 sections 4 and 7): Ed25519 admits no other encoding.
_PRIVATE_DER = bytes.fromhex("302e020100300506032b657004220420")
_PUBLIC_DER = bytes.fromhex("302a300506032b6570032100")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


# Named tuples, for hooks start a reader for every call: dataclasses take a third of such a start to import.
class _VerificationKey(NamedTuple):
    key_id: str
    algorithm: str
    material: bytes
    not_after_us: int | None = None


class _SigningKey(NamedTuple):
    key_id: str
    algorithm: str
    secret: bytes
    not_after_us: int | None = None


class VerificationKey(_VerificationKey):
    """What a reader checks signatures with: a key by its id, for one algorithm.

    ``material`` is the secret (HMAC-SHA256) or the 32 bytes of the public key (Ed25519). After
    ``not_after_us`` (microseconds since the epoch; None: no end) readers refuse what the key signed.
    """

    __slots__ = ()

    def __new__(
        cls, key_id: str, algorithm: str, material: bytes, not_after_us: int | None = None
    ) -> "VerificationKey":
        """Raise `ConfigError` for ids that a file cannot carry and material that is none."""
        _check(key_id, algorithm, material)
        return super().__new__(cls, key_id, algorithm, material, not_after_us)

    def __repr__(self) -> str:
        return f"VerificationKey({self.key_id!r}, {self.algorithm!r}, not_after_us={self.not_after_us!r})"

    def accepts(self, context: bytes, content: bytes, signature: bytes) -> bool:
        """Tell whether ``signature`` (base64) is this key's over ``content`` in ``context``.

        Raises `ConfigError` where the library for the algorithm is not installed.
        """
        message = _message(context, self.algorithm, self.key_id, content)
        if self.algorithm == HMAC_SHA256:
            # The encoded form is compared: base64 has spare bits, and decoding would accept other spellings.
            return bool(_hmac().compare_digest(_mac(self.material, message), signature))
        if self.algorithm != ED25519:
            return False
        try:
            raw = a2b_base64(signature)
        except Base64Error:
            return False
        if b2a_base64(raw, newline=False) != signature:
            return False
        return _ed25519_accepts(self.material, raw, message, self.key_id)


class SigningKey(_SigningKey):
    """What a writer signs with: a key by its id, for one algorithm. A reader may check with it as well.

    ``key_id`` is 1 to 64 of ``A-Z a-z 0-9 . _ -``; ``secret`` has at least 32 bytes (HMAC-SHA256) or is the
    32 bytes of a private key (Ed25519). Else `ConfigError`.
    """

    __slots__ = ()

    def __new__(
        cls, key_id: str, algorithm: str, secret: bytes, not_after_us: int | None = None
    ) -> "SigningKey":
        """Refuse ids that the file cannot carry and secrets that can be guessed."""
        _check(key_id, algorithm, secret)
        return super().__new__(cls, key_id, algorithm, secret, not_after_us)

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id!r}, {self.algorithm!r}, not_after_us={self.not_after_us!r})"

    def sign(self, context: bytes, content: bytes) -> bytes:
        """Return the base64 signature over ``content`` in ``context``. Raises `ConfigError` if it cannot."""
        message = _message(context, self.algorithm, self.key_id, content)
        if self.algorithm == HMAC_SHA256:
            return _mac(self.secret, message)
        if self.algorithm == ED25519:
            return b2a_base64(_private_key(self.secret, self.key_id).sign(message), newline=False)
        raise ConfigError(
            f"key {self.key_id} is for {self.algorithm!r}, which cannot sign", hint="sentineld keygen"
        )

    def verification_key(self) -> VerificationKey:
        """Return what readers need of this key. Raises `ConfigError` without the algorithm's library."""
        material = self.secret
        if self.algorithm == ED25519:
            material = _private_key(self.secret, self.key_id).public_key().public_bytes_raw()
        return VerificationKey(self.key_id, self.algorithm, material, self.not_after_us)

    def accepts(self, context: bytes, content: bytes, signature: bytes) -> bool:
        """As `VerificationKey.accepts`."""
        return self.verification_key().accepts(context, content, signature)


#: What readers take: both know how to check.
Key = VerificationKey | SigningKey


def load_key(path: str | os.PathLike[str], key_id: str, *, not_after_us: int | None = None) -> SigningKey:
    """Read the key of a writer: an Ed25519 private key (PEM) or an HMAC secret.

    The secret is the bytes of the file, less one trailing newline, 32 to 4096 of them. The file must be a
    regular one (no symbolic link), closed to others and not writable by its group. Anything else is a
    `ConfigError` that names the path.
    """
    algorithm, is_public, material = _read_key(os.fspath(path))
    if is_public:
        raise ConfigError(
            f"key file {os.fspath(path)} holds a public key, which cannot sign",
            hint="give the writer the private key; readers have the public one",
        )
    if algorithm == ED25519:
        _private_key(material, key_id)
    return SigningKey(key_id, algorithm, material, not_after_us)


def load_verification_key(
    path: str | os.PathLike[str],
    key_id: str,
    *,
    algorithm: str | None = None,
    not_after_us: int | None = None,
) -> VerificationKey:
    """Read the key of a reader: an Ed25519 public key (PEM), or what `load_key` reads.

    A public key may be readable by everybody, and writable by its owner alone. With ``algorithm`` the file
    must hold a key for it. Raises `ConfigError`.
    """
    found, is_public, material = _read_key(os.fspath(path))
    if algorithm is not None and algorithm != found:
        raise ConfigError(
            f"key file {os.fspath(path)} holds a key for {found}, and key {key_id} is configured "
            f"for {algorithm}",
            hint=f"set algorithm to one of {', '.join(ALGORITHMS)}, or name the right file",
        )
    if found == ED25519 and not is_public:
        return SigningKey(key_id, found, material, not_after_us).verification_key()
    if found == ED25519:
        _need_cryptography(key_id)
    return VerificationKey(key_id, found, material, not_after_us)


class KeyEntry(NamedTuple):
    """One entry of ``[state.keys]``: where a reader finds a key, and what the key is good for."""

    key_id: str
    file: str
    algorithm: str | None
    not_after_us: int | None


def parse_key_table(table: object) -> tuple[KeyEntry, ...]:
    """Read a table like ``[state.keys]``: id -> ``file``, and if wanted ``algorithm`` and ``not_after``.

    No file is opened. Raises `ConfigError`, whose sentence begins with the entry's name.
    """
    if not isinstance(table, Mapping):
        raise ConfigError("state.keys is not a table", hint=_TABLE_HINT)
    return tuple(_entry(key_id, entry) for key_id, entry in table.items())


def _entry(key_id: str, entry: object) -> KeyEntry:
    place = f"state.keys.{key_id}"
    if not KEY_ID.fullmatch(key_id):
        raise ConfigError(f"{place} is no usable key id", hint="letters, digits, dots, underscores, hyphens")
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{place} is not a table", hint=_TABLE_HINT)
    unknown = sorted(entry.keys() - {"file", "algorithm", "not_after"})
    if unknown:
        raise ConfigError(f"{place}: unknown option {unknown[0]}", hint="file, algorithm or not_after")
    file, algorithm, end = entry.get("file"), entry.get("algorithm"), entry.get("not_after")
    if not isinstance(file, str) or not file:
        raise ConfigError(f"{place} names no file", hint=_TABLE_HINT)
    if algorithm is not None and algorithm not in ALGORITHMS:
        raise ConfigError(f"{place}: unknown algorithm {algorithm!r}", hint=f"one of {', '.join(ALGORITHMS)}")
    try:
        not_after_us = None if end is None else parse_not_after(end)
    except ValueError as error:
        raise ConfigError(f"{place}.not_after: {error}", hint='not_after = "2027-01-01"') from error
    return KeyEntry(key_id, file, None if algorithm is None else str(algorithm), not_after_us)


def load_verification_keys(
    entries: Sequence[KeyEntry], directory: str | None = None
) -> tuple[VerificationKey, ...]:
    """Read the keys of a table; ``directory`` stands for ``${CREDENTIALS_DIRECTORY}`` in their files.

    Raises `ConfigError` for any key that cannot be used: a reader should hear of it when it is configured,
    not when it is needed.
    """
    return tuple(
        load_verification_key(
            with_credentials(entry.file, directory),
            entry.key_id,
            algorithm=entry.algorithm,
            not_after_us=entry.not_after_us,
        )
        for entry in entries
    )


def with_credentials(path: str, directory: str | None) -> str:
    """Fill in the directory that systemd gives to services with ``LoadCredential=``. Raises `ConfigError`."""
    marker = "${CREDENTIALS_DIRECTORY}"
    if marker in path and not directory:
        raise ConfigError(
            f"the key file is {path}, and only a systemd service has that directory",
            hint="name a key file of its own, or set CREDENTIALS_DIRECTORY to where the key is",
        )
    return path.replace(marker, directory or "")


def parse_not_after(value: object) -> int:
    """Read a key's end as microseconds since the epoch; of a day its last one, in UTC.

    Takes ISO 8601 text and TOML's own dates and times. Raises ``ValueError``.
    """
    if isinstance(value, dt.datetime):
        return parse_iso(value.isoformat())
    if isinstance(value, dt.date):
        value = value.isoformat()
    if not isinstance(value, str):
        raise ValueError(f"expected a day such as 2027-01-01, not {value!r}")  # noqa: TRY004 (callers expect one kind)
    start = parse_iso(value)
    return start + 86_400 * SECOND_US - 1 if _DAY.fullmatch(value) else start


def expiry_warning(key_id: str, not_after_us: int | None, now_us: int) -> str:
    """Say that a key has ended or ends within 30 days; empty where neither is so."""
    if not_after_us is None or now_us + EXPIRY_NOTICE_US < not_after_us:
        return ""
    end = iso(not_after_us // SECOND_US * SECOND_US)
    if now_us > not_after_us:
        return f"key {key_id} expired at {end}: readers refuse what it signs"
    days = (not_after_us - now_us) // (86_400 * SECOND_US)
    return f"key {key_id} expires at {end}, in {days} days: give readers its successor, then the signer"


def generate_secret() -> bytes:
    """Return the content of a new HMAC key file: 64 hexadecimal digits and a newline."""
    return os.urandom(32).hex().encode() + b"\n"


def generate_pair() -> tuple[bytes, bytes]:
    """Return the content of a new Ed25519 private and public key file (PEM). Raises `ConfigError`."""
    _need_cryptography("")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    return (
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    )


def has_cryptography() -> bool:
    """Tell whether Ed25519 is available."""
    try:
        _need_cryptography("")
    except ConfigError:
        return False
    return True


def _message(context: bytes, algorithm: str, key_id: str, content: bytes) -> bytes:
    """Return the signed bytes: what is signed is bound to its purpose, algorithm and key."""
    return b"\0".join((context, algorithm.encode(), key_id.encode(), content))


def _hmac() -> ModuleType:
    # Imported where it is used: it brings OpenSSL, and many readers have no such key.
    import hmac

    return hmac


def _mac(secret: bytes, message: bytes) -> bytes:
    return b2a_base64(_hmac().digest(secret, message, "sha256"), newline=False)


def _private_key(secret: bytes, key_id: str) -> "Ed25519PrivateKey":
    _need_cryptography(key_id)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(secret)


def _ed25519_accepts(public: bytes, signature: bytes, message: bytes, key_id: str) -> bool:
    _need_cryptography(key_id)
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _need_cryptography(key_id: str) -> None:
    """Raise `ConfigError` where Ed25519 is not available."""
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401 (only whether it is there)
    except ImportError as error:
        what = f"key {key_id} is an Ed25519 key" if key_id else "an Ed25519 key"
        raise ConfigError(
            f"{what}{', which' if key_id else ''} needs the library cryptography, which is not installed",
            hint=INSTALL_HINT,
        ) from error


def _check(key_id: str, algorithm: str, material: bytes) -> None:
    if not KEY_ID.fullmatch(key_id):
        raise ConfigError(
            f"key id {key_id!r} is not usable",
            hint="1 to 64 letters, digits, dots, underscores or hyphens, such as 2026-11a",
        )
    if algorithm == HMAC_SHA256:
        # Now, and not at the first document: a process that confines itself later may find no library.
        _hmac()
    if algorithm == ED25519 and len(material) != _ED25519_BYTES:
        raise ConfigError(
            f"key {key_id} has {len(material)} bytes, and an Ed25519 key {_ED25519_BYTES}",
            hint="sentineld keygen",
        )
    if len(material) < MIN_SECRET_BYTES:
        raise ConfigError(
            f"key {key_id} has {len(material)} bytes, fewer than {MIN_SECRET_BYTES}",
            hint="sentineld keygen",
        )


def _read_key(path: str) -> tuple[str, bool, bytes]:
    """Return algorithm, whether it is a public key, and key material of a file. Raises `ConfigError`."""
    content, mode = _read_file(path)
    pem = _read_pem(path, content)
    is_public = pem is not None and pem[0]
    if mode & (stat.S_IWGRP | stat.S_IWOTH) or (mode & stat.S_IRWXO and not is_public):
        raise ConfigError(
            f"key file {path} has mode {stat.S_IMODE(mode):04o}: "
            + (
                "others than its owner can write it"
                if is_public
                else "others can reach it, or its group can write it"
            ),
            hint=f"chmod 0644 {quote(path)}"
            if is_public
            else f"chmod 0640 {quote(path)}, and make a new key if others could have read this one",
        )
    if pem is not None:
        return ED25519, *pem
    secret = content.removesuffix(b"\n")
    if not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        size = "more" if len(secret) > MAX_SECRET_BYTES else len(secret)
        raise ConfigError(
            f"key file {path} must hold {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, not {size}",
            hint="sentineld keygen",
        )
    return HMAC_SHA256, False, secret


def _read_file(path: str) -> tuple[bytes, int]:
    """Return content (a little more than may be) and mode of a regular file. Raises `ConfigError`."""
    try:
        descriptor = os.open(path, READ_FLAGS)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"key file {path} {why_unopened(error)}",
            hint="give the path of a readable key file; sentineld keygen makes one",
        ) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(
                f"key file {path} is not a regular file",
                hint="give the path of the key file itself; sentineld keygen makes one",
            )
        return read_at_most(descriptor, MAX_SECRET_BYTES + 2), status.st_mode
    except OSError as error:
        raise ConfigError(
            f"key file {path} cannot be read: {error.strerror}", hint="check the file and its disk"
        ) from error
    finally:
        os.close(descriptor)


def _read_pem(path: str, content: bytes) -> tuple[bool, bytes] | None:
    """Return whether a PEM file holds a public key, and the key; None for what is no PEM.

    Read here and not by cryptography, whose readers of all formats take as long to import as everything else
    that ``sentineld tier`` does; of this one format there is one encoding.
    """
    # PEM is never an HMAC secret: a public key that was taken for one would let everybody sign.
    if b"-----BEGIN" not in content:
        return None
    hint = "sentineld keygen makes one; or openssl genpkey -algorithm ed25519"
    match = _PEM.fullmatch(content)
    if match is not None and match[1] in (b"PRIVATE KEY", b"PUBLIC KEY"):
        is_public = match[1] == b"PUBLIC KEY"
        prefix = _PUBLIC_DER if is_public else _PRIVATE_DER
        try:
            der = a2b_base64(match[2])
        except Base64Error:
            der = b""
        if der.startswith(prefix) and len(der) == len(prefix) + _ED25519_BYTES:
            return is_public, der[len(prefix) :]
    raise ConfigError(
        f"key file {path} is PEM, but neither an unencrypted Ed25519 private key (PKCS#8) nor a public one",
        hint=hint,
    )
