"""The database refuses by itself what the domain would never do."""

import asyncpg
import pytest

ACCOUNT = "INSERT INTO credits.accounts (account_id, partition_hash) VALUES ('a', 0)"
DECISION = """
INSERT INTO credits.decisions (account_no, position, key, content, content_version, source, id, type, outcome,
    occurred_at, decided_at)
VALUES (1, {position}, decode(md5('{key}'), 'hex'), decode(md5('c'), 'hex'), 1, '/s', 'i', 'prospect-generated',
    '{outcome}', now(), now())
"""
GRANT = """
INSERT INTO credits.grants (account_no, grant_id, origin, amount, remaining, effective_at, open, position)
VALUES (1, 1, 'plan', 10, {remaining}, now(), {open}, 1)
"""
ENTRY = """
INSERT INTO credits.entries (account_no, sequence, line, grant_id, amount, balance, reason, position,
    refunds_sequence, occurred_at, recorded_at)
VALUES (1, {sequence}, 0, {grant}, {amount}, 5, '{reason}', 1, {refunds}, now(), now())
"""
PROSPECT = """
INSERT INTO credits.prospects (account_no, prospect_id, origin, told, stay, charge_sequence)
VALUES (1, 'p', 'generated', '{1}', 1, 1)
"""


REQUEST = """
INSERT INTO credits.refund_requests (account_no, charge_sequence, prospect_id, position, requested_at)
VALUES ({account}, 1, 'p', 2, now())
"""
DECIDE_REQUEST = """
UPDATE credits.refund_requests
SET status = '{status}', decided_position = 3, decided_at = now(), operator = {operator}, reason = {reason}
"""
CLOSE = "UPDATE credits.prospects SET closed_until = now()"
OVERTAKE = "UPDATE credits.refund_requests SET status = 'overtaken', decided_at = now()"
PURCHASE = "INSERT INTO credits.purchases (account_no, position, purchase_id) VALUES (1, {position}, 'purchase')"


def decided(status: str = "rejected", operator: str = "'ops'", reason: str = "'why'") -> str:
    return DECIDE_REQUEST.format(status=status, operator=operator, reason=reason)


def decision(position: int = 1, key: str = "k", outcome: str = "charged") -> str:
    return DECISION.format(position=position, key=key, outcome=outcome)


def grant(remaining: int, *, is_open: bool = True) -> str:
    return GRANT.format(remaining=remaining, open=is_open)


def entry(sequence: int, reason: str = "charge", amount: int = -1, grant_id: str = "1", refunds: str = "NULL") -> str:
    return ENTRY.format(sequence=sequence, grant=grant_id, amount=amount, reason=reason, refunds=refunds)


