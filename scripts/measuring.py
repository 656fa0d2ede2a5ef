"""What the scripts that measure share: databases that are filled once, servers, and what has to be installed."""

import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# Packages have this profile, so it is measured.
OPTIMISED = TARGET / "dist"
# Another one can be named, to compare with.
PROGRAM = pathlib.Path(os.environ.get("SERVER_PROGRAM", OPTIMISED / "wharfinger"))
KEPT = TARGET / "bench"
RESULTS = ROOT / "bench" / "results"
SIZES = {
    "full": {"tokens": 1_000_000, "registries": 10_000, "each": 100},
    "quick": {"tokens": 20_000, "registries": 100, "each": 20},
}
# Cold requests of each row of the benchmark. There is an account for each, and some.
COLD = {"full": 8, "quick": 4}
# No cap stops a row. The defaults count the same, only to other numbers.
CAPS = [
    "--maximum-registries=1000000",
    "--maximum-tokens=100000000",
    "--maximum-app-tokens=100000000",
    "--maximum-api-tokens=100000000",
]


def say(text):
    print(text, flush=True)


def fail(text):
    sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {text}")


def install(wanted):
    """Installs what is missing on Debian, if it may, and else says what to install."""
    # Debian keeps servers out of a user's PATH.
    path = os.environ["PATH"] + ":/usr/sbin"
    missing = [package for tool, package in wanted if not shutil.which(tool, path=path)]
    if not missing:
        return
    command = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        command.insert(0, "sudo")
    allowed = os.geteuid() == 0 or subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0
    if not shutil.which("apt-get") or not allowed:
        fail(f"missing: {', '.join(missing)}. Install them; on Debian: {' '.join(command)}")
    say(f"installing {' '.join(missing)}")
    subprocess.run(command, check=True, stdout=sys.stderr)


def build():
    subprocess.run(
        ["cargo", "build", "--profile", "dist", "--locked", "--bin", "wharfinger", "--examples"], cwd=ROOT, check=True
    )


