"""`credits doctor`: checks the deployment, and says what to do."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from credit_service.cli.shared.connections import kafka_of, settings_or_exit
from credit_service.cli.shared.output import Format, Output, put
from credit_service.cli.shared.run import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from credit_service.application.doctor.check import Check
    from credit_service.settings import Settings

EXIT_WRONG = 1
COLORS = {"ok": "green", "warning": "yellow", "wrong": "red"}


def doctor(output: Output = Format.TEXT) -> int:
    """Check settings, servers, topics, the service, and the work that waits for people.

    Each check is ok, a warning, or wrong, and says what to do. Nothing is written. A server that does not answer is one
    failed check; the others still run. The exit code is 1 if a check is wrong, and 2 if a setting
    is not valid; a warning can wait for working hours.

    Example: [cyan]credits doctor --output json[/]
    """
    settings = settings_or_exit()
    checks = run(_checks(settings))
    if output is Format.JSON:
        states = [check.state for check in checks]
        worst = next((state for state in ("wrong", "warning") if state in states), "ok")
        put(json.dumps({"state": worst, "checks": [_as_json(check) for check in checks]}))
    else:
        _print(checks)
    return EXIT_WRONG if any(check.state == "wrong" for check in checks) else 0


async def _checks(settings: "Settings") -> "list[Check]":
    from credit_service.application.doctor.check import ok
    from credit_service.application.doctor.database_checks import logins, tokens
    from credit_service.application.doctor.doctor import Deployment, Doctor
    from credit_service.application.doctor.kafka_checks import CONTRACTS
    from credit_service.kafka.doctor import KafkaExamination
    from credit_service.postgres.address import Addresses
    from credit_service.postgres.health.doctor import PostgresFacts, failed_logins
    from credit_service.postgres.pool import open_pool

    kafka = kafka_of(settings)
    topics = {kafka.topic(name): contract for name, contract in CONTRACTS.items()}
    deployment = Deployment(topics, kafka.cursor_topic, kafka.group_id, settings.parked_hours_max)
    prefix = f"topics begin with {kafka.topic_prefix}" if kafka.topic_prefix else "topics have no prefix"
    checks = [ok("settings", f"read; group {kafka.group_id}, {prefix}")]
    checks.append(tokens(settings.http_tokens, datetime.now(UTC)))
    addresses = Addresses.of(settings)
    others = [address for address in addresses.served if address is not addresses.reader]
    checks.append(logins(len(others), await failed_logins(others)))
    async with open_pool(addresses.reader, is_read_only=True) as pool:
        examined = Doctor(deployment, PostgresFacts(pool), KafkaExamination(kafka), lambda: datetime.now(UTC))
        checks += [check async for check in examined.checks()]
        pool.terminate()
    return checks


def _as_json(check: "Check") -> dict[str, str | None]:
    return {"name": check.name, "state": check.state, "told": check.message, "what_to_do": check.what_to_do}


def _print(checks: "Sequence[Check]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in ("State", "Check"):
        table.add_column(name, no_wrap=True)
    for name in ("Finding", "What to do"):
        table.add_column(name, overflow="fold")
    for check in checks:
        state = Text(check.state, style=COLORS[check.state])
        table.add_row(state, check.name, Text(check.message), Text(check.what_to_do or ""))
    Console(highlight=False, markup=False).print(table)
