"""Tokens that a program prints as JSON, as `CREDITS_KAFKA_TOKEN_COMMAND` says."""

import asyncio
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from credit_service.kafka.connect.tokens import LoginToken, NoToken
from credit_service.runtime.programs import ProgramFailed, output_of

COMMAND: Final = "CREDITS_KAFKA_TOKEN_COMMAND"
_ENDS = ("expires_at", "expires_in")


async def from_command(command: str) -> LoginToken:
    """Runs the program, and reads the token that it prints; raises `NoToken`."""
    try:
        printed = await _in_a_thread(lambda: output_of(command))
    except ProgramFailed as error:
        raise NoToken(f"no token for Kafka: {COMMAND}: {error}") from None
    return read_printed(printed, datetime.now(UTC))


def read_printed(printed: str, now: datetime) -> LoginToken:
    """The token of `{"token": "...", "expires_at": "RFC 3339"}`, or with `"expires_in": seconds`; raises `NoToken`."""
    wrong = NoToken(f"no token for Kafka: {COMMAND} does not print JSON with token, and expires_at or expires_in")
    try:
        fields = json.loads(printed)
    except (ValueError, RecursionError):
        raise wrong from None
    if not isinstance(fields, dict) or not any(fields.keys() == {"token", end} for end in _ENDS):
        raise wrong
    life = _life(fields.get("expires_in")) if "expires_in" in fields else _until(fields["expires_at"], now)
    if life is None:
        raise wrong
    return LoginToken.of(COMMAND, fields["token"], life)


def _life(seconds: object) -> float | None:
    return float(seconds) if isinstance(seconds, int | float) and not isinstance(seconds, bool) else None


def _until(instant: object, now: datetime) -> float | None:
    try:
        ends_at = datetime.fromisoformat(instant) if isinstance(instant, str) else None
    except ValueError:
        return None
    return (ends_at - now).total_seconds() if ends_at and ends_at.tzinfo else None


async def _in_a_thread(work: Callable[[], str]) -> str:
    """Like `asyncio.to_thread`, but the end of the service does not wait for the thread."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[str] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # raised to the caller
            error = raised
        # The loop is closed when the service has ended meanwhile.
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True, name="kafka-token").start()
    return await done
