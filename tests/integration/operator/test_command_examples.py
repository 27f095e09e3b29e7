"""The example in the help of every command works as it stands, for users that may do what the page says and no more."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import typer

from credit_contracts import (
    CreditsPurchased,
    EmailBounced,
    Event,
    IncomingData,
    PlanChanged,
    ProspectGenerated,
    ProspectStageChanged,
)
from credit_service.cli.main import app
from support.access import logins
from support.credits import COMMAND_SECONDS_MAX, environment
from support.forked import Forked
from support.patience import patience
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from support.service import Deployment

BEGAN = datetime.now(UTC) - timedelta(days=1)
EXAMPLE = re.compile(r"Example: \[cyan\](.*?)\[/\]")
CUSTOMERS = "record,account_id,plan_id,monthly_credits,billing_anchor_at\naccount,bolt,pro,500,2026-01-31T00:00:00Z\n"

# What does not end with 0, and why not.
ENDS_WITH = {
    "credits tail --account acme": 130,  # it goes on until Ctrl-C
    "credits resume email-bounced": 1,  # it is not paused
    # every partition can be read
    'credits skip email-bounced 3 --to 1042 --reason "flipped byte, sent again by mailer" --dry-run': 2,
    "credits doctor --output json": 1,  # no service runs
    "credits reconcile --from 2026-03-01T00:00:00Z --report found.json": 1,  # dead letters wait
    'credits dead-letters retry 12 13 --reason "billing is fixed"': 1,  # they still cannot be read
    'credits refunds reject acme 7 --reason "the address is right"': 1,  # it was approved
}
REPAIR = 'credits reconcile --repair --reason "after the restore" --yes'
ASKING = ("adjust", "discard", "approve", "reject", "drop")


def commands(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Every command that is no group, with its help."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command.help or ""


ALL = dict(commands(typer.main.get_command(app), ("credits",)))
EXAMPLES = [example for text in ALL.values() for example in EXAMPLE.findall(text)]


def test_every_command_has_an_example_of_its_own() -> None:
    for name, text in ALL.items():
        found = EXAMPLE.findall(text)
        assert found, f"{name} has no example"
        assert all(name in one for one in found), f"{name} shows an example of another command"


@pytest.fixture
async def played(deployment: Deployment) -> AsyncIterator[Deployment]:
    """A deployment with a user for each role, after what the examples speak of."""
    with logins(deployment.database_url) as users:
        deployment.settings |= users.settings()
        await play(deployment)
        yield deployment


async def play(deployment: Deployment) -> None:
    """What the examples speak of: charges up to number 7, which a person is asked about, and dead letters.

    Of these two are set aside, as rows 17 and 18.
    """
    await deployment.make_topics(partitions=1)
    (deployment.folder / "customers.csv").write_text(CUSTOMERS)
    told: list[IncomingData] = [
        PlanChanged(account_id="acme", plan_id="pro", monthly_credits=500),
        *(ProspectGenerated(account_id="acme", prospect_id=f"p-{number}") for number in range(2, 8)),
        ProspectStageChanged(account_id="acme", prospect_id="p-7", stage="wrong-email"),
        CreditsPurchased(account_id="acme", purchase_id="buy-7", credits=50),
        EmailBounced(account_id="acme", prospect_id="p-2"),
    ]
    async with deployment.upstream() as upstream:
        events: list[Event[IncomingData]] = [event(data, BEGAN + timedelta(minutes=n)) for n, data in enumerate(told)]
        await upstream.send(events)
        for _ in range(13):
            await upstream.send_raw("email-bounced", b"not json")
    service = await (await deployment.start()).ready()
    await deployment.oracle().drained()
    assert await service.terminate() == 0
    connection = await asyncpg.connect(deployment.database_url)
    await connection.execute(
        "INSERT INTO credits.outbox_set_aside (outbox_id, topic, dead_letter_id, cause, set_aside_at) "
        "SELECT n, 'credit-service-dead-letters', 1, 'MessageSizeTooLargeError', now() "
        "FROM generate_series(17, 18) AS n"
    )
    await connection.close()


async def run_example(deployment: Deployment, example: str) -> tuple[int, str]:
    """Exit code and stderr; commands that never end are ended by Ctrl-C."""
    words = shlex.split(example)
    while "=" in words[0]:
        words.pop(0)  # the port of the example may be taken
    if set(words) & set(ASKING) and "--yes" not in words:
        words.append("--yes")  # there is nobody to ask
    out, said = deployment.folder / "out", deployment.folder / "said"
    said.write_text("")
    command = Forked(
        *words[1:],
        environment=environment(
            **deployment.settings,
            kafka_bootstrap_servers=deployment.kafka,
            kafka_group_id=deployment.group,
            topic_prefix=deployment.prefix,
            http_port=0,
            health_port=0,
        ),
        folder=deployment.folder,
        stdout=out,
        stderr=said,
    )
    if example.endswith("credits serve") or example.startswith("credits tail"):
        await eventually(lambda: "\n" in said.read_text(), what="it has begun")
        command.send_signal(signal.SIGINT)
    async with asyncio.timeout(patience(COMMAND_SECONDS_MAX)):
        return await command.wait(), said.read_text()


# Some seventy commands, one after the other.
@pytest.mark.timeout(600)
async def test_the_examples_work(played: Deployment) -> None:
    ended = {one: await run_example(played, one) for one in EXAMPLES}
    connection = await asyncpg.connect(played.database_url)
    await connection.execute("UPDATE credits.accounts SET balance = balance + 1 WHERE account_id = 'acme'")
    await connection.close()
    repaired, said = await run_example(played, REPAIR)
    assert repaired == 1, "dead letters are left for a person"
    assert said.count("1  balances are recomputed") == 2, "to be done, and done"
    assert {one: code for one, (code, _) in ended.items()} == {one: ENDS_WITH.get(one, 0) for one in EXAMPLES}
    assert [one for one, (_, said) in ended.items() if "Traceback" in said] == []
