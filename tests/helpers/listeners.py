"""A server on loopback that stands in for whoever is notified over a network."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

from processes import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator


class Listener(BaseHTTPRequestHandler):
    """Notes what is posted, as (header Title, body); refuses what goes to /wrong."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/wrong":
            self.send_error(403)
            return
        self.server.heard.append((self.headers["Title"], body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listening() -> Iterator[HTTPServer]:
    """Serve on a free port; what was posted is in `heard`."""
    served = HTTPServer(("127.0.0.1", 0), Listener)
    served.heard = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    try:
        yield served
    finally:
        served.shutdown()
        thread.join(PATIENCE)
        served.server_close()
