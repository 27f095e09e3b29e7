"""Databases of earlier versions: their migrations, and rows that those versions wrote."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING

from credit_service.domain.event import Cause
from credit_service.domain.prospect import Charge, Prospect

if TYPE_CHECKING:
    import asyncpg

MIGRATIONS = files("credit_service.postgres") / "migrations"

# What the first release had written: ann was charged for, bob charged and refunded, of cy only a bounce is known.
ROWS = """
INSERT INTO credits.accounts (account_id, partition_hash, balance, sequence, position, last_grant_id, plan_position,
    anchor_at, time_zone, period_number, period_starts_at, period_ends_at, granted_in_period, next_timer_at)
VALUES ('acme', 0, 9, 4, 5, 1, 1, now() - interval '1 day', 'UTC', 0, now() - interval '1 day',
    now() + interval '27 days', 10, now() + interval '27 days');
INSERT INTO credits.decisions (account_id, position, key, content, content_version, source, id, type, outcome,
    occurred_at, decided_at, prospect_id)
SELECT 'acme', position, decode(md5(position::text), 'hex'), decode(md5('c'), 'hex'), 1, '/old', 'old-' || position,
    type::credits.event_type, outcome::credits.outcome, now() - interval '1 hour' * (6 - position), now(), prospect_id
FROM (VALUES
    (1, 'plan-changed', 'plan-in-force', NULL),
    (2, 'prospect-generated', 'charged', 'ann'),
    (3, 'prospect-exported', 'charged', 'bob'),
    (4, 'email-bounced', 'refunded', 'bob'),
    (5, 'email-bounced', 'awaiting-charge', 'cy')
) AS old (position, type, outcome, prospect_id);
INSERT INTO credits.plans (account_id, position, plan_id, monthly_credits, effective_at, occurred_at, pending)
VALUES ('acme', 1, 'p', 10, now() - interval '1 day', now() - interval '1 day', false);
INSERT INTO credits.grants (account_id, grant_id, origin, amount, remaining, effective_at, expires_at, open, position)
VALUES ('acme', 1, 'plan', 10, 9, now() - interval '1 day', now() + interval '27 days', true, 1);
INSERT INTO credits.entries (account_id, sequence, line, grant_id, amount, previous_balance, balance, reason, position,
    refunds_sequence, occurred_at, recorded_at)
VALUES
    ('acme', 1, 0, 1, 10, 0, 10, 'plan_change', 1, NULL, now() - interval '1 day', now()),
    ('acme', 2, 0, 1, -1, 10, 9, 'charge', 2, NULL, now() - interval '4 hours', now()),
    ('acme', 3, 0, 1, -1, 9, 8, 'charge', 3, NULL, now() - interval '3 hours', now()),
    ('acme', 4, 0, 1, 1, 8, 9, 'refund', 4, 3, now() - interval '2 hours', now());
INSERT INTO credits.prospects (account_id, prospect_id, origin, charge_sequence, charge_grant_id, refund_sequence,
    bounce_position)
VALUES
    ('acme', 'ann', 'generated', 2, 1, NULL, NULL),
    ('acme', 'bob', 'exported', 3, 1, 4, NULL),
    ('acme', 'cy', NULL, NULL, NULL, NULL, 5);
"""

# What the version with the rules wrote behind that: what was told of a prospect more than once is a JSON text.
BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
EVE = "0f8fad5b-d9cb-469f-a165-70867728950e"
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
DECISIONS = [
    (6, "prospect-generated", "charged", "dan", None),
    (7, "prospect-exported", "free", "dan", None),
    (8, "prospect-generated", "charged", EVE, None),
    (9, "email-bounced", "refunded", EVE, None),
    (10, "prospect-generated", "charged", "fay", None),
    (11, "prospect-deleted", "deleted", "fay", None),
    (12, "prospect-exported", "charged", "fay", None),
    (13, "prospect-generated", "charged", "gil", None),
    (14, "prospect-stage-changed", "refund-requested", "gil", None),
    (15, "opening", "opened", "hal", "generated"),
    (16, "opening", "opened", "ivy", "exported"),
    (17, "email-bounced", "refunded", "ivy", None),
    (18, "prospect-imported", "imported", "jo", None),
    (19, "credits-purchased", "purchased", None, None),
    (20, "plan-changed", "plan-pending", None, None),
]
# The change, its decision, the grant, the amount, the balance after it, and the charge that is given back.
CHANGES = [
    (5, 6, 1, -1, 8, "charge", None),
    (6, 8, 1, -1, 7, "charge", None),
    (7, 9, 1, 1, 8, "refund", 6),
    (8, 10, 1, -1, 7, "charge", None),
    (9, 12, 1, -1, 6, "charge", None),
    (10, 13, 1, -1, 5, "charge", None),
    (11, 17, 2, 1, 6, "refund", -16),
    (12, 19, 3, 3, 9, "purchase", None),
]
# By prospect: origin, charge, its grant and its refund, and the number of the last stay; then the one decision, or all
# that was told and charged. A charge has its sequence, grant, time, refund, and whether it is settled and asked for.
ROW = tuple[str, int | None, int | None, int | None, int]
PROSPECTS: dict[str, tuple[ROW, int | tuple[list[int], list[tuple[int, int, int, int | None, bool, bool]]]]] = {
    "dan": (("generated", 5, 1, None, 1), ([6, 7], [(5, 1, 6, None, False, False)])),
    EVE: (("generated", 6, 1, 7, 1), ([8, 9], [(6, 1, 9, 7, True, False)])),
    "fay": (
        ("exported", 9, 1, None, 2),
        ([10, 11, 12], [(8, 1, 10, None, False, False), (9, 1, 12, None, False, False)]),
    ),
    "gil": (("generated", 10, 1, None, 1), ([13, 14], [(10, 1, 14, None, False, True)])),
    "hal": (("generated", -15, 0, None, 1), 15),
    "ivy": (("exported", -16, 0, 11, 1), ([16, 17], [(-16, 0, 17, 11, True, False)])),
    "jo": (("imported", None, None, None, 1), 18),
    # Of what was told of her first, four stays are forgotten.
    "kay": (("generated", None, None, None, 5), ([6], [])),
}
REST = """
INSERT INTO credits.grants (account_id, grant_id, origin, amount, remaining, effective_at, expires_at, open, position)
VALUES
    ('acme', 2, 'refund', 1, 1, now(), now() + interval '27 days', true, 17),
    ('acme', 3, 'purchase', 3, 3, now(), NULL, true, 19);
