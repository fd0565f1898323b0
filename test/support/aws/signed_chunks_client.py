"""
What the older SDKs send: chunks of a body that are signed one by one. Arguments: the host and port of S3, those of the
proxy, and the file of its CA. The keys are those of the environment.
"""
import base64
import datetime
import hashlib
import hmac
import http.client
import os
import ssl
import sys
import zlib

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

authority, proxy, ca = sys.argv[1:4]
host, port = authority.split(":")
keys = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])


def put(key, data, chunk, has_trailers):
    mode = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + ("-TRAILER" if has_trailers else "")
    pieces = [data[at : at + chunk] for at in range(0, len(data), chunk)] + [b""]
    checksum = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    length = sum(len(f"{len(piece):x}") + 83 + len(piece) + 2 for piece in pieces)
    if has_trailers:
        length += len(f"x-amz-checksum-crc32:{checksum}\r\n") + len("x-amz-trailer-signature:") + 64 + 2
    request = AWSRequest("PUT", f"https://{authority}/bucket/{key}")
    request.headers["Content-Encoding"] = "aws-chunked"
    request.headers["X-Amz-Content-SHA256"] = mode
    request.headers["X-Amz-Decoded-Content-Length"] = str(len(data))
    request.headers["Content-Length"] = str(length)
    if has_trailers:
        request.headers["X-Amz-Trailer"] = "x-amz-checksum-crc32"
    auth = S3SigV4Auth(keys, "s3", "eu-west-1")
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    request.context["timestamp"] = now
    request.headers["X-Amz-Date"] = now
    previous = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    auth._inject_signature_to_request(request, previous)
    scope = f"{now[:8]}/eu-west-1/s3/aws4_request"
    secret = ("AWS4" + keys.secret_key).encode()
    for part in scope.split("/"):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()

    def sign(kind, *rest):
        return hmac.new(secret, "\n".join([kind, now, scope, *rest]).encode(), hashlib.sha256).hexdigest()

    def sha256(text):
        return hashlib.sha256(text).hexdigest()

    body = []
    for piece in pieces:
        previous = sign("AWS4-HMAC-SHA256-PAYLOAD", previous, sha256(b""), sha256(piece))
        body.append(f"{len(piece):x};chunk-signature={previous}\r\n".encode() + piece)
        body.append(b"\r\n" if piece or not has_trailers else b"")
    if has_trailers:
        signature = sign("AWS4-HMAC-SHA256-TRAILER", previous, sha256(f"x-amz-checksum-crc32:{checksum}\n".encode()))
        body.append(f"x-amz-checksum-crc32:{checksum}\r\nx-amz-trailer-signature:{signature}\r\n\r\n".encode())
    body = b"".join(body)
    assert len(body) == length, (len(body), length)
    connection = http.client.HTTPSConnection(*proxy.split(":"), context=ssl.create_default_context(cafile=ca))
    connection.set_tunnel(host, int(port))
    connection.request("PUT", f"/bucket/{key}", body, dict(request.headers.items()))
    answer = connection.getresponse()
    text = answer.read().decode()
    assert answer.status == 200, (answer.status, text)


put("chunks", b"0123456789" * 30_000, 65_536, False)
put("trailers", b"0123456789" * 30_000, 65_536, True)
put("empty", b"", 65_536, False)
print("done")
