"""The credit service in memory, for other teams' tests: the same rules and the same bytes, without any server."""

from credit_service.application.queries import AccountSnapshot, DecidedEvent, ParkedEvent
from credit_service.domain.command import Adjust, DecideRefund
from credit_service.domain.rules import LateRefund
from credit_service.testing.message import Message
from credit_service.testing.service import CreditService

__all__ = [
    "AccountSnapshot",
    "Adjust",
    "CreditService",
    "DecideRefund",
    "DecidedEvent",
    "LateRefund",
    "Message",
    "ParkedEvent",
]
