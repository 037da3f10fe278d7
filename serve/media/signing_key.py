"""The key that signs what is made here, and the certificates by which others check it.

``python -m serve.media.signing_key KEY CHAIN`` makes both files unless they are there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

_PRIVATE_FOLDER: Final = 0o700
_PRIVATE_FILE: Final = 0o600
_PUBLIC_FILE: Final = 0o644
# Signatures carry no time stamp of an authority: they hold as long as the certificate does.
_VALID: Final = timedelta(days=3650)
# A machine whose clock is behind must be able to check at once.
_CLOCK_SKEW: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningIdentity:
    """PEM texts. ``chain``: the signer's certificate, then the root that issued it."""

    private_key: str
    chain: str

    @property
    def root(self) -> str:
        """The certificate that a checker must trust."""
        end = "-----END CERTIFICATE-----\n"
        return self.chain.rstrip("\n").rsplit(end, maxsplit=1)[-1] + "\n"


def signing_identity(key_path: Path, chain_path: Path) -> SigningIdentity:
    """Read both files, making them first if neither is there; safe in many processes at once.

    Blocks: call it in a thread.

    Raises:
        FileNotFoundError: only one of the two is there.
    """
    with _locked(key_path):
        if not key_path.exists() and not chain_path.exists():
            made = _new_identity()
            _write(chain_path, made.chain, _PUBLIC_FILE)
            _write(key_path, made.private_key, _PRIVATE_FILE)
    return SigningIdentity(
        private_key=key_path.read_text(encoding="ascii"),
        chain=chain_path.read_text(encoding="ascii"),
    )


def make_elsewhere(key_path: Path, chain_path: Path) -> None:
    """Make both files in a process of its own, unless they are there: it takes 5 MB for good.

    Blocks: call it in a thread.
    """
    if key_path.exists():
        return
    subprocess.run(
        [sys.executable, "-s", "-P", "-m", __name__, str(key_path), str(chain_path)],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        # What could not be made is told by whoever reads it.
        check=False,
    )


def _new_identity() -> SigningIdentity:
    """An ES256 key under a root of its own, whose key is forgotten once it has signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.now(UTC)
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def named(common_name: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Polymodal"),
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            ]
        )

    def begun(common_name: str, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(named(common_name))
            .issuer_name(named("Polymodal deployment root"))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(now + _VALID)
            .add_extension(issuer_id, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )

    def usage(*, signs_certificates: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=not signs_certificates,
            key_cert_sign=signs_certificates,
            crl_sign=signs_certificates,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )

    root = (
        begun("Polymodal deployment root", root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs_certificates=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    # C2PA demands digitalSignature and a purpose, and refuses "any" purpose.
    # Source: https://spec.c2pa.org (C2PA 2.x, 14.5.1 Certificate profile).
    signer = (
        begun("Polymodal media signer", key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
        )
        .sign(root_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    chain = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in (signer, root))
    return SigningIdentity(private_key=private.decode("ascii"), chain=chain.decode("ascii"))


@contextlib.contextmanager
def _locked(key_path: Path) -> Iterator[None]:
    if key_path.exists():
        # The folder of a mounted secret cannot be written.
        yield
        return
    path = key_path.with_suffix(".lock")
    path.parent.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
    with os.fdopen(descriptor) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
    draft.replace(path)


if __name__ == "__main__":
    signing_identity(*map(Path, sys.argv[1:]))
