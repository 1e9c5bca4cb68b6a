"""What schemathesis needs to be a client and the operator of a serving aggregator.

    SCHEMATHESIS_HOOKS=schemathesis_hooks ASSAY_KEY=client.key ASSAY_TOKEN=operator.token ASSAY_BACKUPS=/tmp/backups \
    ASSAY_REAL='{"job": {"like": "blake3:[0-9a-f]{64}", "use": "blake3:..."}}' \
    st --config-file schemathesis.toml run http://127.0.0.1:7700/api/v1/openapi.json

Requests are signed last, when their bytes are known: with the client's key where the description asks for a signature,
with the operator's token where it asks for that.
"""

import hashlib
import json
import os
import pathlib
import re
import secrets
import urllib.parse

import requests
import schemathesis
from http_signatures import Signer

SIGNER = Signer.from_pem(os.environ["ASSAY_KEY"])
TOKEN = pathlib.Path(os.environ["ASSAY_TOKEN"]).read_text().strip()
# Things that are there, each used for about half of what could be one.
REAL = json.loads(os.environ["ASSAY_REAL"])
BACKUPS = os.environ["ASSAY_BACKUPS"]


class Signed(requests.auth.AuthBase):
    """A client's signature over what is sent."""

    def __call__(self, request):
        at = urllib.parse.urlsplit(request.url)
        body = request.body.encode() if isinstance(request.body, str) else request.body
        # A blob's digest is in its path: its bytes are not signed again.
        signed = None if "/blobs/" in at.path else body or None
        key = request.headers.get("Idempotency-Key")
        headers, _ = SIGNER.sign(request.method, at.path, at.query, signed, key)
        request.headers.update({name: value for name, value in headers.items() if name != "idempotency-key"})
        return request


class Operator(requests.auth.AuthBase):
    """The operator's token."""

    def __call__(self, request):
        request.headers["Authorization"] = f"Bearer {TOKEN}"
        return request


def asks(scheme):
    """Whether an operation is described as asking for a scheme."""
    return lambda ctx: any(scheme in one for one in ctx.operation.definition.raw.get("security", []))


schemathesis.auth.set_from_requests(Signed()).apply_to(asks("signature"))
schemathesis.auth.set_from_requests(Operator()).apply_to(asks("operator"))


def likely(value):
    """The same for the same value, in every run: true for half of all."""
    return hashlib.sha256(repr(value).encode()).digest()[0] % 2 == 0


@schemathesis.hook
def map_path_parameters(ctx, parameters):
    for name, real in REAL.items():
        value = (parameters or {}).get(name)
        if isinstance(value, str) and re.fullmatch(real["like"], value) and likely(value):
            parameters[name] = real["use"]
    return parameters


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Backups go where they may, each into a folder of its own; no two requests have one idempotency key."""
    to = case.body.get("to") if isinstance(case.body, dict) else None
    if isinstance(to, str) and to.startswith("/") and not to.startswith(BACKUPS):
        case.body["to"] = f"{BACKUPS}/{hashlib.sha256(to.encode()).hexdigest()}"
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch("[!-~]{1,255}", key):
        case.headers["Idempotency-Key"] = key[:239] + secrets.token_hex(8)
