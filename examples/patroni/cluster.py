#!/usr/bin/env python3
"""Three PostgreSQL servers under Patroni, with etcd and HAProxy, on this one machine: for trials, never for data.

    examples/patroni/cluster.py            start them, print where they are, and end them with Ctrl-C
    examples/patroni/cluster.py --ports    on ports of 127.0.0.1 instead of network namespaces

Each node is a network namespace with an address of its own, as a machine would have. HAProxy runs in a fourth one, the
hub. Programs that use the database have to run there too. Namespaces need root. Where they are not permitted, the
script says so and takes ports of 127.0.0.1: then no link can be cut.

The configurations are etcd.env, patroni.yml and haproxy.cfg beside this file. Everything is below one folder in /tmp
and is removed at the end. The next start also removes what a killed run left. It needs etcd, haproxy, postgresql,
postgresql-client, iproute2 and util-linux. tests/acceptance/install fetches Patroni.
"""

import argparse
import contextlib
import ctypes
import grp
import json
import os
import pathlib
import pwd
import re
import secrets
import shutil
import signal
import socket
import string
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NODES = (1, 2, 3)
# Loopback, and addresses that exist in the namespaces alone.
NETWORKS = {True: "10.99.0.0/24", False: "127.0.0.0/8"}
HUB = "10.99.0.254"
PREFIX = "wharfinger-patroni-"
CLONE_NEWNET = 0x40000000
DATABASE = "wharfinger"


def quietly(*command):
    """Runs a command, and returns whether it succeeded."""
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def enter(namespace):
    """Takes this thread into a network namespace, and with it the threads and processes that it starts."""
    library = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}") as file:
        if library.setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")


def processes_in(folder):
    """The other processes that work in this folder, with their command lines.

    etcd and Patroni are started there, and their children stay there or below, PostgreSQL in its data folder. A zombie
    has no working folder.
    """
    found = {}
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.name == str(os.getpid()):
                continue
            place = pathlib.Path(os.readlink(process / "cwd"))
            if place == folder or folder in place.parents:
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(process.name)] = command.decode(errors="replace")
    return found


def send(pids, number):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def remove(name):
    """Ends what is left of a run, and removes its namespaces and its folder."""
    folder = pathlib.Path("/tmp") / name
    # PostgreSQL frees its shared memory if it is asked to end, not if it is killed. Patroni would start it again.
    found = processes_in(folder)
    postgres = {pid for pid, command in found.items() if is_postgres(command)}
    send(found.keys() - postgres, signal.SIGKILL)
    send(postgres, signal.SIGQUIT)
    send(postgres, signal.SIGCONT)
    for look in range(100):
        found = processes_in(folder)
        if not found:
            break
        if look > 50:
            send(found, signal.SIGKILL)
        time.sleep(0.1)
    for namespace in sorted(pathlib.Path("/run/netns").glob(f"{name}-*")):
        quietly("ip", "netns", "delete", namespace.name)
    shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers():
    for folder in pathlib.Path("/tmp").glob(f"{PREFIX}*"):
        run = folder.name.removeprefix(PREFIX)
        if run.isdigit() and (int(run) == os.getpid() or not is_alive(run)):
            remove(folder.name)


def is_alive(pid):
    """A zombie has no command line."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    return False


def is_postgres(command):
    return command.startswith("postgres: ") or re.match(r"\S*/postgres ", command) is not None


def programs_of_postgres():
    """The folder with PostgreSQL's programs, of the newest version. Debian keeps it out of PATH."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found and not shutil.which("initdb"):
        sys.exit(f"{sys.argv[0]}: there is no PostgreSQL server; on Debian: apt-get install postgresql")
    return found[-1].parent if found else pathlib.Path(shutil.which("initdb")).resolve().parent


