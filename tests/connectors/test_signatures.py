"""Shows that a delivery is taken only as its provider has signed it: no other body, key, time or topic."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from connectors.providers import PROVIDERS
from connectors.signatures import Delivery, SignatureError, certificate_url, confirmation_url, verify

NOW = 1_772_438_400_000
BODY = b'{"event": "x", "secret": "word", "secret_key": "word"}'


def sign(secret: str, body: bytes) -> str:
    """Return a hexadecimal HMAC-SHA256."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def delivery(body: bytes = BODY, headers: dict[str, str] | None = None, **other: Any) -> Delivery:
    """Return what came in."""
    return Delivery(**{"body": body, "headers": headers or {}, "now": NOW, **other})


def refused(name: str, what: Delivery, secret: str) -> str:
    """Return why a delivery is not taken."""
    with pytest.raises(SignatureError) as caught:
        verify(PROVIDERS[name], what, secret)
    assert secret not in str(caught.value)
    return str(caught.value)


SVIX_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def svix(**headers: str) -> Delivery:
    """Return the example of Svix's own documentation."""
    published = {
        "svix-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "svix-timestamp": "1614265330",
        "svix-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    body = b'{"test": 2432232314}'
    return delivery(
        body, {**published, **{name.replace("_", "-"): text for name, text in headers.items()}}, now=1_614_265_330_000
    )


def test_svix_as_its_documentation_has_it() -> None:
    verify(PROVIDERS["resend"], svix(), SVIX_SECRET)
    good = svix().headers["svix-signature"]
    verify(PROVIDERS["resend"], svix(svix_signature=f"v1,aaaa v2,{good} {good}"), SVIX_SECRET)
    renamed = {name.replace("svix", "webhook"): text for name, text in svix().headers.items()}
    verify(PROVIDERS["resend"], delivery(svix().body, renamed, now=svix().now), SVIX_SECRET)


@pytest.mark.parametrize(
    "what",
    [
        svix(svix_id="msg_other"),
        svix(svix_timestamp="1614265331"),
        svix(svix_signature=""),
        svix(svix_signature="v1,AAAA"),
        svix(svix_signature="v1,ü"),
        svix(svix_timestamp=""),
        svix(svix_timestamp="²"),
        delivery(b'{"test": 2432232315}', dict(svix().headers), now=svix().now),
        delivery(svix().body, dict(svix().headers), now=svix().now + 301_000),
        delivery(svix().body, dict(svix().headers), now=svix().now - 301_000),
        delivery(svix().body),
    ],
)
def test_svix_refuses_whatever_is_changed(what: Delivery) -> None:
    assert refused("resend", what, SVIX_SECRET).startswith("svix-")


def test_another_key_fits_nothing() -> None:
    refused("resend", svix(), "whsec_" + base64.b64encode(b"another").decode())


def mailgun(secret: str, **changes: str) -> Delivery:
    """Return a delivery of Mailgun."""
    signature = {"timestamp": "1772438400", "token": "t", "signature": sign(secret, b"1772438400t"), **changes}
    return delivery(json.dumps({"signature": signature, "event-data": {}}).encode())


def test_mailgun_signs_timestamp_and_token() -> None:
    verify(PROVIDERS["mailgun"], mailgun("k"), "k")
    refused("mailgun", mailgun("k"), "other")
    refused("mailgun", mailgun("k", token="u"), "k")
    refused("mailgun", mailgun("k", signature="ü"), "k")
    assert refused("mailgun", delivery(b"{}"), "k") == "signature.timestamp: is missing"
    assert refused("mailgun", delivery(b"no json"), "k") == "body: is no JSON"


def sendgrid(key: ec.EllipticCurvePrivateKey, body: bytes = BODY, timestamp: str = "1772438400") -> Delivery:
    """Return a signed delivery of SendGrid."""
    signature = base64.b64encode(key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()
    return delivery(
        body,
        {
            "x-twilio-email-event-webhook-signature": signature,
            "x-twilio-email-event-webhook-timestamp": timestamp,
        },
    )


def public(key: Any) -> str:
    """Return a public key as SendGrid shows it."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def test_sendgrid_signs_timestamp_and_body() -> None:
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    verify(PROVIDERS["sendgrid"], sendgrid(key), public(key))
    refused("sendgrid", sendgrid(key), public(other))
    refused("sendgrid", delivery(BODY + b" ", dict(sendgrid(key).headers)), public(key))
    refused("sendgrid", delivery(BODY), public(key))
    no_base64 = {**sendgrid(key).headers, "x-twilio-email-event-webhook-signature": "!"}
    refused("sendgrid", delivery(BODY, no_base64), public(key))


@pytest.mark.parametrize("secret", ["no base64!", "AAAA", public(rsa.generate_private_key(65537, 2048))])
def test_a_key_that_is_none_is_an_error_of_ours(secret: str) -> None:
    with pytest.raises(ValueError):
        verify(PROVIDERS["sendgrid"], sendgrid(ec.generate_private_key(ec.SECP256R1())), secret)


RSA_KEY = rsa.generate_private_key(65537, 2048)
TOPIC = "arn:aws:sns:eu-west-1:123456789012:events"


def certificate(key: rsa.RSAPrivateKey) -> bytes:
    """Return a certificate of a key, as SNS serves one."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    today = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, today, today + timedelta(days=365))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def sns(version: str = "2", key: rsa.RSAPrivateKey = RSA_KEY, changes: dict[str, str] | None = None) -> Delivery:
    """Return a notification that is signed as AWS documents it, and then changed."""
    fields = {"Message": '{"eventType": "Send"}', "MessageId": "m", "Timestamp": "2026-03-02T08:00:00.000Z"}
    fields |= {"TopicArn": TOPIC, "Type": "Notification"}
    signed = "".join(f"{name}\n{fields[name]}\n" for name in sorted(fields)).encode()
    digest = hashes.SHA256() if version == "2" else hashes.SHA1()
    signature = base64.b64encode(key.sign(signed, padding.PKCS1v15(), digest)).decode()
    fields |= {"SignatureVersion": version, "Signature": signature, **(changes or {})}
    return delivery(json.dumps(fields).encode(), certificate=certificate(RSA_KEY))


@pytest.mark.parametrize("version", ["1", "2"])
def test_sns_signs_the_wrapping_in_both_versions(version: str) -> None:
    verify(PROVIDERS["ses"], sns(version), TOPIC)


def test_sns_signs_a_confirmation_with_its_own_fields() -> None:
    fields = {
        "Message": "m",
        "MessageId": "i",
        "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/?x",
        "Timestamp": "t",
    }
    fields |= {"Token": "k", "TopicArn": TOPIC, "Type": "SubscriptionConfirmation"}
    signed = "".join(f"{name}\n{fields[name]}\n" for name in sorted(fields)).encode()
    signature = base64.b64encode(RSA_KEY.sign(signed, padding.PKCS1v15(), hashes.SHA1())).decode()
    body = json.dumps({**fields, "SignatureVersion": "1", "Signature": signature}).encode()
    verify(PROVIDERS["ses"], delivery(body, certificate=certificate(RSA_KEY)), TOPIC)


@pytest.mark.parametrize(
    "what",
    [
        sns(changes={"Message": '{"eventType": "Open"}'}),
        sns(changes={"TopicArn": "arn:aws:sns:eu-west-1:666:events"}),
        sns(changes={"Subject": "added"}),
        sns(changes={"SignatureVersion": "1"}),
        sns(changes={"Signature": "no base64!"}),
        sns(changes={"Signature": ""}),
        sns(key=rsa.generate_private_key(65537, 2048)),
    ],
)
def test_sns_refuses_whatever_is_changed(what: Delivery) -> None:
    refused("ses", what, TOPIC)


def test_sns_signs_for_strangers_too_so_their_topics_are_refused() -> None:
    assert refused("ses", sns(), TOPIC.replace("123456789012", "666666666666")) == "the signature doesn't fit"


@pytest.mark.parametrize("find_url", [certificate_url, confirmation_url])
@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-x.pem", True),
        ("http://sns.eu-west-1.amazonaws.com/x.pem", False),
        ("https://sns.eu-west-1.amazonaws.com.example.org/x.pem", False),
        ("https://example.org/sns.eu-west-1.amazonaws.com", False),
        ("https://sns.eu-west-1.amazonaws.com:8443/x.pem", False),
        ("https://u@sns.eu-west-1.amazonaws.com/x.pem", False),
        ("https://bucket.s3.amazonaws.com/x.pem", False),
        ("https://sns.eu-west-1.amazonaws.com@example.org/", False),
        ("https://[::1", False),
        ("https://sns.eu-west-1.amazonaws.com:x/", False),
        ("file:///etc/passwd", False),
        (7, False),
    ],
)
def test_only_what_aws_serves_is_fetched(find_url: Callable[[bytes], str], url: object, right: bool) -> None:  # noqa: FBT001
    body = json.dumps({"SigningCertURL": url, "SubscribeURL": url}).encode()
    if right:
        assert find_url(body) == url
    else:
        with pytest.raises(SignatureError):
            find_url(body)