REFUSED = {
    "a balance below zero": ([ACCOUNT], "UPDATE credits.accounts SET balance = -1"),
    "a balance that JSON cannot tell": ([ACCOUNT], "UPDATE credits.accounts SET balance = 9007199254740992"),
    "an account noted twice as filling": (
        ["INSERT INTO credits.accounts_filling VALUES (now(), 1)"],
        "INSERT INTO credits.accounts_filling VALUES (now(), 1)",
    ),
    "a second decision on a key": ([decision(1)], decision(2)),
    "a second decision at a position": ([decision(1)], decision(1, key="other")),
    "a decline that is not counted": ([], decision(outcome="declined")),
    "a grant with more left than it had": ([], grant(11)),
    "a grant with less than nothing left": ([], grant(-1)),
    "a closed grant with credits left": ([], grant(1, is_open=False)),
    "a second entry at a sequence": ([entry(1)], entry(1)),
    "a charge of two": ([], entry(1, amount=-2)),
    "a charge that gives": ([], entry(1, amount=1)),
    "a refund that takes": ([], entry(2, "refund", -1, refunds="1")),
    "a refund of no charge": ([], entry(2, "refund", 1)),
    "a second refund of a charge": (
        [entry(1), entry(2, "refund", 1, refunds="1")],
        entry(3, "refund", 1, refunds="1"),
    ),
    "a lapse that gives": ([], entry(1, "lapse", 1)),
    "credits from no grant": ([], entry(1, amount=-1, grant_id="NULL")),
    "a second charge alive for a prospect": (
        [PROSPECT],
        "UPDATE credits.prospects SET charge_sequence = 2",
    ),
    "a close that is taken back": ([PROSPECT, CLOSE], "UPDATE credits.prospects SET closed_until = NULL"),
    "a close that goes back": (
        [PROSPECT, CLOSE],
        "UPDATE credits.prospects SET closed_until = closed_until - interval '1 microsecond'",
    ),
    "a refund before its charge": (
        [PROSPECT],
        "UPDATE credits.prospects SET refund_sequence = 1",
    ),
    "a purchase counted twice": ([PURCHASE.format(position=1)], PURCHASE.format(position=2)),
    "a second request for a charge": ([REQUEST.format(account=1)], REQUEST.format(account=1)),
    "a request decided by nobody": ([REQUEST.format(account=1)], decided(operator="NULL")),
    "a request decided without a reason": ([REQUEST.format(account=1)], decided(reason="NULL")),
    "a request decided for no reason": ([REQUEST.format(account=1)], decided(reason="''")),
    "a request decided twice": ([REQUEST.format(account=1), decided("rejected")], decided("approved")),
    "a request that waits again": (
        [REQUEST.format(account=1), decided("rejected")],
        "UPDATE credits.refund_requests SET status = 'waiting', decided_at = NULL",
    ),
    "a decided request that is gone": ([REQUEST.format(account=1), decided()], "DELETE FROM credits.refund_requests"),
    "more parked events than there may be": ([ACCOUNT], "UPDATE credits.accounts SET parked = 10001"),
    "an opening without its plan": ([ACCOUNT], "UPDATE credits.accounts SET opening_since = now()"),
    "two claims on the outbox": (
        ["INSERT INTO credits.outbox_claim VALUES (true, gen_random_uuid(), '{1}', now())"],
        "INSERT INTO credits.outbox_claim VALUES (true, gen_random_uuid(), '{2}', now())",
    ),
    "an outgoing event too large for Kafka": (
        [],
        """INSERT INTO credits.outbox (topic, key, event_id, event_time, payload)
        VALUES ('t', 'k', 'i', now(), convert_to(repeat('x', 900001), 'UTF8'))""",
    ),
    **{
        f"{verb} history in {table}": ([entry(1), decision(1)], f"{verb} {rest}".format(table=table))
        for table in ("entries", "decisions")
        for verb, rest in {
            "UPDATE": "credits.{table} SET position = 2",
            "DELETE": "FROM credits.{table}",
            "TRUNCATE": "credits.{table}",
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize(("before", "refused"), REFUSED.values(), ids=REFUSED.keys())
async def test_the_database_refuses(undone: asyncpg.Connection, before: list[str], refused: str) -> None:
    for statement in before:
        await undone.execute(statement)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await undone.execute(refused)


async def test_the_next_stay_of_a_prospect_may_be_charged(undone: asyncpg.Connection) -> None:
    await undone.execute(PROSPECT)
    await undone.execute("UPDATE credits.prospects SET charge_sequence = 2, stay = 2")


async def test_a_request_is_decided_by_somebody_or_overtaken_by_a_refund(undone: asyncpg.Connection) -> None:
    for account, decide in {1: decided("approved"), 2: OVERTAKE}.items():
        await undone.execute(REQUEST.format(account=account))
        await undone.execute(f"{decide} WHERE account_no = {account}")


async def test_primary_and_unique_keys_lead_with_the_account(undone: asyncpg.Connection) -> None:
    """So that the ledger can be distributed by account; what belongs to no account is left out."""
    of_no_account = set(
        "outbox outbox_claim outbox_set_aside outbox_dropped dead_letters dead_letter_bytes partition_offsets "
        "offset_gaps paused_topics partitions_read "
        "operations".split()
    )
    rows = await undone.fetch(
        """
        SELECT c.relname AS table_name, i.indexrelid::regclass::text AS index_name, a.attname AS first_column
        FROM pg_index AS i
        JOIN pg_class AS c ON c.oid = i.indrelid
        JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indisunique AND c.relnamespace = 'credits'::regnamespace
        """
    )
    assert {row["table_name"] for row in rows} >= {"accounts", "decisions", "entries", "grants", "prospects"}
    assert [
        row["index_name"]
        for row in rows
        if row["first_column"] not in ("account_id", "account_no") and row["table_name"] not in of_no_account
    ] == []
