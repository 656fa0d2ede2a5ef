"""The clients: Wharfinger's API and command line, its token endpoint, plain HTTP, skopeo and buildah."""

import base64
import http.client
import json
import os
import subprocess
from collections import namedtuple
from urllib.parse import urlencode, urlsplit

Answer = namedtuple("Answer", "status headers body")
Credentials = namedtuple("Credentials", "user password")
# Time limits for a request and for a run of a program, in seconds.
REQUEST, RUN = 30, 60


def ask(address, method, target, headers=(), body=None):
    """Sends one request, its target exactly as it is given; headers are pairs and may repeat."""
    host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=REQUEST)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None or method in ("POST", "PUT", "PATCH"):
            connection.putheader("Content-Length", str(len(body or b"")))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def basic(credentials):
    """The header that sends name and password."""
    return "Authorization", "Basic " + base64.b64encode(":".join(credentials).encode()).decode()


def bearer(jwt):
    """The header that sends a JWT."""
    return "Authorization", f"Bearer {jwt}"


def decoded(jwt):
    """The header and the claims of a JWT."""
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in jwt.split(".")[:2]]


def encoded(part):
    """Bytes as a part of a JWT."""
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def run(*command, **environment):
    """Runs a program: whether it went well, and all it said."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=RUN,
        check=False,
    )
    return done.returncode == 0, done.stdout.decode(errors="replace")


class Wharfinger:
    """The server that scripts/with-server started."""

    def __init__(self):
        self.url = os.environ["SERVER_URL"]
        self.address = urlsplit(self.url).netloc
        self.admin = Credentials(*os.environ["ADMIN"].split(":", 1))

    def api(self, method, path, body=None):
        """Asks the API as Admin. What is refused breaks off the part that asked."""
        headers = [basic(self.admin)]
        if body is not None:
            headers.append(("Content-Type", "application/json"))
            body = json.dumps(body).encode()
        answer = ask(self.address, method, path, headers, body)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.body.decode()}")
        return answer.body

    def registry(self, name):
        """Makes a registry."""
        body = {"properties": {"name": name, "location": "de/fra"}}
        return Owned(self, name, json.loads(self.api("POST", "/registries", body))["id"])

    def app_token(self, title):
        """Makes an app token of the Admin, as Quay's clients do."""
        made = json.loads(self.api("POST", "/api/v1/user/apptoken", {"title": title}))
        return Credentials("$app", made["token"]["token_code"])

    def delete_app_tokens(self):
        """Deletes every app token of the Admin."""
        for token in json.loads(self.api("GET", "/api/v1/user/apptoken"))["tokens"]:
            self.api("DELETE", f"/api/v1/user/apptoken/{token['uuid']}")

    def command(self, *words, **environment):
        """Runs a command of the program against the server's database; what it printed."""
        done = subprocess.run(
            [os.environ["SERVER_PROGRAM"], *words],
            env={**os.environ, "WHARFINGER_PUBLIC_URL": self.url, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=RUN,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.decode()}")
        return done.stdout.decode()

    def login(self, service, credentials, *scopes, endpoint="/token"):
        """Asks the token endpoint as Docker does."""
        query = urlencode([("service", service), *(("scope", scope) for scope in scopes)])
        return ask(self.address, "GET", f"{endpoint}?{query}", [basic(credentials)])

    def form(self, service, **fields):
        """Asks the token endpoint as containerd does."""
        form = urlencode({"service": service, "client_id": "acceptance", **fields}).encode()
        return ask(self.address, "POST", "/token", [("Content-Type", "application/x-www-form-urlencoded")], form)

    def jwt(self, service, credentials, *scopes):
        """The JWT for these scopes."""
        answer = self.login(service, credentials, *scopes)
        if answer.status != 200:
            raise RuntimeError(f"no JWT for {credentials.user}: {answer.status} {answer.body.decode()}")
        return json.loads(answer.body)["token"]


class Issuer:
    """An issuer of workloads' JWTs, whose key openssl makes and whose keys are pasted."""

    def __init__(self, wharfinger, folder, url):
        self.url, self.private = url, f"{folder}/issuer.pem"
        done, said = run("openssl", "genrsa", "-out", self.private, "2048")
        if not done:
            raise RuntimeError(said)
        told = subprocess.run(
            ["openssl", "rsa", "-in", self.private, "-noout", "-modulus"], capture_output=True, timeout=RUN, check=True
        )
        modulus = bytes.fromhex(told.stdout.decode().strip().split("=")[1])
        key = {"kty": "RSA", "kid": "1", "n": encoded(modulus), "e": "AQAB"}
        body = {"properties": {"url": url, "kind": "github", "jwks": {"keys": [key]}}}
        self.key = json.loads(wharfinger.api("POST", "/issuers", body))["id"]

    def sign(self, claims):
        """A JWT with these claims."""
        parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "kid": "1"}, {"iss": self.url, **claims})]
        text = ".".join(map(encoded, parts))
        signed = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self.private],
            input=text.encode(),
            capture_output=True,
            timeout=RUN,
            check=True,
        )
        return f"{text}.{encoded(signed.stdout)}"