UPDATE credits.grants SET remaining = 5 WHERE grant_id = 1;
UPDATE credits.accounts SET sequence = 12, position = 20, last_grant_id = 3;
INSERT INTO credits.purchases VALUES ('acme', 'bought', 19);
INSERT INTO credits.refund_requests (account_id, charge_sequence, prospect_id, position, requested_at)
VALUES ('acme', 10, 'gil', 14, now());
INSERT INTO credits.plans (account_id, position, plan_id, monthly_credits, effective_at, occurred_at, pending)
VALUES ('acme', 20, 'next', 20, now() + interval '1 day', now(), true);
INSERT INTO credits.accounts (account_id, partition_hash, parked) VALUES ('later', 0, 1);
INSERT INTO credits.parked_events (account_id, key, content, source, id, type, occurred_at, type_rank, data, partition,
    "offset", parked_at)
VALUES ('later', decode(md5('k'), 'hex'), decode(md5('c'), 'hex'), '/old', 'early', 'prospect-generated',
    now() - interval '1 hour', 3, '{"account_id": "later", "prospect_id": "zoe"}', 0, 7, now());
"""


async def fill_first_release(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """As the first release left it."""
    await connection.execute("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")
    for version in ("20261123000001", "20261123000002"):
        await _apply(connection, version)
    await connection.execute(ROWS)


async def fill_with_rules(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """As the version with the rules left it, which the first release went before."""
    await _apply(connection, "20261123000003")
    await connection.executemany(
        """INSERT INTO credits.decisions (account_id, position, key, content, content_version, source, id, type,
            outcome, occurred_at, decided_at, prospect_id, note)
        VALUES ('acme', $1::int, decode(md5($1::text), 'hex'), decode(md5('c'), 'hex'), 1, '/old',
            'old-' || $1::text, $2::text::credits.event_type, $3::text::credits.outcome, $4, $4, $5, $6)""",
        [(at, kind, outcome, _at(at), prospect, note) for at, kind, outcome, prospect, note in DECISIONS],
    )
    await connection.executemany(
        """INSERT INTO credits.entries (account_id, sequence, line, position, grant_id, amount, previous_balance,
            balance, reason, refunds_sequence, occurred_at, recorded_at)
        VALUES ('acme', $1, 0, $2, $3, $4::bigint, $5::bigint - $4::bigint, $5::bigint,
            $6::text::credits.change_reason, $7, now(), now())""",
        CHANGES,
    )
    await connection.executemany(
        """INSERT INTO credits.prospects (account_id, prospect_id, origin, charge_sequence, charge_grant_id,
            refund_sequence, stay, told_position, story)
        VALUES ('acme', $1, $2::text::credits.prospect_origin, $3, $4, $5, $6, $7, $8)""",
        [
            (name, *row, *((known, None) if isinstance(known, int) else (None, _story(name))))
            for name, (row, known) in PROSPECTS.items()
        ],
    )
    await connection.execute(REST)


async def _apply(connection: asyncpg.Connection[asyncpg.Record], version: str) -> None:
    (found,) = [f for f in MIGRATIONS.iterdir() if f.name.startswith(version)]
    await connection.execute(found.read_text().partition("-- migrate:down")[0])
    await connection.execute("INSERT INTO schema_migrations VALUES ($1)", version)


def _at(position: int) -> datetime:
    """When the event of that decision occurred; what an opening tells of was long ago."""
    return BEGAN + timedelta(minutes=position)


def _told(position: int, prospect_id: str) -> Cause:
    kind, note = {at: (kind, note) for at, kind, _, _, note in DECISIONS}[position]
    told_at = LONG_AGO if kind == "opening" else _at(position)
    told_as = f"prospect-{note}" if kind == "opening" else kind
    return Cause(position, "/old", f"old-{position}", told_as, told_at, prospect_id)


def known_of(prospect_id: str) -> Prospect:
    """What the rows say of a prospect."""
    (_, sequence, grant_id, refund, stay), known = PROSPECTS[prospect_id]
    if isinstance(known, int):
        told = _told(known, prospect_id)
        charges = [Charge(sequence, grant_id, told.occurred_at, refund)] if sequence else []
        return Prospect(prospect_id, [told], charges)
    return Prospect(
        prospect_id,
        [_told(position, prospect_id) for position in known[0]],
        [Charge(number, grant, _at(at), refund, *flags) for number, grant, at, refund, *flags in known[1]],
        stays_past=stay - 1 - (prospect_id == "fay"),
    )


def _story(prospect_id: str) -> str:
    prospect = known_of(prospect_id)
    told = [[c.position, c.source, c.id, c.type, c.occurred_at.isoformat()] for c in prospect.history]
    charges = [
        [c.sequence, c.grant_id, c.at.isoformat(), c.refund_sequence, c.is_settled, c.is_requested]
        for c in prospect.charges
    ]
    return json.dumps({"told": told, "charges": charges, "stays_past": prospect.stays_past}, separators=(",", ":"))
