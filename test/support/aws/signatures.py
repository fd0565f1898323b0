"""Canonical requests and signatures as botocore has them: a JSON list of requests on stdin, a list of answers on stdout."""
import json
import sys

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

KEYS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")


def answer(asked):
    auth = (S3SigV4Auth if asked["service"] == "s3" else SigV4Auth)(KEYS, asked["service"], asked["region"])
    request = AWSRequest(method=asked["method"], url=f"https://{asked['host']}{asked['path']}")
    fields = HTTPHeaders()
    for name, value in asked["fields"]:
        fields[name] = value
    request.headers = fields
    request.context["timestamp"] = asked["timestamp"]
    canonical = auth.canonical_request(request)
    return {
        "canonical": canonical,
        "signature": auth.signature(auth.string_to_sign(request, canonical), request),
    }


json.dump([answer(asked) for asked in json.load(sys.stdin)], sys.stdout)