def test_words_in_headers_and_bodies_are_compared() -> None:
    basic = {"authorization": "Basic " + base64.b64encode(b"user:password").decode()}
    verify(PROVIDERS["postmark"], delivery(headers=basic), "user:password")
    refused("postmark", delivery(headers=basic), "user:other")
    verify(PROVIDERS["instantly"], delivery(headers={"authorization": "word"}), "word")
    refused("instantly", delivery(), "word")
    verify(PROVIDERS["lemlist"], delivery(), "word")
    refused("lemlist", delivery(), "other")


def test_smartlead_signs_in_a_header_or_sends_a_word_along() -> None:
    """Where the header is there, it alone counts."""
    verify(PROVIDERS["smartlead"], delivery(), "word")
    refused("smartlead", delivery(), "other")
    signed = {"x-smartlead-signature": f"sha256={sign('word', BODY)}"}
    verify(PROVIDERS["smartlead"], delivery(headers=signed), "word")
    refused("smartlead", delivery(BODY + b" ", signed), "word")
    refused("smartlead", delivery(headers={"x-smartlead-signature": "sha256="}), "word")


@pytest.mark.parametrize("name", ["heyreach", "woodpecker", "reply.io"])
def test_who_signs_nothing_can_be_given_no_secret(name: str) -> None:
    """A secret that is not checked would only look like a lock."""
    with pytest.raises(ValueError, match="signs nothing"):
        verify(PROVIDERS[name], delivery(), "word")