class Owned:
    """A registry at Wharfinger, and its tokens."""

    def __init__(self, wharfinger, name, key):
        self.wharfinger, self.name, self.key = wharfinger, name, key
        self.hostname = f"{name}.localhost"
        self.ids = {}

    def token(self, name, *scopes, **properties):
        """Makes a token; a scope is (type, name, action...)."""
        wanted = [{"type": kind, "name": of, "actions": list(actions)} for kind, of, *actions in scopes]
        body = {"properties": {"name": name, "scopes": wanted, **properties}}
        made = json.loads(self.wharfinger.api("POST", f"/registries/{self.key}/tokens", body))
        self.ids[name] = made["id"]
        credentials = made["properties"]["credentials"]
        return Credentials(credentials["username"], credentials["password"])

    def change(self, name, **properties):
        """Changes a token."""
        self.wharfinger.api("PATCH", f"/registries/{self.key}/tokens/{self.ids[name]}", properties)

    def remove(self, name):
        """Deletes a token."""
        self.wharfinger.api("DELETE", f"/registries/{self.key}/tokens/{self.ids[name]}")

    def delete(self):
        """Deletes the registry."""
        self.wharfinger.api("DELETE", f"/registries/{self.key}")

    def auth_config(self, bundle):
        """The configuration that the API prints."""
        query = urlencode({"for": "distribution2", "bundle": bundle})
        return self.wharfinger.api("GET", f"/registries/{self.key}/auth-config?{query}").decode()

    def auth_bundle(self):
        """The certificates that the API prints."""
        return self.wharfinger.api("GET", f"/registries/{self.key}/auth-bundle.pem").decode()


class Skopeo:
    """skopeo, which knows nothing of this machine's settings and leaves nothing in them."""

    def __init__(self, folder):
        os.makedirs(f"{folder}/none", exist_ok=True)
        self.folder = folder
        self.fetched = 0
        self.environment = {
            "HOME": folder,
            "XDG_DATA_HOME": folder,
            "XDG_RUNTIME_DIR": folder,
            "CONTAINERS_REGISTRIES_CONF": "/dev/null",
            # As root it would note the blobs it saw in /var/lib/containers. So it takes itself for a user.
            "_CONTAINERS_ROOTLESS_UID": "1",
        }

    def __call__(self, *words):
        common = ["--insecure-policy", "--registries.d", f"{self.folder}/none", "--tmpdir", self.folder]
        return run("skopeo", *common, *words, **self.environment)

    def push(self, layout, address, name, credentials):
        """Pushes a layout: whether it could, and what it said."""
        words = ["--dest-tls-verify=false", "--dest-creds", ":".join(credentials)]
        return self("copy", *words, layout.reference(), f"docker://{address}/{name}")

    def pull(self, address, name, credentials=None, authfile=None):
        """Pulls into a new folder: whether it could, what it said, and where the folder is."""
        self.fetched += 1
        folder = f"{self.folder}/pulled-{self.fetched}"
        words = ["--src-tls-verify=false"]
        if credentials:
            words += ["--src-creds", ":".join(credentials)]
        # An empty file knows nobody.
        words += ["--authfile", authfile or f"{self.folder}/nobody.json"]
        return *self("copy", *words, f"docker://{address}/{name}", f"oci:{folder}"), folder

    def delete(self, address, name, credentials):
        """Deletes an image."""
        return self("delete", "--tls-verify=false", "--creds", ":".join(credentials), f"docker://{address}/{name}")

    def login(self, address, credentials, authfile):
        """Logs in, as `docker login` does."""
        words = ["--authfile", authfile, "-u", credentials.user, "-p", credentials.password]
        return self("login", "--tls-verify=false", *words, address)


class Buildah:
    """buildah with a store of its own, and without a network or special rights."""

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.folder = folder

    def __call__(self, *words):
        policy = f"{self.folder}/policy.json"
        with open(policy, "w", encoding="utf-8") as file:
            json.dump({"default": [{"type": "insecureAcceptAnything"}]}, file)
        store = ["--storage-driver", "vfs", "--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run"]
        if words[0] in ("from", "pull", "push", "commit"):
            words = [words[0], "--signature-policy", policy, *words[1:]]
        return run("buildah", *store, *words, HOME=self.folder, CONTAINERS_REGISTRIES_CONF="/dev/null")
