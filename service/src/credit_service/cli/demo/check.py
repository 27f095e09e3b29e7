"""Compares the published events with the expected ones, and with the answers of the HTTP API."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from credit_service.cli.demo.inbox import Inbox
from credit_service.cli.demo.play import Outcomes
from credit_service.cli.demo.story import Customer, Day, Effect


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums that make a balance; `balance` is None if unlimited."""

    granted: int
    charged: int
    refunded: int
    declined: int
    balance: int | None


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of the HTTP API about one account."""

    account: dict[str, Any] | None
    entries: list[dict[str, Any]]


def expected_totals(day: Day, customer: Customer) -> Totals:
    """The totals that the day expects."""
    messages = day.messages_of(customer)
    effects = [effect for sent in messages for effect in sent.effects]
    return _totals(effects, sum(sent.outcome == "declined" and not sent.again for sent in messages), customer.unlimited)


def published_totals(inbox: Inbox, customer: Customer) -> Totals:
    """The totals of the published events."""
    changes = inbox.changes[customer.account_id]
    unlimited = bool(changes) and changes[-1].unlimited
    effects: list[Effect] = [(change.reason, change.delta) for change in changes]
    return _totals(effects, len(inbox.declines[customer.account_id]), unlimited)


def _totals(effects: list[Effect], declined: int, unlimited: bool) -> Totals:
    count = Counter(reason for reason, _ in effects)
    granted = sum(delta for reason, delta in effects if reason not in ("charge", "refund"))
    balance = None if unlimited else sum(delta for _, delta in effects)
    return Totals(granted, count["charge"], count["refund"], declined, balance)


def what_is_wrong(day: Day, outcomes: Outcomes, inbox: Inbox, answers: dict[str, Answers]) -> list[str]:
    """A line for each error; none if all is well."""
    wrong = [f"published twice: {event_id}" for event_id in inbox.repeated]
    wrong += _wrong_dead_letters(day, inbox)
    for customer in day.customers:
        mine = [
            *_wrong_decisions(day, customer, outcomes),
            *_wrong_changes(day, customer, inbox),
            *_wrong_sequence(customer, inbox),
            *_wrong_totals(day, customer, inbox, answers[customer.account_id]),
        ]
        wrong += [f"{customer.name}: {line}" for line in mine]
    return wrong


def _wrong_dead_letters(day: Day, inbox: Inbox) -> Iterator[str]:
    expected = {m.event.id for step in day.steps for m in step.messages if not m.is_readable}
    for event_id in expected - inbox.dead_letters.keys():
        yield f"{event_id} cannot be read and is no dead letter"
    for event_id in inbox.dead_letters.keys() - expected:
        yield f"{event_id} is a dead letter ({inbox.dead_letters[event_id]}) and should not be"


def _wrong_decisions(day: Day, customer: Customer, outcomes: Outcomes) -> Iterator[str]:
    for sent in day.messages_of(customer):
        if sent.is_readable and outcomes.get(sent.event.id) != sent.outcome:
            yield f"{_named(sent.event)} was decided as {outcomes.get(sent.event.id)}, expected {sent.outcome}"


def _wrong_changes(day: Day, customer: Customer, inbox: Inbox) -> Iterator[str]:
    expected: dict[str, list[Effect]] = defaultdict(list)
    names: dict[str, str] = {}
    for sent in day.messages_of(customer):
        expected[sent.event.id] += sent.effects
        names[sent.event.id] = _named(sent.event)
    published: dict[str, list[Effect]] = defaultdict(list)
    for change in inbox.changes[customer.account_id]:
        published[change.cause.id].append((change.reason, change.delta))
    for event_id in dict.fromkeys([*expected, *published]):
        if expected[event_id] != published[event_id]:
            yield (
                f"{names.get(event_id, event_id)} changed the balance by {_effects(published[event_id])}, "
                f"expected {_effects(expected[event_id])}"
            )
    expected_declines = Counter(
        m.event.id for m in day.messages_of(customer) if m.outcome == "declined" and not m.again
    )
    declines = Counter(decline.cause.id for decline in inbox.declines[customer.account_id])
    if declines != expected_declines:
        yield f"{declines.total()} insufficient-credits events, expected {expected_declines.total()}"


def _named(event: Any) -> str:
    return f"{event.type} {event.id} ({_subject(event.data)})"


def _subject(data: Any) -> str:
    names = (getattr(data, field, None) for field in ("prospect_id", "purchase_id", "plan_id"))
    return next(str(name) for name in names if name)


def _effects(effects: list[Effect]) -> str:
    return ", ".join(f"{delta:+} ({reason})" for reason, delta in effects) or "nothing"


def _wrong_sequence(customer: Customer, inbox: Inbox) -> Iterator[str]:
    changes = inbox.changes[customer.account_id]
    sequences = [change.sequence for change in changes]
    if sequences != list(range(1, len(sequences) + 1)):
        yield f"the sequences of its balance changes are not 1 to {len(sequences)}, each once and in order: {sequences}"
    for before, after in pairwise(changes):
        if after.previous_balance != before.balance:
            yield f"change {after.sequence} begins at {after.previous_balance}, but {before.balance} were left before"
    for change in changes:
        if not change.unlimited and (change.previous_balance or 0) + change.delta != change.balance:
            yield f"change {change.sequence} does not add up"


def _wrong_totals(day: Day, customer: Customer, inbox: Inbox, answers: Answers) -> Iterator[str]:
    expected = expected_totals(day, customer)
    published = published_totals(inbox, customer)
    if published != expected:
        yield f"in all {published}, expected {expected}"
    if answers.account is None:
        yield "the HTTP API does not know the account"
        return
    changes = inbox.changes[customer.account_id]
    for name, answered, wanted in (
        ("balance", answers.account["balance"], expected.balance),
        ("unlimited", answers.account["unlimited"], customer.unlimited),
        ("sequence", answers.account["sequence"], len(changes)),
        ("declined_in_period", answers.account["declined_in_period"], expected.declined),
        ("sum of the grants", sum(g["remaining"] for g in answers.account["grants"]), expected.balance or 0),
        ("sum of the entries", sum(e["amount"] for e in answers.entries), expected.balance or 0),
        ("number of entries", len(answers.entries), len(changes)),
    ):
        if answered != wanted:
            yield f"{name} is {answered} over HTTP, expected {wanted}"


def what_is_right(day: Day, inbox: Inbox) -> list[str]:
    """A line for each check that passed, with numbers."""
    messages = [sent for step in day.steps for sent in step.messages]
    changes = sum(len(inbox.changes[c.account_id]) for c in day.customers)
    declines = sum(len(inbox.declines[c.account_id]) for c in day.customers)
    again = sum(sent.again for sent in messages)
    return [
        f"{len(messages)} messages in, {again} of them redelivered: each decided once, as the story says",
        f"{changes} balance changes and {declines} declines out, each once, sequences without a gap",
        "each balance is the sum of its changes: in Kafka, in the ledger, over HTTP",
        f"{len(inbox.dead_letters)} message could not be read: a dead letter, which delayed no other",
        "the service ended on SIGTERM with exit code 0",
    ]
