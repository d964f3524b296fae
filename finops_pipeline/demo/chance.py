"""Chance without state: numbers, references and OCIDs that follow from a seed and a place alone.

A row's luck depends on its line and hour, not on the rows made before it, so that any hour can be
made again (for a repeated or restated row) without remembering it.
"""

from __future__ import annotations

import base64
import random
import zlib

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Luck = NDArray[np.uint64]

_REFERENCE_WIDTH = len("V2.") + 22 + len("==")


def salt(seed: int, name: str) -> np.uint64:
    """Keeps the luck of one tenancy and seed apart from that of others."""
    return np.uint64((zlib.crc32(name.encode()) << 32) ^ (seed * 0x9E3779B1 & 0xFFFFFFFF))


def generator(seed: int, *names: str) -> random.Random:
    """A generator for small choices made once, in an order that never changes."""
    return random.Random("/".join((str(seed), *names)))


def luck(salt_: np.uint64, lines: Ints, hours: Ints, kind: int = 0) -> Luck:
    """64 even bits for each line and hour; no two triples of line, hour and kind share them."""
    place = (lines.astype(np.uint64) << np.uint64(28)) | (hours.astype(np.uint64) << np.uint64(4))
    return _mixed(place | np.uint64(kind), salt_)


def references(bits: Luck) -> NDArray[np.bytes_]:
    """A reference number a row, as OCI writes them: `V2.`, base64 of 16 bytes, `==`."""
    block = np.zeros((len(bits), 18), dtype=np.uint8)
    block[:, :8] = bits.astype("<u8").view(np.uint8).reshape(-1, 8)
    block[:, 8:16] = _mixed(bits, np.uint64(1)).astype("<u8").view(np.uint8).reshape(-1, 8)
    text = np.frombuffer(base64.b64encode(block.tobytes()), dtype=np.uint8).reshape(-1, 24)
    made = np.full((len(bits), _REFERENCE_WIDTH), ord("="), dtype=np.uint8)
    made[:, :3] = np.frombuffer(b"V2.", dtype=np.uint8)
    made[:, 3:25] = text[:, :22]
    return made.view(f"S{_REFERENCE_WIDTH}").ravel()


def ocid(rng: random.Random, kind: str, region: str = "") -> str:
    """An OCID of nothing that exists."""
    unique = base64.b32encode(rng.randbytes(38)).decode().lower()[:60]
    return f"ocid1.{kind}.oc1.{region}.{unique}"


def _mixed(bits: Luck, salt_: np.uint64) -> Luck:
    # The finaliser of splitmix64: a bijection, so that distinct places stay distinct.
    bits = bits ^ salt_
    bits ^= bits >> np.uint64(30)
    bits *= np.uint64(0xBF58476D1CE4E5B9)
    bits ^= bits >> np.uint64(27)
    bits *= np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    return bits
