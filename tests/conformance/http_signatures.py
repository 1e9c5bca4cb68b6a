"""Signs requests to an aggregator as its API asks for (RFC 9421, RFC 9530), with nothing of Assay's in the way.

    python http_signatures.py              writes http_signatures.json, the vectors that the Rust side verifies
    from http_signatures import Signer     signs requests of other programs

Needs `cryptography` and `blake3`, which http_signatures.txt pins.
"""

import base64
import hashlib
import json
import pathlib
import secrets
import time

import blake3
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

# A key for these vectors alone: nobody holds anything under it.
VECTOR_SECRET = int.from_bytes(hashlib.sha256(b"assay http signature vectors").digest(), "big") >> 1


class Signer:
    """A client's key, and what it takes to sign a request with it."""

    def __init__(self, key):
        self.key = key
        self.der = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.keyid = blake3.blake3(self.der).hexdigest()

    @classmethod
    def from_pem(cls, path):
        pem = pathlib.Path(path).read_bytes()
        return cls(serialization.load_pem_private_key(pem, password=None))

    def sign(self, method, path, query=None, body=None, idempotency_key=None, created=None, nonce=None):
        """The headers that make a request signed, and the text that they sign."""
        headers = {}
        parts = [("@method", method), ("@path", path), ("@query", "?" + (query or ""))]
        if body is not None:
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            headers["content-digest"] = f"sha-256=:{digest}:"
            parts.append(("content-digest", headers["content-digest"]))
        if idempotency_key is not None:
            headers["idempotency-key"] = idempotency_key
            parts.append(("idempotency-key", idempotency_key))
        created = int(time.time()) if created is None else created
        nonce = nonce or secrets.token_hex(16)
        listed = " ".join(f'"{name}"' for name, _ in parts)
        params = (
            f'({listed});created={created};keyid="{self.keyid}";nonce="{nonce}"'
            ';alg="ecdsa-p256-sha256";tag="assay"'
        )
        base = "".join(f'"{name}": {value}\n' for name, value in parts)
        base += f'"@signature-params": {params}'
        der = self.key.sign(base.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = utils.decode_dss_signature(der)
        signature = base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()
        headers["signature-input"] = f"assay={params}"
        headers["signature"] = f"assay=:{signature}:"
        headers["assay-key"] = base64.b64encode(self.der).decode()
        return headers, base


def vectors():
    signer = Signer(ec.derive_private_key(VECTOR_SECRET, ec.SECP256R1()))
    pem = signer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    requests = [
        ("read without query", "GET", "/api/v1/jobs", None, None, None),
        ("read with query", "GET", "/api/v1/jobs", "limit=10", None, None),
        ("submission", "POST", "/api/v1/jobs", None, '{"package": "{}", "bundle": "{}"}', "order-17"),
        ("upload", "PUT", "/api/v1/jobs/blake3:00/blobs/blake3:11", None, None, None),
        ("empty object", "POST", "/api/v1/liquidations", "", "{}", None),
    ]
    for number, (name, method, path, query, body, key) in enumerate(requests):
        data = None if body is None else body.encode()
        created, nonce = 1_700_000_000 + number, f"{number:032x}"
        headers, base = signer.sign(method, path, query, data, key, created, nonce)
        yield {
            "name": name,
            "public_key": pem.decode(),
            "client": f"blake3:{signer.keyid}",
            "method": method,
            "path": path,
            "query": query,
            "body": body,
            "headers": headers,
            "base": base,
        }


if __name__ == "__main__":
    target = pathlib.Path(__file__).with_suffix(".json")
    target.write_text(json.dumps(list(vectors()), indent=1) + "\n")
