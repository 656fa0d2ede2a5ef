#!/usr/bin/env python3
"""Makes an image of the program as an OCI archive, without a daemon and without a base image.

    deploy/image/make.py --out FILE --version VERSION --revision COMMIT --time SECONDS --notices FILE
        amd64=PROGRAM [arm64=PROGRAM]

Programs for several architectures become one image of several platforms. A program has to be linked statically, as the
image has no libraries. The same input gives the same bytes.
"""

import argparse
import datetime
import gzip
import hashlib
import io
import json
import pathlib
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
USER = 65532
DATA = "var/lib/wharfinger"
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
# The certificates of Debian's package. The bundle in /etc/ssl/certs can have authorities of this machine as well.
AUTHORITIES = pathlib.Path("/usr/share/ca-certificates/mozilla")

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
SECOND = 1_000_000_000

FILES = {
    "etc/passwd": f"root:x:0:0:root:/:/sbin/nologin\nwharfinger:x:{USER}:{USER}:Wharfinger:/{DATA}:/sbin/nologin\n",
    "etc/group": f"root:x:0:\nwharfinger:x:{USER}:\n",
    # Without it glibc asks DNS before it looks into /etc/hosts.
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
# Owner and mode of the folders that are not the system's.
FOLDERS = {DATA: (USER, 0o700), "tmp": (0, 0o1777)}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--revision", required=True)
    parser.add_argument("--time", required=True, type=int, help="seconds since 1970, of every file and of the image")
    parser.add_argument("--authorities", type=pathlib.Path, default=AUTHORITIES, help="a folder of certificates")
    parser.add_argument("--notices", required=True, type=pathlib.Path, help="the licences of what the program contains")
    parser.add_argument("programs", nargs="+", metavar="ARCHITECTURE=PROGRAM", type=program)
    return parser.parse_args()


def program(word):
    """Splits ARCHITECTURE=PROGRAM."""
    architecture, separator, path = word.partition("=")
    if not (architecture and separator and pathlib.Path(path).is_file()):
        raise argparse.ArgumentTypeError(f"{word!r} names no architecture and program")
    return architecture, pathlib.Path(path)


def bundle(folder):
    """The certificates of a folder as one file."""
    files = sorted(folder.glob("*.crt"))
    if not files:
        sys.exit(f"image: {folder} has no certificates; on Debian: apt-get install ca-certificates")
    return b"".join(file.read_bytes().rstrip() + b"\n" for file in files)


def write_tar(entries, time):
    """A tar of (path, owner, mode, content or None for a folder), in the order of the paths."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, owner, mode, content in sorted(entries):
            entry = tarfile.TarInfo(path)
            entry.uid = entry.gid = owner
            entry.mode, entry.mtime = mode, time
            if content is None:
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content or b""))
    return written.getvalue()


def layer(program, options):
    """The file system as a tar."""
    files = {path: (text.encode(), 0o644) for path, text in FILES.items()}
    files["usr/bin/wharfinger"] = (program.read_bytes(), 0o755)
    files[BUNDLE] = (bundle(options.authorities), 0o644)
    files["usr/share/doc/wharfinger/THIRD-PARTY-LICENSES"] = (options.notices.read_bytes(), 0o644)
    for name in ("LICENSE-APACHE", "LICENSE-MIT"):
        files[f"usr/share/doc/wharfinger/{name}"] = ((ROOT / name).read_bytes(), 0o644)
    folders = {str(parent) for path in [*files, f"{DATA}/x", "tmp/x"] for parent in pathlib.PurePath(path).parents}
    folders.discard(".")
    entries = [(path, *FOLDERS.get(path, (0, 0o755)), None) for path in folders]
    entries += [(path, 0, mode, content) for path, (content, mode) in files.items()]
    return write_tar(entries, options.time)


class Image:
    """Blobs, by their digests."""

    def __init__(self, options):
        self.options = options
        self.blobs = {}
        self.created = datetime.datetime.fromtimestamp(options.time, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.labels = {
            "org.opencontainers.image.created": self.created,
            "org.opencontainers.image.description": "Manages the tokens of container registries",
            "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
            "org.opencontainers.image.revision": options.revision,
            "org.opencontainers.image.title": "wharfinger",
            "org.opencontainers.image.version": options.version,
        }

    def keep(self, kind, content):
        """Keeps a blob, and returns its descriptor."""
        if not isinstance(content, bytes):
            content = json.dumps(content, indent=1, sort_keys=True).encode()
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    def add(self, architecture, program):
        """Keeps the image for one architecture, and returns its descriptor."""
        files = layer(program, self.options)
        config = {
            "architecture": architecture,
            "os": "linux",
            "created": self.created,
            "config": {
                "User": f"{USER}:{USER}",
                "Entrypoint": ["/usr/bin/wharfinger"],
                "WorkingDir": "/",
                # Nobody reaches a container's loopback interface. Beyond it the program asks for TLS or --plain-http.
                "Env": [
                    "PATH=/usr/bin",
                    "WHARFINGER_LISTEN=0.0.0.0:8080",
                    f"WHARFINGER_DATA_DIR=/{DATA}",
                    # SQLite's temporary files: with a read-only root there is no other folder for them.
                    f"SQLITE_TMPDIR=/{DATA}",
                ],
                "ExposedPorts": {"8080/tcp": {}},
                "Volumes": {f"/{DATA}": {}},
                "StopSignal": "SIGTERM",
                # Docker's own. Others pass it on or ignore it.
                "Healthcheck": {
                    "Test": ["CMD", "/usr/bin/wharfinger", "healthcheck"],
                    "Interval": 30 * SECOND,
                    "Timeout": 10 * SECOND,
                    "StartPeriod": 60 * SECOND,
                    "Retries": 3,
                },
                "Labels": self.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(files).hexdigest()]},
            "history": [{"created": self.created, "created_by": "deploy/image/make.py"}],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.keep(CONFIG, config),
            "layers": [self.keep(LAYER, gzip.compress(files, mtime=0))],
            "annotations": self.labels,
        }
        return self.keep(MANIFEST, manifest) | {"platform": {"architecture": architecture, "os": "linux"}}

    def write(self):
        """Writes the archive."""
        manifests = [self.add(name, program) for name, program in sorted(self.options.programs)]
        if len(manifests) > 1:
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": self.labels}
            manifests = [self.keep(INDEX, index)]
        named = manifests[0] | {
            "annotations": {"org.opencontainers.image.ref.name": f"wharfinger:{self.options.version}"}
        }
        top = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}
        entries = [(path, 0, 0o644, content) for path, content in self.blobs.items()]
        entries += [(folder, 0, 0o755, None) for folder in ("blobs", "blobs/sha256")]
        entries.append(("index.json", 0, 0o644, json.dumps(top).encode()))
        entries.append(("oci-layout", 0, 0o644, b'{"imageLayoutVersion": "1.0.0"}'))
        self.options.out.write_bytes(write_tar(entries, self.options.time))


if __name__ == "__main__":
    Image(arguments()).write()
