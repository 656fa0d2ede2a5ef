"""Asks a server for scripts: over connections that are kept, with JSON on both sides; and again and again, by the clock."""

import base64
import http.client
import json
import re
import socket
import threading
import time

from measuring import fail

# Between two requests of a client that asks again and again, in seconds.
PAUSE = 0.02


def basic(name, password):
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


class Asker:
    """A kept-alive connection. `retry_after` is that header of the last answer."""

    def __init__(self, port, auth):
        self.port, self.auth, self.connection, self.retry_after = port, auth, None, None

    def ask(self, method, path, body=None, auth=None, headers=None):
        """The status and the JSON of the answer; status 0 if there was none. A body that is a text is a form's."""
        self.connection = self.connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Authorization": self.auth if auth is None else auth, **(headers or {})}
        if isinstance(body, str):
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        elif body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body)
        try:
            self.connection.request(method, path, body, {name: text for name, text in headers.items() if text})
            answer = self.connection.getresponse()
            content = answer.read()
            self.retry_after = answer.headers["Retry-After"]
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection = None
            return 0, {}
        try:
            return answer.status, json.loads(content) if content else {}
        except ValueError:
            return answer.status, {}

    def must(self, status, method, path, body=None, auth=None, headers=None):
        found, answer = self.ask(method, path, body, auth, headers)
        if found != status:
            fail(f"{method} {path} was {found} instead of {status}: {answer}")
        return answer


class Client(threading.Thread):
    """Asks the same thing again and again, and keeps what came and when.

    `connect` opens a connection to the port. `kept` says whether one is used for all requests or each has its own.
    """

    def __init__(self, port, request, connect=None, kept=True):
        super().__init__(daemon=True)
        self.port, self.request, self.kept = port, request, kept
        self.connect = connect or (lambda port: socket.create_connection(("127.0.0.1", port), timeout=20))
        self.answers, self.late, self.ended = [], [], threading.Event()

    def run(self):
        stream = None
        while not self.ended.is_set():
            before = time.monotonic()
            time.sleep(PAUSE)
            began = time.monotonic()
            self.late.append((began - before - PAUSE) * 1000)
            try:
                stream = stream or self.connect(self.port)
                stream.sendall(self.request)
                status, headers = read_answer(stream)
            except OSError:
                status, headers, stream = 0, b"", None
            self.answers.append((status, b"retry-after:" in headers, (time.monotonic() - began) * 1000))
            if stream and not self.kept:
                stream.close()
                stream = None

    def stop(self):
        self.ended.set()
        self.join()


def read_answer(stream):
    """The status and the headers, in lower case, of one answer; its body is read too."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = stream.recv(65536)
        if not more:
            raise OSError("closed")
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    head = head.lower()
    length = re.search(rb"content-length: (\d+)", head)
    missing = (int(length[1]) if length else 0) - len(body)
    while missing > 0:
        more = stream.recv(min(missing, 65536))
        if not more:
            raise OSError("closed")
        missing -= len(more)
    return int(head[9:12]), head


def request_of(method, path, auth="", body=""):
    """A request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"Authorization: {auth}"] if auth else []
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def quantiles(values):
    values = sorted(values)
    return {name: round(values[min(len(values) - 1, int(len(values) * part))], 1)
            for name, part in (("p50", 0.5), ("p99", 0.99), ("most", 1))}  # fmt: skip
