"""SHA-256 of files that do not change often, each computed once."""

from __future__ import annotations

from pathlib import Path

from expandr_ir.files import atomic_write, home, sha256_file, sha256_json


def known_sha256(path: Path) -> str:
    """The SHA-256 of a file, kept under `home()` by its path, size, inode and times of change.

    A write changes the time of change (ctime), which no program can set back: a file that was put in place with
    its old time of modification is hashed anew.
    """
    stat = path.stat()
    key = sha256_json([str(path.resolve()), stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns])
    kept = home() / "fingerprints" / key
    if not kept.is_file():
        with atomic_write(kept) as stream:
            stream.write(sha256_file(path))
    return kept.read_text(encoding="utf-8")
