"""Images of random bytes, as folders in the OCI layout. Nothing is downloaded."""

import gzip
import hashlib
import io
import json
import os
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Layout:
    """A folder with one image in it."""

    def __init__(self, folder):
        self.folder = folder
        with open(f"{folder}/index.json", encoding="utf-8") as file:
            self.manifest = json.load(file)["manifests"][0]["digest"]
        with open(self.blob(self.manifest), encoding="utf-8") as file:
            self.layers = [layer["digest"] for layer in json.load(file)["layers"]]

    def blob(self, digest):
        """Where a blob lies."""
        return f"{self.folder}/blobs/{digest.replace(':', '/')}"

    def reference(self):
        """What skopeo and buildah call it."""
        return f"oci:{self.folder}"

    def content(self):
        """The bytes of the manifest and of all layers."""
        read = []
        for digest in [self.manifest, *self.layers]:
            with open(self.blob(digest), "rb") as file:
                read.append(file.read())
        return read


def make(folder, size):
    """An image with one layer, which holds a file of so many bytes."""
    os.makedirs(f"{folder}/blobs/sha256")

    def keep(content):
        digest = hashlib.sha256(content).hexdigest()
        with open(f"{folder}/blobs/sha256/{digest}", "wb") as file:
            file.write(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        entry = tarfile.TarInfo("cargo")
        entry.size = size
        archive.addfile(entry, io.BytesIO(os.urandom(size)))
    layer = keep(gzip.compress(tar.getvalue(), compresslevel=1))
    root = {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar.getvalue()).hexdigest()]}
    config = keep(json.dumps({"architecture": "amd64", "os": "linux", "rootfs": root}).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, **config},
        "layers": [{"mediaType": LAYER, **layer}],
    }
    index = {"schemaVersion": 2, "manifests": [{"mediaType": MANIFEST, **keep(json.dumps(manifest).encode())}]}
    with open(f"{folder}/index.json", "w", encoding="utf-8") as file:
        json.dump(index, file)
    with open(f"{folder}/oci-layout", "w", encoding="utf-8") as file:
        json.dump({"imageLayoutVersion": "1.0.0"}, file)
    return Layout(folder)
