"""The checks of the settings and of the database server; the thresholds are those of an operator on call."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from credit_service.application.auth.tokens import Token
from credit_service.application.doctor.check import Check, CheckState, ok, some
from credit_service.application.doctor.facts import (
    ServerFacts,
)

POSTGRES_VERSION_MIN = 18
"""The tested version; an older one may work."""
CLOCK_SECONDS_WARNING = 5.0
CLOCK_SECONDS_WRONG = 60.0
"""From five minutes on, events of this machine would be dead letters."""
TOKEN_ENDS_WARNING = timedelta(days=14)


def tokens(held: Sequence[Token], now: datetime) -> Check:
    """Whether there are tokens for the read API, and whether they expire soon."""
    if not held:
        return ok("tokens", "none, so the read API answers nobody")
    ending = [token.name for token in held if token.expires_at and token.expires_at <= now + TOKEN_ENDS_WARNING]
    if not ending:
        return ok("tokens", f"{len(held)} open the read API")
    message = f"expired, or about to be within {TOKEN_ENDS_WARNING.days} days: {some(ending)}"
    return Check("tokens", "warning", message, "see `credits tokens list`; make new ones, then take these out")


def logins(others: int, failed: Mapping[str, str]) -> Check:
    """Whether the service can log in at the addresses beside the reader's; `failed` is by the setting with the URL."""
    if not failed:
        return ok("logins", f"addresses that let the service in, beside the reader's: {others or 'there are none'}")
    message = "; ".join(f"{variable}: {problem}" for variable, problem in failed.items())
    return Check("logins", "wrong", message, "correct these settings, or the servers that they name")


def durability(server: ServerFacts) -> Check:
    """Whether commits survive a power cut, and whether the server takes writes."""
    if server.is_standby:
        return Check("durability", "wrong", "this is a standby, and cannot be written", "name the primary")
    off = {name: getattr(server, name) for name in ("fsync", "full_page_writes", "synchronous_commit")}
    if found := [name for name, value in off.items() if value == "off"]:
        message = f"{', '.join(found)} {'is' if len(found) == 1 else 'are'} off: commits may be lost in a power cut"
        return Check("durability", "wrong", message, "turn on what is off, in Postgres or for this role")
    return ok("durability", f"fsync on, synchronous_commit {server.synchronous_commit}")


def version(server: ServerFacts) -> Check:
    """Whether the server's version is tested."""
    if server.version_number // 10_000 < POSTGRES_VERSION_MIN:
        message = f"Postgres {server.version}; {POSTGRES_VERSION_MIN} is what is tested"
        return Check("database", "warning", message, "upgrade Postgres")
    return ok("database", f"Postgres {server.version}")


def clock(here: datetime, ledger: datetime, uncertain_seconds: float) -> Check:
    """The difference between this machine's clock and the ledger's, the only one that counts."""
    seconds = (here - ledger).total_seconds()
    apart = max(0.0, abs(seconds) - uncertain_seconds)
    message = f"this machine is {abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} the ledger's clock"
    if apart < CLOCK_SECONDS_WARNING:
        return ok("clock", message)
    state: CheckState = "wrong" if apart >= CLOCK_SECONDS_WRONG else "warning"
    return Check("clock", state, message, "set both clocks by NTP; events too far ahead become dead letters")
