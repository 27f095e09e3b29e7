"""The last instant that a time can name is an ordinary one: what ends then is decided, shown and compared like all."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import httpx

from credit_contracts import CreditsPurchased, EmailBounced, PlanChanged, ProspectGenerated
from support.credits import run_credits
from support.patience import patience
from support.reconciled import reconcile
from support.tokens import ALL, BEARER
from support.traffic import event

if TYPE_CHECKING:
    import subprocess

    from support.service import Deployment

LARGEST = datetime.max.replace(tzinfo=UTC)
TEXT = "9999-12-31T23:59:59.999999Z"
BEGAN = datetime.now(UTC) - timedelta(hours=1)

# In the order in which they are sent: the field, its time, and the reason if it is refused.
RAW = [
    ("plan-changed", "effective_at", TEXT, "bad-data"),
    ("credits-purchased", "expires_at", "9999-12-31T23:59:59.9999999Z", None),
    ("credits-purchased", "expires_at", "9999-12-31T23:59:59-01:00", "bad-data"),
]


async def commanded(deployment: Deployment, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, which has to be well."""
    settings = {
        "database_url": deployment.database_url,
        "kafka_bootstrap_servers": deployment.kafka,
        "kafka_group_id": deployment.group,
        "topic_prefix": deployment.prefix,
    }
    done = await asyncio.to_thread(run_credits, *arguments, folder=deployment.folder, **settings)
    assert done.returncode == 0, done.stderr
    return done


async def test_what_ends_at_the_largest_time_is_decided_and_shown(deployment: Deployment) -> None:
    await deployment.make_topics()
    service = await deployment.start(http_tokens=json.dumps([ALL.entry()]))
    async with deployment.upstream() as upstream:
        await upstream.send([event(PlanChanged(account_id="acme", plan_id="p", monthly_credits=1), BEGAN)])
        bought = CreditsPurchased(account_id="acme", purchase_id="buy", credits=5, expires_at=LARGEST)
        await upstream.send([event(bought, BEGAN + timedelta(minutes=1))])
        for number, (topic, field, time, _) in enumerate(RAW):
            data = {"account_id": "acme", "plan_id": "p", "monthly_credits": 7, "purchase_id": "raw", "credits": 2}
            headers = {"specversion": "1.0", "id": f"raw-{number}", "source": "/raw", "type": topic}
            headers["time"] = (BEGAN + timedelta(minutes=2)).isoformat()
            value = json.dumps(data | {field: time}).encode()
            await upstream.send_raw(topic, value, [(f"ce_{n}", v.encode()) for n, v in headers.items()], key=b"acme")
        # What comes next is decided by what was written, not by what is in memory.
        await deployment.oracle().drained()
        for prospect in ("ann", "bob"):
            generated = ProspectGenerated(account_id="acme", prospect_id=prospect)
            await upstream.send([event(generated, BEGAN + timedelta(minutes=3))])
        bounced = EmailBounced(account_id="acme", prospect_id="bob")
        await upstream.send([event(bounced, BEGAN + timedelta(minutes=4))])
    observed = await deployment.oracle().check()
    assert Counter(d["outcome"] for d in observed.decisions) == {
        "plan-in-force": 1, "purchased": 2, "charged": 2, "refunded": 1
    }  # fmt: skip
    assert [r["reason"] for r in observed.dead_letters] == [reason for *_, reason in RAW if reason]

    adjusted = await commanded(
        deployment, "adjust", "acme", "+3", "--expires-at", TEXT,
        "--reason", "goodwill", "--operator", "lee", "--yes", "--output", "json",
    )  # fmt: skip
    assert json.loads(adjusted.stdout)["change"]["expires_at"] == TEXT
    rows = [
        {"record": "account", "account_id": "old", "plan_id": "p", "monthly_credits": 0} | {
            "billing_anchor_at": BEGAN.isoformat()
        },
        {"record": "purchase", "account_id": "old", "purchase_id": "buy", "credits": 4, "expires_at": TEXT},
    ]  # fmt: skip
    (deployment.folder / "base.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    await commanded(deployment, "open", "base.jsonl")
    async with deployment.upstream() as upstream:
        for account_id in ("acme", "old"):
            generated = ProspectGenerated(account_id=account_id, prospect_id="cleo")
            await upstream.send([event(generated, datetime.now(UTC))])
    observed = await deployment.oracle().check()
    assert Counter(d["outcome"] for d in observed.decisions)["charged"] == 4

    # As asyncpg writes it, and wrote it before it was read well.
    connection = await asyncpg.connect(deployment.database_url)
    assert await connection.fetchval("SELECT count(*) FROM credits.grants WHERE expires_at = 'infinity'") == 4
    url = f"http://127.0.0.1:{service.http_port}/v1/accounts/acme"
    async with httpx.AsyncClient(headers=BEARER, timeout=patience(30)) as client:
        told = (await client.get(url)).json()
    shown = json.loads((await commanded(deployment, "account", "show", "acme", "--output", "json")).stdout)
    assert shown == told
    assert [grant["expires_at"] for grant in told["grants"]].count(TEXT) == 3
    assert "9999-12-31 23:59" in (await commanded(deployment, "account", "show", "acme")).stdout
    assert (await commanded(deployment, "explain", "acme", "--output", "json")).stdout.count(TEXT) == 3
    assert "9999-12-31" in (await commanded(deployment, "explain", "acme")).stdout
    for rows_of in ("list", "entries"):
        assert "acme" in (await commanded(deployment, "account", rows_of, "--output", "json")).stdout
    found = await reconcile(deployment)
    assert (found.exit_code, found.found) == (1, set()), found.said

    # Of a record, to which producers may give any time.
    await connection.execute("UPDATE credits.dead_letters SET account_id = 'acme', timestamp_ms = $1", 2**63 - 1)
    await connection.close()
    asked = ("explain", "acme", "--event", "/raw", "raw-0")
    (letter,) = json.loads((await commanded(deployment, *asked, "--output", "json")).stdout)["dead_letters"]["letters"]
    assert letter["reason"] == "bad-data"
    assert await service.terminate() == 0
