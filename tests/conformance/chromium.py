"""Chromium without a screen and without the internet."""

import base64
import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import serialization


def command(fabric, host: str, profile, *switches: str) -> list[str]:
    """Starts a browser that finds `host` at the edge and trusts it."""
    return [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={profile}",
        f"--host-resolver-rules=MAP {host} 127.0.0.1",
        f"--ignore-certificate-errors-spki-list={key_hash(fabric, host)}",
        *switches,
    ]


def key_hash(fabric, host: str) -> str:
    """What it knows the edge's key by, as it trusts no CA of ours."""
    with fabric.connect(host) as link:
        certificate = x509.load_der_x509_certificate(link.getpeercert(binary_form=True))
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(hashlib.sha256(certificate.public_key().public_bytes(*form)).digest()).decode()
