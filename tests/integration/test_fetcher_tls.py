"""The guarded fetcher over TLS: the address is pinned, the certificate is for the name."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from serve.domain.errors import InvalidRequest
from serve.media.fetcher import GuardedFetcher


def certificate_for(name: str, folder: Path) -> Path:
    """A self-signed certificate and its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@asynccontextmanager
async def https_server(certificate: Path) -> AsyncIterator[tuple[int, list[str | None]]]:
    """Its port, and the names that clients ask for while shaking hands."""
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\npicture")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], names


async def this_machine(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.mark.parametrize(("certified", "is_fetched"), [("here.example", True), ("not.it", False)])
async def test_the_certificate_must_be_for_the_name_in_the_url(
    tmp_path: Path,
    certified: str,
    is_fetched: bool,
) -> None:
    certificate = certificate_for(certified, tmp_path)
    async with https_server(certificate) as (port, names):
        fetcher = GuardedFetcher(
            max_bytes=100,
            allow_hosts=frozenset({f"here.example:{port}"}),
            resolve=this_machine,
            verify=ssl.create_default_context(cafile=str(certificate)),
        )
        async with fetcher:
            if is_fetched:
                assert await fetcher.fetch(f"https://here.example:{port}/") == (b"picture", None)
            else:
                with pytest.raises(InvalidRequest, match="could not be fetched"):
                    await fetcher.fetch(f"https://here.example:{port}/")
    assert names == ["here.example"]
