"""Changes to bytes in a broker's log files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_FIRST_RECORD = 61


def flip_a_byte(broker_folder: Path, topic: str, partition: int, offset: int) -> None:
    """Changes one byte of the first record of the batch that begins at `offset`, where the broker keeps it; done once
    more, it is as it was.
    """
    (segment,) = (broker_folder / f"{topic}-{partition}").glob("*.log")
    with segment.open("r+b") as log:
        while int.from_bytes(header := log.read(12)[:8], "big") != offset:
            log.seek(-4, 1)
            log.seek(int.from_bytes(log.read(4), "big"), 1)
            assert header, f"no batch begins at {offset}"
        at = log.tell() - 12 + _FIRST_RECORD
        log.seek(at)
        byte = log.read(1)[0]
        log.seek(at)
        log.write(bytes([byte ^ 0xFF]))