class Node:
    """One of the three, with etcd, Patroni and PostgreSQL."""

    def __init__(self, cluster, number):
        self.cluster, self.number, self.name = cluster, number, f"n{number}"
        self.folder = cluster.folder / self.name
        self.namespace = f"{cluster.name}-{self.name}"
        self.address = f"10.99.0.{number}" if cluster.namespaced else "127.0.0.1"
        ports = {"postgres": 5432, "restapi": 8008, "clients": 2379, "peers": 2380}
        self.ports = ports if cluster.namespaced else {name: cluster.free_port() for name in ports}

    def at(self, service):
        return f"{self.address}:{self.ports[service]}"

    def write_configuration(self, values):
        self.folder.mkdir(mode=0o700)
        values = values | {"NAME": self.name, "FOLDER": self.folder}
        values |= {service.upper(): self.at(service) for service in self.ports}
        for file in ("patroni.yml", "etcd.env"):
            (self.folder / file).write_text(filled(file, values))
        if self.cluster.owner:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, self.cluster.owner, self.cluster.owner)

    def start(self, service):
        """Starts `etcd` or `patroni`, which starts PostgreSQL."""
        command, environment = [], {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}
        if self.cluster.namespaced:
            command += ["nsenter", f"--net=/run/netns/{self.namespace}"]
        if self.cluster.owner:
            owner, group = self.cluster.owner, grp.getgrgid(pwd.getpwnam(self.cluster.owner).pw_gid).gr_name
            command += ["setpriv", f"--reuid={owner}", f"--regid={group}", "--init-groups"]
        if service == "etcd":
            command += ["etcd"]
            lines = (self.folder / "etcd.env").read_text().splitlines()
            environment |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        else:
            command += [self.cluster.python, "-m", "patroni", "patroni.yml"]
            environment["PYTHONPATH"] = str(self.cluster.folder / "python")
        with open(self.folder / f"{service}.log", "ab") as log:
            # In a session of its own, so that Ctrl-C leaves it to `remove`.
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.cluster.started.append(process)

    def processes(self):
        """The processes of each kind: `etcd`, `patroni`, `postmaster` and `backends`."""
        kinds = {"etcd": [], "patroni": [], "postmaster": [], "backends": []}
        for pid, command in sorted(processes_in(self.folder).items()):
            if command.startswith("postgres: "):
                kind = "backends"
            elif is_postgres(command):
                kind = "postmaster"
            else:
                kind = "etcd" if re.match(r"\S*etcd ?$", command) else "patroni"
            kinds[kind].append(pid)
        return kinds

    def signal(self, number, *kinds):
        """Sends a signal to the processes of these kinds until it has met those that began meanwhile."""
        met = set()
        while pids := [pid for kind in kinds for pid in self.processes()[kind] if pid not in met]:
            send(pids, number)
            met.update(pids)

    def set_link(self, state):
        ip("-n", self.cluster.hub, "link", "set", self.name, state)

    def ask(self, path, body=None):
        """The status and the JSON that Patroni answers; status 0 if it does not."""
        request = urllib.request.Request(f"http://{self.at('restapi')}{path}", body and json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=2 if body is None else 60) as answer:
                status, content = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read()
        except OSError:
            return 0, {}
        try:
            return status, json.loads(content)
        except ValueError:
            return status, {"text": content.decode(errors="replace")}


def filled(file, values):
    """A configuration beside this file, with its names filled in."""
    return string.Template((HERE / file).read_text()).substitute(values)


