"""One effect per event: the key that names an attempt, and the hash that tells whether it says the same."""

import json
from dataclasses import asdict
from hashlib import blake2b
from typing import assert_never

from pydantic_core import to_json

from credit_contracts.incoming import IncomingData
from credit_contracts.outgoing import SERVICE_SOURCE
from credit_service.domain.command import (
    Adjust,
    Command,
    CommandData,
    CommandType,
    DecideRefund,
    OpenAccount,
    OpenProspect,
    OpenPurchase,
)

CONTENT_VERSION = 1
"""The rule of `content_of`, stored beside each hash: a later rule must not turn old repeats into conflicts."""


def key_of(source: str, event_id: str) -> bytes:
    """16 bytes that stand for CloudEvents `source` + `id`; unique within an account."""
    return blake2b(f"{len(source)}:{source}{event_id}".encode(), digest_size=16).digest()


def content_of(event_type: str, data: IncomingData) -> bytes:
    """16 bytes that stand for the type and the known fields in the model's order; absent and null are the same."""
    return blake2b(b"%s\n%s" % (event_type.encode(), to_json(data, exclude_none=True)), digest_size=16).digest()


def command_of(account_id: str, data: CommandData, command_id: str = "") -> Command:
    """The command to do `data`. Named by `command_id` is what a person decides; an opening by what it opens."""
    command_type: CommandType = "opening"
    match data:
        case DecideRefund():
            command_type = "refund-approved" if data.is_approved else "refund-rejected"
            name = f"refund:{command_id}"
        case Adjust():
            command_type, name = "adjustment", f"adjustment:{command_id}"
        case OpenAccount():
            name = "opening"
        case OpenPurchase():
            name = f"opening:purchase:{data.purchase_id}"
        case OpenProspect():
            name = f"opening:prospect:{data.prospect_id}"
        case unreachable:
            assert_never(unreachable)
    known = json.dumps(asdict(data), default=str)
    content = blake2b(f"{command_type}\n{known}".encode(), digest_size=16).digest()
    return Command(account_id, key_of(SERVICE_SOURCE, name), content, name, command_type, data)
