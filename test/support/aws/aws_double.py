"""
A corner of AWS over TLS: S3, STS and a service of JSON. It checks every signature with botocore's signers, and chunks and
trailers with nothing but hmac; what is not signed with the keys that it knows gets 403, and nothing is done.

On stdin one line of JSON: {"cert", "key": paths of PEM files, "keys": {id: {"secret", "token"}}}.
On stdout first its port, then a line of JSON for each request, and one for keys that STS hands out.
"""
import base64
import datetime
import hashlib
import hmac
import json
import re
import secrets
import ssl
import sys
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

given = json.loads(sys.stdin.readline())
KEYS = given["keys"]
OBJECTS, UPLOADS, LOCK = {}, {}, threading.Lock()


class Refused(Exception):
    pass


def check(holds, why):
    if not holds:
        raise Refused(why)


class OnServer:
    """What differs for who receives: the names that are signed are the client's, and a path is decoded first."""

    def headers_to_sign(self, request):
        signed = HTTPHeaders()
        for name, value in request.headers.items():
            if name.lower() in request.context["signed"]:
                signed[name.lower()] = value
        return signed


class S3OnServer(OnServer, S3SigV4Auth):
    def _normalize_url_path(self, path):
        return quote(unquote(path), safe="/~")


class OtherOnServer(OnServer, SigV4Auth):
    pass


