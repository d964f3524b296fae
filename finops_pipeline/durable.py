"""Files that outlive a kill and a power cut: the few steps in the order that makes them safe.

Used wherever a file must be there whole or not at all; what it holds is its writer's to say.
"""

from __future__ import annotations

import os
from pathlib import Path


def make_folder(path: Path) -> None:
    """Create the folder and those above it; each is on disk before anything is put into it."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Write the file so that a reader sees all of it or none. One writer at a time per path."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_bytes(content)
        publish(unfinished, path)
    except OSError:  # on a full disk, what was half written would hold on to the last of its room
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def publish(unfinished: Path, path: Path) -> None:
    """Give a finished file its name in one step, after its bytes are on the disk."""
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable: syncing a file does not sync its entry in the folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