class Cluster:
    """The three nodes and the proxy before them, from `start` to `stop`."""

    def __init__(self, ports=False):
        self.name = f"{PREFIX}{os.getpid()}"
        self.folder, self.hub = pathlib.Path("/tmp") / self.name, f"{self.name}-hub"
        self.started, self.held = [], []
        self.password = secrets.token_hex(16)
        # PostgreSQL refuses to run as root.
        self.owner = "postgres" if os.geteuid() == 0 else None
        remove_leftovers()
        self.namespaced = not ports and self.may_namespace()
        self.nodes = [Node(self, number) for number in NODES]
        self.proxy = f"127.0.0.1:{5000 if self.namespaced else self.free_port()}"

    def may_namespace(self):
        if os.geteuid() == 0 and quietly("ip", "netns", "add", self.hub):
            return True
        print("network namespaces are not permitted here: ports of 127.0.0.1 take their place", flush=True)
        return False

    def free_port(self):
        """A port that stays ours until the servers start."""
        held = socket.socket()
        held.bind(("127.0.0.1", 0))
        self.held.append(held)
        return held.getsockname()[1]

    def connect(self):
        """Makes the namespaces and the links from each to the hub, where this process goes."""
        enter(self.hub)
        ip("link", "set", "lo", "up")
        ip("link", "add", "bridge", "type", "bridge")
        ip("address", "add", f"{HUB}/24", "dev", "bridge")
        ip("link", "set", "bridge", "up")
        for node in self.nodes:
            ip("netns", "add", node.namespace)
            ip("link", "add", node.name, "type", "veth", "peer", "name", "eth0", "netns", node.namespace)
            ip("link", "set", node.name, "master", "bridge", "up")
            ip("-n", node.namespace, "address", "add", f"{node.address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", node.namespace, "link", "set", device, "up")

    def start(self):
        """Starts everything, and makes a role and a database for the service."""
        self.folder.mkdir(mode=0o755)
        self.install_patroni()
        if self.namespaced:
            self.connect()
        passwords = ("REPLICATION_PASSWORD", "SUPERUSER_PASSWORD", "REWIND_PASSWORD")
        values = {name: secrets.token_hex(16) for name in passwords}
        values |= {
            "NETWORK": NETWORKS[self.namespaced],
            "PROGRAMS": programs_of_postgres(),
            "ETCD": ",".join(node.at("clients") for node in self.nodes),
            "MEMBERS": ",".join(f"{node.name}=http://{node.at('peers')}" for node in self.nodes),
        }
        for node in self.nodes:
            node.write_configuration(values)
        self.start_proxy()
        for held in self.held:
            held.close()
        for service in ("etcd", "patroni"):
            for node in self.nodes:
                node.start(service)
        self.wait_until_healthy(120)
        url = f"postgres://postgres:{values['SUPERUSER_PASSWORD']}@{self.leader().at('postgres')}/postgres"
        for statement in (
            f"CREATE ROLE {DATABASE} LOGIN PASSWORD '{self.password}'",
            f"CREATE DATABASE {DATABASE} OWNER {DATABASE}",
        ):
            subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", url, "-c", statement], check=True)

    def install_patroni(self):
        install = subprocess.run([ROOT / "tests/acceptance/install", "patroni"], stdout=subprocess.PIPE, check=True)
        packages = next(pathlib.Path(install.stdout.decode().strip()).glob("python/lib/python3*/site-packages"))
        # PostgreSQL's user may reach neither the checkout nor this user's own Python.
        shutil.copytree(packages, self.folder / "python", ignore=shutil.ignore_patterns("pip*", "setuptools*"))
        wanted = packages.parent.name
        self.python = shutil.which(wanted, path="/usr/bin:/usr/local/bin") if self.owner else sys.executable
        if not self.python:
            sys.exit(f"{sys.argv[0]}: there is no {wanted} in /usr/bin for the user {self.owner}")

    def start_proxy(self):
        values = {"LISTEN": self.proxy}
        for node in self.nodes:
            values[f"POSTGRES_{node.number}"] = node.at("postgres")
            values[f"RESTAPI_PORT_{node.number}"] = node.ports["restapi"]
        folder = self.folder / "hub"
        folder.mkdir()
        (folder / "haproxy.cfg").write_text(filled("haproxy.cfg", values))
        # Debian keeps it out of a user's PATH.
        program = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
        with open(folder / "haproxy.log", "wb") as log:
            command = [program, "-db", "-f", "haproxy.cfg"]
            self.started.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True))

    def stop(self):
        remove(self.name)
        for process in self.started:
            process.wait()

    def members(self):
        """All members, as the first node that answers tells of them; empty if none does."""
        for node in self.nodes:
            status, told = node.ask("/cluster")
            if status == 200:
                return told["members"]
        return []

    def named(self, name):
        return next(node for node in self.nodes if node.name == name)

    def in_role(self, role):
        """The first node in this role, such as `leader` or `sync_standby`."""
        found = [member["name"] for member in self.members() if member["role"] == role]
        return self.named(found[0]) if found else None

    def leader(self):
        return self.in_role("leader")

    def is_healthy(self):
        members = self.members()
        roles = [member["role"] for member in members if member["state"] in ("running", "streaming")]
        return len(roles) == len(NODES) and "leader" in roles and "sync_standby" in roles

    def wait_until_healthy(self, seconds):
        """Waits until there are a leader and two standbys that follow it, one of them synchronous."""
        end = time.monotonic() + seconds
        while not self.is_healthy():
            if time.monotonic() > end:
                sys.exit(f"{sys.argv[0]}: the cluster was not healthy within {seconds} s: {self.members()}")
            time.sleep(0.3)

    def url(self):
        """The database by way of the proxy."""
        return f"postgres://{DATABASE}:{self.password}@{self.proxy}/{DATABASE}"

    def hosts_url(self):
        """The database by the list of its hosts."""
        hosts = ",".join(node.at("postgres") for node in self.nodes)
        return f"postgres://{DATABASE}:{self.password}@{hosts}/{DATABASE}?sslmode=disable"


@contextlib.contextmanager
def running(cluster):
    """A cluster that is started, and that is removed whatever happens."""
    # Both end a run as Ctrl-C does, with everything cleared away.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        cluster.start()
        yield cluster
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        cluster.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ports", action="store_true")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt), running(Cluster(arguments.ports)) as cluster:
        if cluster.namespaced:
            print(f"go to the nodes' network:  ip netns exec {cluster.hub} bash")
        print(f"configurations and logs:   {cluster.folder}")
        for node in cluster.nodes:
            print(f"{node.name}:  PostgreSQL {node.at('postgres')}  Patroni http://{node.at('restapi')}")
        print(f"by HAProxy:    {cluster.url()}\nby host list:  {cluster.hosts_url()}", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
