#!/usr/bin/env python3
"""Lists what the program is made of: as CycloneDX for machines, and with all licences for people.

    deploy/inventory.py --platform x86_64-unknown-linux-gnu --features postgres-tls --sbom FILE --notices FILE

It takes the crates from cargo, and adds the libraries in C, which cargo knows only as parts of crates, and the CA
certificates of the image. With --program it compares the crates with the list that cargo-auditable put into the program.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import uuid
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
LICENCE = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)
# Folders in which a crate brings other projects' sources.
LIBRARIES = ("aws-lc", "openssl", "sqlite3", "source", "c_src/mimalloc/v3", "res")
SYSTEM = "the GNU C library is linked in. It is under the LGPL 2.1 or later; its source is Debian's package glibc."


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--platform", required=True)
    parser.add_argument("--features", default="")
    parser.add_argument("--program", type=pathlib.Path)
    parser.add_argument("--sbom", required=True, type=pathlib.Path)
    parser.add_argument("--notices", required=True, type=pathlib.Path)
    return parser.parse_args()


def linked(options, *, macros=False):
    """The crates that the program links, and for each those that it needs: {id: (package, ids)}, the program first.

    A macro runs in the compiler, and so does what it needs. With macros, these are among them.
    """
    command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={options.platform}"]
    command += [f"--features={options.features}"] if options.features else []
    found = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in found["packages"]}
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    top = next(key for key, package in packages.items() if package["name"] == "wharfinger")
    chosen, waiting = {}, [top]
    while waiting:
        key = waiting.pop()
        if key in chosen:
            continue
        needs = [
            need["pkg"]
            for need in nodes[key]["deps"]
            if any(kind["kind"] is None for kind in need["dep_kinds"])
            and (macros or not is_macro(packages[need["pkg"]]))
        ]
        chosen[key] = (packages[key], needs)
        waiting += needs
    return chosen


def is_macro(package):
    return any("proc-macro" in target["kind"] for target in package["targets"])


def libraries(chosen):
    """The libraries in C, and the CA certificates: (id of the crate, name, version, licence, purl)."""
    named = {package["name"]: (key, package) for key, (package, _) in chosen.items()}
    sources = {package["name"]: (package["id"], package) for package in compiled()} | named
    found = []

    def defined(crate, path, pattern):
        text = (pathlib.Path(sources[crate][1]["manifest_path"]).parent / path).read_text(encoding="utf-8")
        return re.search(pattern, text)[1]

    def behind_plus(crate):
        return sources[crate][1]["version"].partition("+")[2].removeprefix("libpq-")

    version = defined("libsqlite3-sys", "sqlite3/sqlite3.h", r'#define SQLITE_VERSION\s+"([^"]+)"')
    found.append(("libsqlite3-sys", "sqlite", version, "blessing", f"pkg:generic/sqlite@{version}"))
    version = defined("aws-lc-sys", "aws-lc/include/openssl/base.h", r'#define AWSLC_VERSION_NUMBER_STRING "([^"]+)"')
    found.append(("aws-lc-sys", "aws-lc", version, "ISC AND (Apache-2.0 OR ISC)", f"pkg:github/aws/aws-lc@v{version}"))
    version = behind_plus("pq-src")
    found.append(("pq-src", "libpq", version, "PostgreSQL", f"pkg:generic/postgresql@{version}"))
    if "openssl-sys" in named:
        version = behind_plus("openssl-src")
        found.append(("openssl-sys", "openssl", version, "Apache-2.0", f"pkg:generic/openssl@{version}"))
    # 30302 is 3.3.2.
    number = defined("libmimalloc-sys", "c_src/mimalloc/v3/include/mimalloc.h", r"#define MI_MALLOC_VERSION\s+(\d+)")
    version = f"{int(number) // 10000}.{int(number) // 100 % 100}.{int(number) % 100}"
    found.append(("libmimalloc-sys", "mimalloc", version, "MIT", f"pkg:github/microsoft/mimalloc@v{version}"))
    version = installed("${source:Version}", "libc6-dev")
    found.append(("wharfinger", "glibc", version, "LGPL-2.1-or-later", f"pkg:deb/debian/glibc@{version}"))
    version = installed("${Version}", "ca-certificates")
    reference = f"pkg:deb/debian/ca-certificates@{version.replace('+', '%2B')}"
    found.append(("wharfinger", "ca-certificates", version, "MPL-2.0", reference))
    return [(named[crate][0], *rest) for crate, *rest in found]


def installed(field, package):
    """The version of a package: Debian's, which tells of its corrections too."""
    command = ["dpkg-query", "--show", f"--showformat={field}", package]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def compiled():
    """Every package of the lock."""
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--all-features"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)["packages"]


