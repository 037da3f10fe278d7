"""The process that signs media, or reads strangers' manifests: never both.

``python -m serve.media.provenance_worker MEMORY_BYTES``. One that reads never gets the key.
"""

from __future__ import annotations

import io
import json
from itertools import accumulate
from typing import Any, Final

import c2pa
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from serve.media.claims import ReadJob, SignJob
from serve.media.frames import Done, Refused
from serve.media.worker_loop import Answer, limit_cpu, serve_jobs

# Nothing is ever fetched: neither manifests, nor revocation lists, nor time stamps.
_OFFLINE: Final[dict[str, Any]] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": False},
    "builder": {"thumbnail": {"enabled": False}},
}
_ES256_HALF_BYTES: Final = 32


def main() -> None:
    """Serve until standard input ends."""
    serve_jobs(_answer)


def _answer(head: bytes, content: bytes, memory_bytes: int) -> Answer:
    del memory_bytes
    fields = json.loads(head)
    limit_cpu(fields["cpu_s"])
    try:
        if "definition" in fields:
            return _signed(SignJob(**fields), content)
        return _read(ReadJob(**fields), content)
    except c2pa.C2paError.ManifestNotFound:
        return Done(mime_type=""), b""
    except c2pa.C2paError.NotSupported:
        return Refused(fault="unsupported", message="this type of file holds no manifest"), b""
    except MemoryError:
        return Refused(fault="too_large", message="the file needs too much memory"), b""
    except Exception as exc:  # noqa: BLE001  # process border: the library raises anything
        message = f"the manifest cannot be read or written ({type(exc).__name__})"
        return Refused(fault="broken", message=message), b""


def _signed(job: SignJob, content: bytes) -> Answer:
    ends = list(accumulate(job.parent_bytes, initial=job.n_bytes))
    context = c2pa.Context.from_dict(_OFFLINE)
    builder = c2pa.Builder(job.definition, context=context)
    for index, (parent, mime_type) in enumerate(zip(job.parents, job.parent_types, strict=True)):
        source = io.BytesIO(content[ends[index] : ends[index + 1]])
        try:
            builder.add_ingredient(parent, mime_type, source)
        except c2pa.C2paError.NotSupported:
            # Named all the same, without what it says of itself.
            builder.add_ingredient(parent, "application/octet-stream", source)
    written = io.BytesIO()
    signer = c2pa.Signer.from_callback(
        _es256(job.private_key), c2pa.C2paSigningAlg.ES256, job.chain
    )
    builder.sign(signer, job.mime_type, io.BytesIO(content[: job.n_bytes]), written)
    return Done(mime_type=job.mime_type), written.getvalue()


def _es256(private_key: str) -> Any:
    """Signs as COSE wants it: both halves of the signature, one behind the other."""
    key = load_pem_private_key(private_key.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the signing key is no elliptic-curve key")

    def sign(data: bytes) -> bytes:
        halves = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return b"".join(half.to_bytes(_ES256_HALF_BYTES, "big") for half in halves)

    return sign


def _read(job: ReadJob, content: bytes) -> Answer:
    trust = {"trust": {"user_anchors": job.root}, **_OFFLINE}
    trust["verify"] = {**_OFFLINE["verify"], "verify_trust": True}
    context = c2pa.Context.from_dict(trust)
    with c2pa.Reader(None, io.BytesIO(content), context=context) as reader:
        return Done(mime_type="application/json"), reader.json().encode()


if __name__ == "__main__":
    main()