def clean_environment():
    """Without settings of the caller, which would change what is measured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WHARFINGER_")}
    kept["WHARFINGER_LOG_FORMAT"] = "json"
    # Like the caps; by a variable, as an older release that is compared with does not know it.
    kept["WHARFINGER_CHANGES_PER_HOUR"] = "4000000000"
    return kept


# The database

class Sqlite:
    name = "sqlite"

    def __init__(self, key):
        self.filled, self.used = KEPT / f"sqlite-{key}", KEPT / "sqlite-in-use"

    def begin(self):
        shutil.rmtree(self.filled, ignore_errors=True)
        return self.settings(self.filled)

    def copy(self):
        shutil.rmtree(self.used, ignore_errors=True)
        shutil.copytree(self.filled, self.used)
        # The server's measurement must not include writes that the copy left.
        os.sync()
        return self.settings(self.used)

    def settings(self, folder):
        return [f"--data-dir={folder / 'data'}"]

    def wal(self):
        with contextlib.suppress(FileNotFoundError):
            return (self.used / "data" / "wharfinger.db-wal").stat().st_size
        return None

    def remove(self):
        shutil.rmtree(self.used, ignore_errors=True)


class Postgres(Sqlite):
    """Databases of its own beside the one that the URL names; the folder keeps the server key."""

    name = "postgres"

    def __init__(self, key, url):
        self.url = urllib.parse.urlsplit(url)
        place = hashlib.sha256(url.encode()).hexdigest()[:8]
        self.filled, self.used = KEPT / f"postgres-{key}-{place}", KEPT / "postgres-in-use"
        self.database = f"wharfinger_bench_{key}"

    def psql(self, *statements):
        for statement in statements:
            command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", self.url.geturl(), "-c", statement]
            subprocess.run(command, check=True, env={**os.environ, "PGOPTIONS": "-c client_min_messages=warning"})

    def begin(self, program=PROGRAM):
        shutil.rmtree(self.filled, ignore_errors=True)
        self.psql(f"DROP DATABASE IF EXISTS {self.database}", f"CREATE DATABASE {self.database}")
        settings = self.settings(self.filled)
        subprocess.run([program, *settings, "keys", "init"], check=True, env=clean_environment(), stdout=sys.stderr)
        return settings

    def copy(self):
        shutil.rmtree(self.used, ignore_errors=True)
        shutil.copytree(self.filled, self.used)
        drop, make = f"DROP DATABASE IF EXISTS {self.database}_used", f"CREATE DATABASE {self.database}_used"
        self.psql(drop, f"{make} TEMPLATE {self.database}", "CHECKPOINT")
        return self.settings(self.used)

    def settings(self, folder):
        database = self.database + ("_used" if folder == self.used else "")
        url = self.url._replace(path=f"/{database}").geturl()
        return [f"--data-dir={folder / 'data'}", f"--database-url={url}"]

    def wal(self):
        return None

    def remove(self):
        super().remove()
        self.psql(f"DROP DATABASE IF EXISTS {self.database}_used")


class Empty(Postgres):
    """A database without anything, which a first start fills with an account."""

    def remove(self):
        super().remove()
        shutil.rmtree(self.filled, ignore_errors=True)
        self.psql(f"DROP DATABASE IF EXISTS {self.database}")


@contextlib.contextmanager
def postgres_at(url, name):
    """The URL of a PostgreSQL: the one named, or of one that is started for this and waits for its disk."""
    if url:
        yield url
        return
    environment = {**os.environ, "POSTGRES_DIR": str(KEPT / f"postgres-{name}")}
    postgres = ROOT / "scripts" / "postgres"
    subprocess.run([postgres, "stop"], env=environment, check=True)
    run = subprocess.run([postgres, "start", "--fsync"], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    try:
        yield run.stdout.strip()
    finally:
        subprocess.run([postgres, "stop"], env=environment, check=True)


def made_from(size):
    """A short name for all that decides what a filled database looks like."""
    digest = hashlib.sha256(json.dumps([SIZES[size], COLD[size]]).encode())
    for path in [ROOT / "benches" / "fill.rs", *sorted((ROOT / "migrations").rglob("*.sql"))]:
        digest.update(path.read_bytes())
    return f"{size}_{digest.hexdigest()[:8]}"


def filled_in(size, url=None):
    """Where the filled database of this size is or will be: on SQLite, or beside the one of a PostgreSQL URL."""
    key = made_from(size)
    return Postgres(key, url) if url else Sqlite(key)


def fill(database, size):
    """Fills the database unless that was done before. Returns what is to be known of it."""
    told = database.filled / "told.json"
    if told.exists():
        say(f"the database is that of {told.parent.name}")
        return json.loads(told.read_text())
    sizes = SIZES[size]
    say(f"filling {database.name}: {sizes['tokens']} tokens, {sizes['registries']} registries with {sizes['each']} each")
    settings = database.begin()
    # As many accounts as there are cold rows, and some.
    command = [OPTIMISED / "examples" / "bench-fill", *settings, *CAPS, f"--accounts={12 * COLD[size]}"]
    command += [f"--{name}={value}" for name, value in sizes.items()]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=clean_environment(), check=False)
    if run.returncode:
        fail("the database could not be filled")
    known = json.loads(run.stdout)
    tokens = sizes["tokens"] + sizes["registries"] * sizes["each"]
    known["filled_per_second"] = round(tokens / known["seconds"])
    say(f"  {known['seconds']:.0f} s for the tokens, {known['filled_per_second']}/s through the service")
    told.write_text(json.dumps(known))
    return known


# Servers

def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


class Server:
    """A process that answers on a port; `ready` is how long it took until it did, in milliseconds.

    `tls` is what its certificate is checked by (an SSLContext), if it speaks TLS.
    """

    def __init__(self, command, port, path, log, tls=None):
        self.port, self.tls = port, tls
        log = open(KEPT / f"{log}.log", "wb")
        began = time.monotonic()
        self.process = subprocess.Popen(command, stdout=log, stderr=log, env=clean_environment())
        log.close()
        while not self.answers(path):
            if self.process.poll() is not None or time.monotonic() - began > 60:
                fail(f"{command[0]} did not start; its log is in {KEPT}")
            time.sleep(0.0005)
        self.ready = (time.monotonic() - began) * 1000

    def answers(self, path):
        if self.tls:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=5, context=self.tls)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status == 200
        return False

    def memory(self, field):
        """VmRSS: now; VmHWM: at most so far. In MB."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return round(int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M)[1]) / 1024, 1)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def running(server):
    try:
        yield server
    finally:
        server.stop()


def start_product(settings, log="wharfinger", program=PROGRAM, port=None, tls=None):
    port = port or free_port()
    command = [program, *settings, *CAPS, f"--listen=127.0.0.1:{port}"]
    return Server(command, port, "/readyz", log, tls)


def probe_fsync():
    """How long this disk takes to keep 4 kB, in milliseconds."""
    taken, path = [], KEPT / "fsync"
    with open(path, "wb", buffering=0) as file:
        for _ in range(200):
            began = time.monotonic()
            file.write(b"\0" * 4096)
            os.fsync(file.fileno())
            taken.append((time.monotonic() - began) * 1000)
    path.unlink()
    taken.sort()
    return {"median": statistics.median(taken), "p99": taken[197]}


def commit():
    run = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown"


def processor():
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
        if found:
            return found[1]
    return platform.machine()
