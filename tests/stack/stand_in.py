"""A small server in place of a part that is not under test: `/healthz` says 200.

    python stand_in.py PORT [--tls CERTIFICATE KEY] [--keys FILE] [--child]

`--keys` writes the keys that the Functions host would; `--child` starts a process in a group of
its own that ignores SIGTERM, as the worst of services would. `/die` ends the server at once.
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/die":
            os._exit(3)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"pid": os.getpid(), "env": dict(os.environ)}).encode())

    def log_message(self, *_: object) -> None:
        sys.stdout.write(f"asked {self.path}\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--tls", nargs=2)
    parser.add_argument("--keys", type=Path)
    parser.add_argument("--child", action="store_true")
    options = parser.parse_args()
    if options.child:
        subprocess.Popen([sys.executable, "-c", STUBBORN], start_new_session=True)
    if options.keys:
        options.keys.parent.mkdir(parents=True, exist_ok=True)
        system = {"eventgrid_extension": "e-key", "blobs_extension": "b-key"}
        options.keys.write_text(json.dumps({"master": "m", "host": "h-key", "system": system}))
    server = HTTPServer(("127.0.0.1", options.port), Handler)
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*options.tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
