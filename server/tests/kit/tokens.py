#!/usr/bin/env python3
"""An authorization server's tokens without the server: keys, their public half as a JWKS file, signed tokens.

    {"jwks": PATH, "tokens": {NAME: {"claims": {...}, "expires_in": SECONDS, "signed": HOW}}}      on standard input
    {NAME: TOKEN}                                                                                on standard output

HOW is `properly` (RS256, the default), `es256`, `by_a_stranger` (another key under the same id), `not_at_all` (alg none),
or `with_the_public_key` (HS256, the public key as the shared secret).
"""
from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def main() -> None:
    order = json.load(sys.stdin)
    own, strangers = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    curve = ec.generate_private_key(ec.SECP256R1())
    keys = [RSAAlgorithm.to_jwk(own.public_key(), as_dict=True) | {"kid": "r1", "use": "sig", "alg": "RS256"},
            ECAlgorithm.to_jwk(curve.public_key(), as_dict=True) | {"kid": "e1", "use": "sig", "alg": "ES256"}]
    with open(order["jwks"], "w", encoding="utf-8") as file:
        json.dump({"keys": keys}, file)
    public = own.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def sign(token: dict) -> str:
        now = int(time.time())
        claims = {"iat": now, "exp": now + token.get("expires_in", 600)} | token["claims"]
        how = token.get("signed", "properly")
        if how == "properly":
            return jwt.encode(claims, own, algorithm="RS256", headers={"kid": "r1"})
        if how == "es256":
            return jwt.encode(claims, curve, algorithm="ES256", headers={"kid": "e1"})
        if how == "by_a_stranger":
            return jwt.encode(claims, strangers, algorithm="RS256", headers={"kid": "r1"})
        algorithm = {"not_at_all": "none", "with_the_public_key": "HS256"}[how]
        header = {"typ": "JWT", "alg": algorithm, "kid": "r1"}
        text = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
        seal = b"" if algorithm == "none" else hmac.new(public, text.encode(), hashlib.sha256).digest()
        return f"{text}.{encoded(seal)}"

    print(json.dumps({name: sign(token) for name, token in order["tokens"].items()}))


main()
