"""Checks that a delivery is signed by its provider, over the raw body; the secret is handed in.

The token in a hook's URL is what keeps strangers out. This is the second lock, for the providers that have one.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import load_pem_x509_certificate

from connectors.payload import decoded
from connectors.reading import find, text_of
from connectors.table import Provider, Scheme

SVIX_TOLERANCE_MS = 5 * 60 * 1000  # docs.svix.com/receiving/verifying-payloads/how-manual
_SNS_HOST = re.compile(r"sns\.[a-z0-9-]{1,32}\.amazonaws\.com")
# docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html: the fields that are signed, in this order.
_SNS_NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_SNS_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")


class SignatureError(Exception):
    """The delivery is not signed, or not by whom it should be; the text tells no secret."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What came in, as it came in: the names of headers in lower case, `now` in ms, and SNS's certificate as PEM."""

    body: bytes
    headers: Mapping[str, str]
    now: int
    certificate: bytes = b""


def verify(provider: Provider, delivery: Delivery, secret: str) -> None:
    """Return where the delivery is signed; raise SignatureError where it isn't, ValueError where the secret is no key.

    The secret is: for `header` the value of the header `Authorization`; for `basic` `user:password`; for `body` and
    `smartlead` the word that the body carries; for `svix` the `whsec_…` key; for `mailgun` the signing key; for
    `sendgrid` the public key in base64; for `sns` the ARN of the topic.
    """
    if provider.signature is None:
        raise ValueError(f"{provider.name}: signs nothing, so no secret can be checked")
    _CHECKS[provider.signature](delivery, secret)


def certificate_url(body: bytes) -> str:
    """Return where the certificate of an SNS delivery is to be fetched; raise SignatureError unless AWS serves it."""
    return _aws_url(body, "SigningCertURL | SigningCertUrl")


def confirmation_url(body: bytes) -> str:
    """Return what is to be fetched to confirm an SNS subscription; raise SignatureError unless AWS serves it."""
    return _aws_url(body, "SubscribeURL")


def _aws_url(body: bytes, path: str) -> str:
    """Return the URL, so that nobody can make this service fetch another one."""
    url = _field(_json(body), path)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SignatureError(f"{path}: is no URL") from error
    if parts.scheme != "https" or parts.netloc != parts.hostname or port or not _SNS_HOST.fullmatch(parts.netloc):
        raise SignatureError(f"{path}: is not served by Amazon SNS")
    return url


def _header(delivery: Delivery, secret: str) -> None:
    _same(delivery.headers.get("authorization", ""), secret)


def _basic(delivery: Delivery, secret: str) -> None:
    _same(delivery.headers.get("authorization", ""), "Basic " + base64.b64encode(secret.encode()).decode())


def _body(delivery: Delivery, secret: str) -> None:
    _same(_field(_json(delivery.body), "secret"), secret)


def _smartlead(delivery: Delivery, secret: str) -> None:
    """Two generations: a signature in a header, and a word in the body where there is none."""
    signature = delivery.headers.get("x-smartlead-signature")
    if signature is None:
        _same(_field(_json(delivery.body), "secret_key"), secret)
    else:
        _same(signature, "sha256=" + hmac.digest(secret.encode(), delivery.body, hashlib.sha256).hex())


def _svix(delivery: Delivery, secret: str) -> None:
    names = [(f"svix-{part}", f"webhook-{part}") for part in ("id", "timestamp", "signature")]
    headers = delivery.headers
    message, timestamp, signatures = (headers.get(name) or headers.get(alias) or "" for name, alias in names)
    if not re.fullmatch("[0-9]{1,12}", timestamp) or abs(int(timestamp) * 1000 - delivery.now) > SVIX_TOLERANCE_MS:
        raise SignatureError("svix-timestamp: is missing, or more than five minutes away")
    signed = b".".join((message.encode(), timestamp.encode(), delivery.body))
    digest = hmac.digest(_base64(secret.removeprefix("whsec_"), "secret"), signed, hashlib.sha256)
    expected = ("v1," + base64.b64encode(digest).decode()).encode()
    if not any(hmac.compare_digest(one.encode(), expected) for one in signatures.split(" ")):
        raise SignatureError("svix-signature: none of them fits")


def _mailgun(delivery: Delivery, secret: str) -> None:
    """What is signed is a timestamp and a token, not the body: who has seen one delivery can forge others."""
    document = _json(delivery.body)
    timestamp, token, signature = (
        _field(document, f"signature.{part}") for part in ("timestamp", "token", "signature")
    )
    _same(signature, hmac.digest(secret.encode(), (timestamp + token).encode(), hashlib.sha256).hex())


def _sendgrid(delivery: Delivery, secret: str) -> None:
    key = load_der_public_key(_base64(secret, "secret"))
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("secret: expected the public key of an elliptic curve")  # noqa: TRY004 (its content is wrong)
    timestamp = delivery.headers.get("x-twilio-email-event-webhook-timestamp", "")
    signature = _signature(delivery.headers.get("x-twilio-email-event-webhook-signature", ""))
    try:
        key.verify(signature, timestamp.encode() + delivery.body, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise SignatureError("x-twilio-email-event-webhook-signature: doesn't fit") from error


def _sns(delivery: Delivery, secret: str) -> None:
    """Whoever has an AWS account can have SNS sign something, so the topic has to be the team's own."""
    document = _json(delivery.body)
    _same(_field(document, "TopicArn"), secret)
    names = _SNS_NOTIFICATION if _field(document, "Type") == "Notification" else _SNS_CONFIRMATION
    fields = [(name, text_of(find(document, name))) for name in names]
    signed = "".join(f"{name}\n{value}\n" for name, value in fields if value is not None)
    key = load_pem_x509_certificate(delivery.certificate).public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("certificate: expected one with an RSA key")  # noqa: TRY004 (its content is wrong)
    # SNS signs with SHA-1 unless its topic is set to version 2; forging would need a second preimage, not a collision.
    digest = hashes.SHA256() if text_of(find(document, "SignatureVersion")) == "2" else hashes.SHA1()  # noqa: S303
    try:
        key.verify(_signature(_field(document, "Signature")), signed.encode(), padding.PKCS1v15(), digest)
    except InvalidSignature as error:
        raise SignatureError("Signature: doesn't fit") from error


_CHECKS: dict[Scheme, Callable[[Delivery, str], None]] = {
    "header": _header,
    "basic": _basic,
    "body": _body,
    "smartlead": _smartlead,
    "svix": _svix,
    "mailgun": _mailgun,
    "sendgrid": _sendgrid,
    "sns": _sns,
}


def _same(signature: str, expected: str) -> None:
    if not hmac.compare_digest(signature.encode(), expected.encode()):
        raise SignatureError("the signature doesn't fit")


def _json(body: bytes) -> object:
    try:
        return decoded(body)
    except ValueError as error:
        raise SignatureError("body: is no JSON") from error


def _field(document: object, path: str) -> str:
    text = text_of(find(document, path))
    if text is None:
        raise SignatureError(f"{path}: is missing")
    return text


def _base64(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"{name}: expected base64") from error


def _signature(text: str) -> bytes:
    try:
        return _base64(text, "signature")
    except ValueError as error:
        raise SignatureError("the signature is no base64") from error