def hmac_hex(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def signing_key(secret, scope):
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Verified:
    """A request whose signature holds."""

    def __init__(self, handler):
        self.handler, headers = handler, handler.headers
        url = urlsplit(handler.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        authorizations = headers.get_all("Authorization") or []
        self.is_presigned = "X-Amz-Signature" in query
        if self.is_presigned:
            check(not authorizations, "two signatures")
            check(query["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256", "algorithm")
            credential, signed, theirs = (query[f"X-Amz-{name}"] for name in ("Credential", "SignedHeaders", "Signature"))
            timestamp, token = query["X-Amz-Date"], query.get("X-Amz-Security-Token")
        else:
            check(len(authorizations) == 1, "no signature, or two")
            read = re.fullmatch(
                r"AWS4-HMAC-SHA256 Credential=([^,]+), SignedHeaders=([^,]+), Signature=([0-9a-f]{64})", authorizations[0]
            )
            check(read, "authorization")
            credential, signed, theirs = read.groups()
            check(len(headers.get_all("X-Amz-Date")) == 1, "one date")
            timestamp, token = headers["X-Amz-Date"], headers.get("X-Amz-Security-Token")
        self.id, self.scope = credential.split("/", 1)
        date, region, self.service, end = self.scope.split("/")
        check(end == "aws4_request" and timestamp.startswith(date), "scope")
        check(self.id in KEYS, "InvalidAccessKeyId")
        keys = KEYS[self.id]
        check(token == keys.get("token"), "token")
        host = headers["Host"].split(":")[0]
        check(f"{self.service}.{region}.amazonaws.com" in host, "scope of another host")
        signed = signed.split(";")
        check("host" in signed, "host is not signed")
        for name in headers.keys():
            check(not name.lower().startswith("x-amz-") or name.lower() in signed, f"{name} is not signed")
        self.timestamp, self.key = timestamp, signing_key(keys["secret"], self.scope)
        at = datetime.datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
        age = (datetime.datetime.now(datetime.timezone.utc) - at).total_seconds()
        check(-900 < age < (int(query["X-Amz-Expires"]) if self.is_presigned else 900), "RequestTimeTooSkewed")
        self.mode = headers.get("X-Amz-Content-SHA256") or ("UNSIGNED-PAYLOAD" if self.is_presigned and self.service == "s3" else None)
        check(self.mode or self.service != "s3", "x-amz-content-sha256 is missing")
        self.body = self.read()
        expected = self.mode or sha256(self.body)

        auth = (S3OnServer if self.service == "s3" else OtherOnServer)(
            Credentials(self.id, keys["secret"]), self.service, region
        )
        bare = "&".join(part for part in url.query.split("&") if not part.startswith("X-Amz-Signature="))
        asked = AWSRequest(method=handler.command, url=f"https://{headers['Host']}{url.path}{'?' + bare if bare else ''}")
        asked.headers = HTTPHeaders()
        for name, value in headers.items():
            asked.headers[name] = value
        del asked.headers["X-Amz-Content-SHA256"]
        asked.headers["X-Amz-Content-SHA256"] = expected
        asked.context.update(timestamp=timestamp, signed=signed)
        ours = auth.signature(auth.string_to_sign(asked, auth.canonical_request(asked)), asked)
        check(hmac.compare_digest(ours, theirs), "SignatureDoesNotMatch")
        if self.mode and self.mode.startswith("STREAMING-"):
            self.body = self.decoded(theirs)
        elif self.mode and self.mode != "UNSIGNED-PAYLOAD":
            check(self.mode == sha256(self.body), "XAmzContentSHA256Mismatch")

    def read(self):
        stream, headers = self.handler.rfile, self.handler.headers
        if headers.get("Transfer-Encoding", "").lower() != "chunked":
            return stream.read(int(headers.get("Content-Length") or 0))
        body = b""
        while True:
            size = int(stream.readline().split(b";")[0], 16)
            if size == 0:
                while stream.readline() not in (b"\r\n", b""):
                    pass
                return body
            body += stream.read(size)
            stream.readline()

    def decoded(self, seed):
        """aws-chunked, with each signature checked."""
        is_signed, has_trailers = "HMAC" in self.mode, self.mode.endswith("-TRAILER")
        rest, data, previous = self.body, b"", seed
        while True:
            line, rest = rest.split(b"\r\n", 1)
            size = int(line.split(b";")[0], 16)
            piece = rest[:size]
            if is_signed:
                found = re.fullmatch(rb"[0-9a-fA-F]+;chunk-signature=([0-9a-f]{64})", line)
                check(found, "chunk without a signature")
                text = ["AWS4-HMAC-SHA256-PAYLOAD", self.timestamp, self.scope, previous, sha256(b""), sha256(piece)]
                previous = hmac_hex(self.key, "\n".join(text))
                check(found[1].decode() == previous, "signature of a chunk")
            data += piece
            if size == 0:
                break
            check(rest[size : size + 2] == b"\r\n", "end of a chunk")
            rest = rest[size + 2 :]
        check(len(data) == int(self.handler.headers["X-Amz-Decoded-Content-Length"]), "decoded length")
        if not has_trailers:
            check(rest == b"\r\n", "end of the body")
            return data
        lines = [line for line in rest.replace(b"\r\n", b"\n").split(b"\n") if line]
        trailers = dict(line.decode().split(":", 1) for line in lines)
        signature = trailers.pop("x-amz-trailer-signature", None)
        if is_signed:
            canonical = "".join(f"{name}:{value}\n" for name, value in trailers.items())
            text = ["AWS4-HMAC-SHA256-TRAILER", self.timestamp, self.scope, previous, sha256(canonical.encode())]
            check(signature == hmac_hex(self.key, "\n".join(text)), "signature of the trailers")
        crc32 = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        check(trailers == {"x-amz-checksum-crc32": crc32}, "checksum")
        return data


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **fields):
        if status == 204:
            body = b""
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_request(self):
        seen = {"method": self.command, "path": self.path, "fields": self.headers.items()}
        try:
            it = Verified(self)
            seen.update(id=it.id, service=it.service, mode=it.mode, bytes=len(it.body))
            with LOCK:
                print(json.dumps(seen), flush=True)
                {"s3": self.s3, "sts": self.sts}.get(it.service, self.json)(it)
        except Refused as why:
            print(json.dumps({**seen, "refused": str(why)}), flush=True)
            self.close_connection = True
            self.answer(403, f"<Error><Code>SignatureDoesNotMatch</Code><Message>{why}</Message></Error>".encode())

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_request

    def s3(self, it):
        url = urlsplit(self.path)
        key, query = unquote(url.path), dict(parse_qsl(url.query, keep_blank_values=True))
        host = self.headers["Host"]
        key = key if host.startswith("s3.") else f"/{host.split('.')[0]}{key}"
        if "uploads" in query:
            upload = secrets.token_hex(8)
            UPLOADS[upload] = {}
            return self.answer(200, f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>".encode())
        if "partNumber" in query:
            UPLOADS[query["uploadId"]][int(query["partNumber"])] = it.body
            return self.answer(200, ETag=f'"{hashlib.md5(it.body).hexdigest()}"')
        if "uploadId" in query:
            parts = UPLOADS.pop(query["uploadId"])
            OBJECTS[key] = b"".join(parts[number] for number in sorted(parts))
            return self.answer(200, b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")
        if "list-type" in query:
            bucket = key.rstrip("/") + "/"
            found = [name for name in sorted(OBJECTS) if name.startswith(bucket + query.get("prefix", ""))]
            rows = "".join(
                f"<Contents><Key>{escape(quote(name[len(bucket):]) if 'encoding-type' in query else name[len(bucket):])}</Key><Size>{len(OBJECTS[name])}</Size>"
                "<LastModified>2026-11-22T00:00:00.000Z</LastModified></Contents>"
                for name in found
            )
            return self.answer(200, f"<ListBucketResult>{'<EncodingType>url</EncodingType>' if 'encoding-type' in query else ''}<KeyCount>{len(found)}</KeyCount>{rows}</ListBucketResult>".encode())
        if self.command == "PUT":
            OBJECTS[key] = it.body
            return self.answer(200, ETag=f'"{hashlib.md5(it.body).hexdigest()}"')
        if self.command == "DELETE":
            OBJECTS.pop(key, None)
            return self.answer(204)
        if key not in OBJECTS:
            return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        whole, fields = OBJECTS[key], {"ETag": '"x"', "Last_Modified": "Sun, 22 Nov 2026 00:00:00 GMT"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            return self.answer(200, whole, **fields)
        first, last = int(asked[1]), min(int(asked[2] or len(whole)), len(whole) - 1)
        self.answer(206, whole[first : last + 1], Content_Range=f"bytes {first}-{last}/{len(whole)}", **fields)

    def sts(self, it):
        if "Action=GetCallerIdentity" in self.path:
            return self.answer(200, f"<GetCallerIdentityResponse><Account>{it.id}</Account></GetCallerIdentityResponse>".encode())
        asked = dict(parse_qsl(it.body.decode()))
        if asked.get("Action") == "GetCallerIdentity":
            who = "<Arn>arn:aws:sts::123456789012:assumed-role/agents/a</Arn><UserId>AROA:a</UserId><Account>123456789012</Account>"
            return self.answer(200, f"<GetCallerIdentityResponse><GetCallerIdentityResult>{who}</GetCallerIdentityResult></GetCallerIdentityResponse>".encode())
        if asked.get("Action") != "AssumeRole" or asked.get("ExternalId") != "shared":
            return self.answer(403, b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>")
        keys = {"id": f"ASIA{secrets.token_hex(8).upper()}", "secret": secrets.token_urlsafe(30), "token": base64.b64encode(secrets.token_bytes(60)).decode()}
        KEYS[keys["id"]] = keys
        print(json.dumps({"issued": keys}), flush=True)
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        self.answer(
            200,
            (
                '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
                f"<AccessKeyId>{keys['id']}</AccessKeyId><SecretAccessKey>{keys['secret']}</SecretAccessKey>"
                f"<SessionToken>{keys['token']}</SessionToken><Expiration>{end.strftime('%Y-%m-%dT%H:%M:%SZ')}</Expiration>"
                f"</Credentials><AssumedRoleUser><AssumedRoleId>AROA:a</AssumedRoleId><Arn>{escape(asked['RoleArn'])}</Arn></AssumedRoleUser>"
                "</AssumeRoleResult><ResponseMetadata><RequestId>c6104cbe</RequestId></ResponseMetadata></AssumeRoleResponse>"
            ).encode(),
        )

    def json(self, it):
        self.answer(200, json.dumps({"TableNames": [f"{len(it.body)}"]}).encode(), Content_Type="application/x-amz-json-1.0")


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(given["cert"], given["key"])
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(json.dumps({"port": server.server_address[1]}), flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
server.serve_forever()
