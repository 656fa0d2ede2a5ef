"""How scripts ask a server: over connections that are kept, with JSON on both sides."""

import base64
import http.client
import json

from measuring import fail


def basic(name, password):
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


class Asker:
    """A kept-alive connection."""

    def __init__(self, port, auth):
        self.port, self.auth, self.connection = port, auth, None

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