def checksums():
    """What Cargo.lock says about the packages: {(name, version): sha256}."""
    text = (ROOT / "Cargo.lock").read_text(encoding="utf-8")
    pattern = r'name = "([^"]+)"\nversion = "([^"]+)"\nsource = "[^"]+"\nchecksum = "([0-9a-f]+)"'
    return {(name, version): checksum for name, version, checksum in re.findall(pattern, text)}


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version'].replace('+', '%2B')}"


def sbom(chosen, extra):
    """The document in CycloneDX 1.5."""
    known = checksums()
    components, dependencies = [], {}
    for package, needs in chosen.values():
        component = {
            "type": "library",
            "bom-ref": purl(package),
            "name": package["name"],
            "version": package["version"],
            "purl": purl(package),
            "licenses": [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}],
        }
        if checksum := known.get((package["name"], package["version"])):
            component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        components.append(component)
        dependencies[purl(package)] = sorted({purl(chosen[need][0]) for need in needs})
    for crate, name, version, licence, reference in extra:
        components.append(
            {
                "type": "library",
                "bom-ref": reference,
                "name": name,
                "version": version,
                "purl": reference,
                "licenses": [{"expression": licence}],
            }
        )
        dependencies[purl(chosen[crate][0])].append(reference)
        dependencies[reference] = []
    program, *components = components
    seconds = int(os.environ["SOURCE_DATE_EPOCH"])
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": program | {"type": "application"},
        },
        "components": sorted(components, key=lambda component: component["bom-ref"]),
        "dependencies": [{"ref": ref, "dependsOn": needs} for ref, needs in sorted(dependencies.items())],
    }
    # The same content has the same number.
    content = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).digest()[:16]
    document["serialNumber"] = f"urn:uuid:{uuid.UUID(bytes=content, version=4)}"
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def licences(package):
    """The texts of a package's licences."""
    folder = pathlib.Path(package["manifest_path"]).parent
    for place in [folder, *(folder / name for name in LIBRARIES)]:
        for file in sorted(place.iterdir()) if place.is_dir() else []:
            if LICENCE.match(file.name) and file.is_file() and file.suffix not in (".rs", ".h", ".c"):
                yield file.read_text(encoding="utf-8", errors="replace").strip()


def notices(chosen):
    """The licences of all that the program links, each text once."""
    needed = [package for package, _ in chosen.values() if package["name"] != "wharfinger"]
    if any(package["name"] == "openssl-sys" for package in needed):
        needed += [package for package in compiled() if package["name"] == "openssl-src"]
    needed += [package for package in compiled() if package["name"] == "pq-src" and package not in needed]
    texts = {}
    for package in sorted(needed, key=lambda package: (package["name"], package["version"])):
        name = f"{package['name']} {package['version']} ({package['license']})"
        for text in list(licences(package)) or [
            f"This package brings no text of its licence. Authors: {authors(package)}"
        ]:
            texts.setdefault(text, [])
            if name not in texts[text]:
                texts[text].append(name)
    head = f"The program contains the software below, under the licences below. Besides, {SYSTEM}\n"
    return head + "".join(f"\n{'-' * 78}\n" + "\n".join(names) + f"\n\n{text}\n" for text, names in texts.items())


def authors(package):
    return ", ".join(package["authors"]) or "not named"


def embedded(program):
    """The crates that the program says it is made of: {(name, version)}."""
    section = subprocess.run(
        [
            "objcopy",
            "-O",
            "binary",
            "--only-section=.dep-v0",
            "--set-section-flags=.dep-v0=alloc",
            program,
            "/dev/stdout",
        ],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    if not section:
        return None
    listed = json.loads(zlib.decompress(section))["packages"]
    return {(package["name"], package["version"]) for package in listed if package.get("kind") != "build"}


def main():
    options = arguments()
    chosen = linked(options)
    if options.program:
        inside = embedded(options.program)
        # cargo-auditable lists macros among the crates that are linked.
        known = linked(options, macros=True).values()
        ours = {(package["name"], package["version"]) for package, _ in known}
        if inside is None:
            sys.exit(f"{options.program} has no list of its crates")
        if missing := inside - ours:
            sys.exit(f"the program contains what the list does not: {sorted(missing)}")
    options.sbom.write_text(sbom(chosen, libraries(chosen)), encoding="utf-8")
    options.notices.write_text(notices(chosen), encoding="utf-8")


if __name__ == "__main__":
    main()
