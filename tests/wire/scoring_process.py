"""A small process that keeps the scoring contract, for tests of the control plane.

It is started as `python scoring_process.py --model DIR --port P --shape S` and takes its orders for the
start from `DIR/orders.json` (`{"start": "ok" | "crash" | "mute", "name": ..., "until": FILE, "form": "nested",
"last": "user"}`, the last two to take no flat conversation, and none that another ends) and for a request from
its body (`{"sleep": s, "hold": FILE, "status": n, "die": true, "ill": true}`). It needs the standard library alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def wait_for(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.01)


def end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(0)


def is_nested(asked: dict) -> bool:
    given = (asked.get("input_data") or {}).get("input_string") or []
    return bool(given) and isinstance(given[0], list)


def last_role(asked: dict) -> str:
    given = (asked.get("input_data") or {}).get("input_string") or [{}]
    last = given[-1][-1] if isinstance(given[-1], list) else given[-1]
    return last.get("role", "")


class Scorer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet per answer: no wait for an acknowledgement in between
    orders: dict
    shape: str
    ill = False

    def do_GET(self) -> None:
        self.reply(503 if type(self).ill or self.orders.get("start") == "mute" else 200, b"{}")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        say(f"asked {self.path}")
        if self.orders.get("form") == "nested" and not is_nested(asked):
            self.reply(400, b'{"message": "a list of conversations is wanted"}')
            return
        if self.orders.get("last") == "user" and last_role(asked) != "user":
            self.reply(500, b'{"message": "the last message must be the user\'s"}')
            return
        if asked.get("die"):
            os._exit(9)
        type(self).ill = type(self).ill or asked.get("ill", False)
        time.sleep(asked.get("sleep", 0))
        if "hold" in asked:
            wait_for(asked["hold"])
        if asked.get("stream"):
            self.stream()
            return
        answer = {
            "output": self.orders.get("name"),
            "pid": os.getpid(),
            "shape": self.shape,
            "path": self.path,
            "asked": asked,
            "color": os.environ.get("COLOR"),
            "storage": os.environ.get("AZURE_STORAGE_CONNECTION_STRING"),
        }
        self.reply(asked.get("status", 200), json.dumps(answer).encode())

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number in range(3):
            self.wfile.write(f"data: {number}\n\n".encode())
        self.close_connection = True

    def log_message(self, *_args: object) -> None:
        return


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--shape", required=True)
    given = parser.parse_args()
    orders = json.loads((given.model / "orders.json").read_text())
    say(f"starting to serve {orders.get('name')}")
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    if orders.get("start") == "crash":
        sys.exit("cannot load the model")
    if "child" in orders:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(orders["child"]).write_text(str(child.pid))
    if "until" in orders:
        wait_for(orders["until"])
    Scorer.orders, Scorer.shape = orders, given.shape
    ThreadingHTTPServer(("127.0.0.1", given.port), Scorer).serve_forever()


if __name__ == "__main__":
    main()
