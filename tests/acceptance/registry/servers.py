"""The stock servers: a registry and nginx, started from the files in examples/registry, on ports of their own."""

import os
import pwd
import re
import shutil
import socket
import subprocess
import time

EXAMPLES = os.path.join(os.path.dirname(__file__), "../../../examples/registry")
# Time limits for a server to listen, and to stop, in seconds.
START, STOP = 20, 10


def example(name, replace):
    """A file from the examples, with its placeholders replaced. One that is not there is a mistake."""
    with open(os.path.join(EXAMPLES, name), encoding="utf-8") as file:
        text = file.read()
    for old, new in replace.items():
        assert old in text, f"{old} is not in {name}"
        text = text.replace(old, new)
    return text


def free_port():
    """A port on which nothing listens just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A process that listens at `port` of the loopback interface. To be used with `with`."""

    def __init__(self, folder):
        self.folder = folder
        self.log = f"{folder}/log"
        self.process = None
        self.port = None
        os.makedirs(folder, exist_ok=True)

    def run(self, *command):
        """Starts the command; its output becomes the log, which begins anew."""
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def said(self):
        """The log."""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_for(self, ready):
        """Waits until `ready` says so. Whether it did; if not, the server is not there any more."""
        deadline = time.monotonic() + START
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                return False
            time.sleep(0.02)
        return True

    def stop(self):
        """Ends the process, if there is one."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(STOP)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Starts it and waits until it listens."""
        raise NotImplementedError


class Registry(Server):
    """Debian's registry with examples/registry/distribution.yml and, below it, a printed `auth:`."""

    def __init__(self, folder, auth=""):
        super().__init__(folder)
        self.auth = auth

    def start(self):
        text = example(
            "distribution.yml",
            # The port is the kernel's choice, so nobody else can have it; the log says which.
            {"/var/lib/docker-registry": f"{self.folder}/data", "127.0.0.1:5000": "127.0.0.1:0"},
        )
        with open(f"{self.folder}/config.yml", "w", encoding="utf-8") as file:
            file.write(text + self.auth)
        self.run("docker-registry", "serve", f"{self.folder}/config.yml")
        if not self.wait_for(lambda: re.search(r"listening on 127\.0\.0\.1:\d+", self.said())):
            raise RuntimeError(f"the registry did not start: {self.said()}")
        self.port = int(re.search(r"listening on 127\.0\.0\.1:(\d+)", self.said())[1])

    def restart(self):
        """Stops and starts it: the same data, another port."""
        self.stop()
        self.start()


class Nginx(Server):
    """nginx with examples/registry/nginx.conf, in front of a registry that listens at a port."""

    # Debian's own folders are not for us: nginx would write its temporary files and its pid there.
    MAIN = """
daemon off;
{user}
worker_processes 1;
pid {folder}/pid;
error_log stderr notice;
events {{}}
http {{
    access_log {folder}/access;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    include {folder}/registry.conf;
}}
"""

    def __init__(self, folder, registry, wharfinger, hostname):
        super().__init__(folder)
        self.registry, self.wharfinger, self.hostname = registry, wharfinger, hostname

    def start(self):
        # Debian has it where only root's PATH leads.
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        # As root, nginx would give up its rights, and could not get at this folder.
        user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
        with open(f"{self.folder}/nginx.conf", "w", encoding="utf-8") as file:
            file.write(self.MAIN.format(folder=self.folder, user=user))
        # Somebody may take the port between the look and the start.
        for _ in range(5):
            self.port = free_port()
            text = example(
                "nginx.conf",
                {
                    "127.0.0.1:5080": f"127.0.0.1:{self.port}",
                    "127.0.0.1:5000": f"127.0.0.1:{self.registry}",
                    "127.0.0.1:8080": self.wharfinger,
                    "demo.localhost": self.hostname,
                },
            )
            with open(f"{self.folder}/registry.conf", "w", encoding="utf-8") as file:
                file.write(text)
            self.run(program, "-p", self.folder, "-c", f"{self.folder}/nginx.conf", "-e", "stderr")
            # Once it has a worker, it listens.
            if self.wait_for(lambda: "start worker process " in self.said()):
                return
            if "Address already in use" not in self.said():
                break
        raise RuntimeError(f"nginx did not start: {self.said()}")
