#!/usr/bin/env python3
"""Gathers real files of many kinds into one folder: a sample to try the `sniff` job on.

    python collect.py FOLDER          made files, and files found on this machine
    python collect.py --made FOLDER   made files only

Nothing here names a file of one machine. Files are made by the programs that usually make them (Python's library,
NumPy and Pillow), and found by walking, in order, what every machine that builds this project has: the repository,
Python's own library, the packages beside this Python, the sources of the crates in Cargo.lock, and Debian's
documentation, headers, programs and data. Of each place and each ending a few are taken. Prints one JSON object.
"""

import argparse
import bz2
import csv
import gzip
import hashlib
import io
import itertools
import json
import lzma
import os
import pickle
import plistlib
import random
import sqlite3
import sys
import sysconfig
import tarfile
import tempfile
import wave
import xml.etree.ElementTree as ET
import zipfile
import zlib
from email.message import EmailMessage
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE_MAX = 512 * 1024
"""Bytes of a found file at most."""
PER_ENDING = 3
"""Files of one ending that are taken below one folder."""
PER_ROOT = {"repository": 80, "python": 80, "packages": 100, "crates": 120, "debian": 25}
"""Files that are taken below one folder."""
WALKED_MAX = 60_000
"""Files below one folder that are looked at."""
VERSE = "In the beginning God created the heaven and the earth."


def places() -> dict[str, list[Path]]:
    cargo = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    debian = ["doc", "common-licenses", "perl", "perl5", "mime", "zoneinfo", "pixmaps", "icons", "fonts", "bash-completion"]
    return {
        "repository": [REPOSITORY],
        "python": [Path(sysconfig.get_path("stdlib"))],
        "packages": [Path(sysconfig.get_path("purelib"))],
        "crates": sorted((cargo / "registry/src").glob("*")),
        "debian": [*(Path("/usr/share") / name for name in debian), Path("/usr/include"), Path("/usr/bin")],
    }


