"""A client that openapi-generator made sends its requests to the configured address alone.

    hosts.py DOCUMENT PACKAGE

Every operation of the document is called. A proxy stands for the network: it sees the whole address of each request,
and nothing leaves this program.
"""

import importlib
import inspect
import json
import pkgutil
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

document, package = sys.argv[1], importlib.import_module(sys.argv[2])
# Nobody has this name (RFC 6761).
HOST = "http://wharfinger.invalid:8080/wharf"
seen = []


class Network(BaseHTTPRequestHandler):
    def answer(self):
        # A parameter of a query may have the name of a part of another path.
        seen.append((self.command, self.path.split("?")[0], self.headers["Authorization"]))
        self.send_response(204)
        self.end_headers()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def log_message(self, *_):
        pass


def snake(name):
    """The name that the generator gives a parameter."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


network = ThreadingHTTPServer(("127.0.0.1", 0), Network)
Thread(target=network.serve_forever, daemon=True).start()
configuration = package.Configuration(host=HOST, username="admin", password="its password", access_token="a token")
configuration.proxy = f"http://127.0.0.1:{network.server_port}"
client = package.ApiClient(configuration)

with open(document, encoding="utf-8") as file:
    paths = json.load(file)["paths"]
parts = {snake(part) for path in paths for part in re.findall(r"{(\w+)}", path)}
for module in pkgutil.iter_modules(package.api.__path__):
    module = importlib.import_module(f"{package.__name__}.api.{module.name}")
    for _, kind in inspect.getmembers(module, inspect.isclass):
        if kind.__module__ != module.__name__:
            continue
        api = kind(client)
        for name, prepare in inspect.getmembers(api, inspect.ismethod):
            if name.endswith("_serialize"):
                taken = inspect.signature(prepare).parameters
                given = {parameter: "x" if parameter in parts else None for parameter in taken}
                client.call_api(*prepare(**{**given, "_host_index": 0}))
network.shutdown()

plain = [(re.sub(r"{\w+}", "x", path), item) for path, item in paths.items()]
wanted = sorted((method.upper(), HOST + path) for path, item in plain for method in item if method != "servers")
found = sorted((method, target) for method, target, _ in seen)
elsewhere = sorted({target for _, target, credentials in seen if credentials and not target.startswith(f"{HOST}/")})
if elsewhere:
    sys.exit(f"{package.__name__} sends credentials elsewhere than to {HOST}: {', '.join(elsewhere)}")
assert found == wanted, (set(found) ^ set(wanted))
assert sum(credentials is not None for _, _, credentials in seen) > len(seen) / 2, "hardly any operation sent credentials"
print(f"{package.__name__}: {len(found)} operations go to the configured host")
