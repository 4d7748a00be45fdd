"""An S3 that holds one bucket: ListObjectsV2 in pages of two, GetObject with ranges and If-Match.

Form of the answers: Amazon S3 API reference, ListObjectsV2 and GetObject.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 2


class Bucket:
    """Its objects, and what to do wrong. `calls`: method and path of every request."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.refuse: tuple[int, str] | None = None
        self.break_off = 0
        """So many answers end in their middle."""
        self.calls: list[str] = []
        self.ranges: list[str] = []


def etag_of(data: bytes) -> str:
    return f'"{md5(data, usedforsecurity=False).hexdigest()}"'


@contextmanager
def serving(bucket: Bucket) -> Iterator[str]:
    """Its address on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            bucket.calls.append(self.path)
            asked = urlsplit(self.path)
            key = unquote(asked.path).partition("/shop")[2].lstrip("/")
            if bucket.refuse is not None:
                status, code = bucket.refuse
                return self.answer(status, f"<Error><Code>{code}</Code></Error>".encode())
            if not key:
                return self.answer(200, listing(parse_qs(asked.query)))
            return self.get(bucket.objects[key])

        def get(self, data: bytes) -> None:
            if self.headers["If-Match"] != etag_of(data):
                return self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            bucket.ranges.append(self.headers["Range"])
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
            assert found is not None
            part = data[int(found[1]) : int(found[2]) + 1]
            if bucket.break_off:
                bucket.break_off -= 1
                self.send_response(206)
                self.send_header("Content-Length", str(len(part)))
                self.end_headers()
                self.wfile.write(part[: len(part) // 2])
                self.close_connection = True
                return None
            return self.answer(206, part)

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def listing(query: dict[str, list[str]]) -> bytes:
        prefix = query.get("prefix", [""])[0]
        after = query.get("continuation-token", [""])[0]
        keys = [key for key in sorted(bucket.objects) if key.startswith(prefix) and key > after]
        page, more = keys[:PAGE], len(keys) > PAGE
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(bucket.objects[key])}</Size>"
            f"<ETag>{escape(etag_of(bucket.objects[key]))}</ETag></Contents>"
            for key in page
        )
        token = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if more else ""
        truncated = str(more).lower()
        return (
            f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{entries}{token}"
            "</ListBucketResult>"
        ).encode()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
