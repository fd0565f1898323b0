"""Sets the header of requests within intercepted tunnels."""
import os

from proxy.http.parser import HttpParser
from proxy.http.proxy import HttpProxyBasePlugin

VALUE = ("Bearer " + os.environ["BENCH_TOKEN"]).encode()


class SetsHeader(HttpProxyBasePlugin):
    def handle_client_request(self, request: HttpParser) -> HttpParser:
        request.del_header(b"authorization")
        request.add_header(b"Authorization", VALUE)
        return request
