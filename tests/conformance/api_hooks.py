"""Hooks of schemathesis: every request that changes something is signed by a client's key, and operators' calls carry
the token. ASSAY_FUZZ_KEY names the key's file, ASSAY_FUZZ_TOKEN the token's."""

import os
import pathlib
import sys
import urllib.parse

import requests
import schemathesis

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from http_signatures import Signer  # noqa: E402

SIGNER = Signer.from_pem(os.environ["ASSAY_FUZZ_KEY"])
TOKEN = pathlib.Path(os.environ["ASSAY_FUZZ_TOKEN"]).read_text().strip()
OPERATORS = ("/ledger/deposits", "/ban")


class Signed(requests.auth.AuthBase):
    """Signs what is sent, byte for byte."""

    def __call__(self, request):
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return request
        path = urllib.parse.urlsplit(request.url)
        if path.path.endswith(OPERATORS):
            request.headers["Authorization"] = f"Bearer {TOKEN}"
            return request
        body = request.body.encode() if isinstance(request.body, str) else request.body
        upload = "/blobs/" in path.path
        key = request.headers.get("Idempotency-Key")
        key = key.decode("latin-1") if isinstance(key, bytes) else key
        headers, _ = SIGNER.sign(
            request.method, path.path, path.query, None if upload else (body or b""), key
        )
        headers.pop("idempotency-key", None)
        request.headers.update(headers)
        return request


@schemathesis.hook
def before_call(context, case, kwargs):
    kwargs["auth"] = Signed()