def walk(root: Path):
    """Every file below, in order. What is hidden or built is left out, and so are packages below Python's library."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in ("target", ".git", "node_modules", "site-packages"))
        for name in sorted(files):
            yield Path(folder) / name


def found(root: Path, most: int):
    """Some files below a folder: few of each ending."""
    taken: dict[str, int] = {}
    for path in itertools.islice(walk(root), WALKED_MAX):
        if sum(taken.values()) >= most:
            return
        ending = path.suffix.lower() or ("program" if os.access(path, os.X_OK) else path.name.lower()[:12])
        if taken.get(ending, 0) >= PER_ENDING:
            continue
        try:
            if path.is_symlink() or not path.is_file() or not 0 < path.stat().st_size <= SIZE_MAX:
                continue
            content = path.read_bytes()
        except OSError:
            continue
        taken[ending] = taken.get(ending, 0) + 1
        yield str(path), content


def text_formats() -> dict[str, bytes]:
    rows = [["book", "chapters", "verses"], ["Genesis", "50", "1533"], ["Exodus", "40", "1213"], ["Ruth", "4", "85"]] * 9
    table = io.StringIO()
    csv.writer(table).writerows(rows)
    tree = ET.Element("books")
    for row in rows:
        ET.SubElement(tree, "book", name=row[0], verses=row[2]).text = VERSE
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = "a@example.org", "b@example.org", "Genesis"
    letter["Date"] = "Thu, 01 Jan 1970 00:00:00 +0000"
    letter.set_content(VERSE)
    letter.add_attachment(VERSE, filename="verse.txt")
    letter.set_boundary("=" * 20)
    return {
        "table.csv": table.getvalue().encode(),
        "table.tsv": "\n".join("\t".join(row) for row in rows).encode(),
        "books.xml": ET.tostring(tree, xml_declaration=True, encoding="utf-8"),
        "books.json": json.dumps({"rows": rows}, indent=2).encode(),
        "books.jsonl": "\n".join(json.dumps({"row": row}) for row in rows).encode(),
        "letter.eml": letter.as_bytes(),
        "settings.plist": plistlib.dumps({"rows": rows}),
        "settings.bplist": plistlib.dumps({"rows": rows}, fmt=plistlib.FMT_BINARY),
        "verse.txt": (VERSE + "\n").encode() * 20,
        "verse.utf16": (VERSE * 20).encode("utf-16"),
    }


def archives() -> dict[str, bytes]:
    body = (VERSE + "\n").encode() * 40
    packed, tape = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("verse.txt"), body)
    with tarfile.open(fileobj=tape, mode="w") as archive:
        member = tarfile.TarInfo("verse.txt")
        member.size = len(body)
        archive.addfile(member, io.BytesIO(body))
    return {
        "verse.gz": gzip.compress(body, mtime=0),
        "verse.bz2": bz2.compress(body),
        "verse.xz": lzma.compress(body),
        "verse.zz": zlib.compress(body),
        "verse.zip": packed.getvalue(),
        "verse.tar": tape.getvalue(),
        "verse.pickle": pickle.dumps({"verse": VERSE, "numbers": list(range(500))}),
    }


def sound_and_tables() -> dict[str, bytes]:
    sound = io.BytesIO()
    with wave.open(sound, "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        out.writeframes(b"".join(int(9000 * ((i % 40) / 20 - 1)).to_bytes(2, "little", signed=True) for i in range(4000)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "books.sqlite"
        with sqlite3.connect(path) as database:
            database.execute("create table book (name text, verses integer)")
            database.executemany("insert into book values (?, ?)", [("Genesis", 1533), ("Exodus", 1213)])
        database.close()
        return {"sound.wav": sound.getvalue(), "books.sqlite": path.read_bytes()}


def pictures() -> dict[str, bytes]:
    import numpy as np
    from PIL import Image

    made = {}
    rows, columns = np.mgrid[0:48, 0:64]
    picture = Image.fromarray(np.stack([rows * 5, columns * 3, rows + columns], axis=2).astype(np.uint8))
    for name in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "ICO", "PDF", "TGA", "JPEG2000", "ICNS"):
        out = io.BytesIO()
        try:
            picture.save(out, name)
        except (KeyError, OSError):
            continue  # This Pillow was built without it.
        made[f"picture.{name.lower()}"] = out.getvalue()
    for name, save in (("array.npy", np.save), ("array.npz", np.savez_compressed)):
        out = io.BytesIO()
        save(out, np.arange(600, dtype=np.float32).reshape(20, 30))
        made[name] = out.getvalue()
    return made


def edges() -> dict[str, bytes]:
    """Files about which there is little to say, and lengths at which something changes."""
    noise = random.Random(1)
    cut = b" " * 4095 + "é".encode()
    return {
        "edge-empty": b"",
        "edge-seven": b"1234567",
        "edge-eight": b"12345678",
        "edge-byte": b"\xff",
        "edge-blank": b" \t\r\n\x0b\x0c" * 900,
        "edge-nearly-blank": b" " * 3000 + b"text" + b"\n" * 3000,
        "edge-cut": cut,
        "edge-cut-behind": cut + b" and more",
        "edge-noise": noise.randbytes(5000),
        "edge-block": (VERSE * 90).encode()[:4096],
        "edge-block-and-one": (VERSE * 90).encode()[:4097],
        "edge-windows": noise.randbytes(2048),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--made", action="store_true", help="made files only")
    options = parser.parse_args()
    files = {}
    for made in (text_formats(), archives(), sound_and_tables(), pictures(), edges()):
        files.update({f"made/{name}": content for name, content in made.items()})
    counts = {"made": len(files)}
    seen = {hashlib.sha256(content).digest() for content in files.values()}
    for place, roots in {} if options.made else places().items():
        before = len(files)
        for name, content in itertools.chain.from_iterable(found(root, PER_ROOT[place]) for root in roots):
            digest = hashlib.sha256(content).digest()
            if digest not in seen:
                seen.add(digest)
                files[name] = content
        counts[place] = len(files) - before
    options.folder.mkdir(parents=True, exist_ok=True)
    sources = []
    for index, (name, content) in enumerate(files.items()):
        file = Path(name).name if options.made else f"{index:04}"
        (options.folder / file).write_bytes(content)
        sources.append([file, name])
    print(json.dumps({"files": len(files), "bytes": sum(map(len, files.values())), "places": counts, "sources": sources}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
