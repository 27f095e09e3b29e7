"""`make demo`: plays a day of four customers; the environment has the addresses of Postgres and Kafka."""

import argparse
import asyncio
import logging
import secrets
import signal
import sys
import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

from aiokafka.errors import KafkaError
from rich.console import Console
from rich.text import Text

from credit_service.application.errors import LedgerUnavailable
from credit_service.cli.demo import check, show, story
from credit_service.cli.demo.inbox import Inbox, open_inbox
from credit_service.cli.demo.play import Player, upstream_producer
from credit_service.cli.demo.service import ServiceProcess, Stopped, running_service
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import BrokerUnavailable
from credit_service.kafka.topics import TopicsRefused, create_topics
from credit_service.postgres.address import Addresses
from credit_service.postgres.migrate import MigrationFailed, migrate
from credit_service.settings import Settings, SettingsError, load_settings

EXIT_WRONG = 1
EXIT_USE = 2
EXIT_INTERRUPTED = 130
LOOPBACK = ("127.0.0.1", "localhost", "::1", "")


def main() -> int:
    """Plays and checks the day; returns the exit code: 0 if all is well, 1 if not, 2 if it could not start."""
    parser = argparse.ArgumentParser(
        prog="python -m credit_service.cli.demo", description="Play a day of four customers, and check the outcome."
    )
    parser.add_argument(
        "--anywhere",
        action="store_true",
        help="also on servers that are not on this machine; the four invented accounts stay in their ledger",
    )
    anywhere = parser.parse_args().anywhere
    console = Console(highlight=False, markup=False, soft_wrap=True)
    # The demo prints its own line for each error that matters.
    logging.disable()
    try:
        settings = load_settings()
        if not (anywhere or _is_local(settings)):
            raise SettingsError("these servers are not on this machine, and their ledger would keep the accounts")
    except SettingsError as error:
        sys.stderr.write(f"demo: {error}\n")
        return EXIT_USE
    try:
        return asyncio.run(_demo(settings, console))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("interrupted")
        return EXIT_INTERRUPTED
    except (BrokerUnavailable, LedgerUnavailable, MigrationFailed, TopicsRefused, TimeoutError) as error:
        show.verdict(console, [f"{type(error).__name__}: {error}"], [])
        return EXIT_WRONG


def _is_local(settings: Settings) -> bool:
    hosts = [urlsplit(settings.database_url.get_secret_value()).hostname or ""]
    hosts += [server.rpartition(":")[0].strip("[]") for server in settings.kafka_bootstrap_servers.split(",")]
    return all(host in LOOPBACK for host in hosts)


async def _demo(settings: Settings, console: Console) -> int:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    began = time.monotonic()
    console.print(Text(show.INTRO))
    # Each run has its own ids: the ledger keeps those of earlier runs.
    day = story.day(secrets.token_hex(3), datetime.now(UTC))
    connection = KafkaConnection.of(settings)
    await asyncio.to_thread(migrate, Addresses.of(settings).service)
    topics = await create_topics(connection, None)
    environment = {
        "CREDITS_DATABASE_URL": settings.database_url.get_secret_value(),
        "CREDITS_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
    }
    async with (
        open_inbox(connection, [customer.account_id for customer in day.customers]) as inbox,
        running_service(environment) as service,
    ):
        try:
            await service.until_ready()
            seconds = time.monotonic() - began
            console.print(f"Database migrated, {len(topics)} topics there, service ready after {seconds:.1f} s.\n")
            wrong, checked = await _play_and_check(day, connection, service, inbox, console)
        except (Stopped, KafkaError, TimeoutError) as error:
            wrong, checked = [str(error) or type(error).__name__], []
        service.keeps_log = bool(wrong)
    _verdict(console, wrong, checked, service, time.monotonic() - began)
    return EXIT_WRONG if wrong else 0


async def _play_and_check(
    day: story.Day, connection: KafkaConnection, service: ServiceProcess, inbox: Inbox, console: Console
) -> tuple[list[str], list[str]]:
    """Plays the day; returns a line for each error, and for each check that passed."""
    async with upstream_producer(connection) as producer:
        player = Player(producer, connection, service, inbox)
        screen = show.Screen(console, inbox, player.outcomes)
        screen.head()
        await player.play(day, screen.step)
    answers = {
        customer.account_id: check.Answers(
            await service.account(customer.account_id), await service.entries(customer.account_id)
        )
        for customer in day.customers
    }
    # The service ends first: it publishes everything before its end, and nothing afterwards.
    exit_code = await service.end()
    await inbox.read_to_the_end()
    screen.balances(day)
    wrong = check.what_is_wrong(day, player.outcomes, inbox, answers)
    if exit_code:
        wrong.append(f"the service ended with exit code {exit_code} after SIGTERM")
    return wrong, check.what_is_right(day, inbox)


def _verdict(console: Console, wrong: list[str], checked: list[str], service: ServiceProcess, seconds: float) -> None:
    if wrong:
        console.print("\nThe service said last:")
        for line in service.last_log_lines():
            console.print(Text(f"  {line}", style="dim"))
        console.print(f"All of it: {service.log}\n")
    show.verdict(console, wrong, checked)
    if not wrong:
        console.print(Text(f"All is well, after {seconds:.0f} s.", style="bold"))


if __name__ == "__main__":
    sys.exit(main())
