"""What `credits explain` tells of one prospect and of one message: every fate that they may have."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from credit_contracts import (
    EmailBounced,
    IncomingData,
    PlanChanged,
    ProspectDeleted,
    ProspectExported,
    ProspectGenerated,
    ProspectImported,
    ProspectStageChanged,
    encode,
    encode_structured,
)
from credit_contracts.incoming import WRONG_EMAIL
from credit_service.application.record import Record, read_record
from credit_service.domain.command import DecideRefund
from credit_service.domain.event import Place
from support.credits import run_credits
from support.explained import Ledger, ledger_of, records_of
from support.traffic import event

BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
AHEAD = datetime.now(UTC) + timedelta(days=1)
EVE = "0f8fad5b-d9cb-469f-a165-70867728950e"


class Acme:
    """One account, and what is told of its prospects, a minute apart unless a time is given."""

    def __init__(self, ledger: Ledger, url: str, folder: Path) -> None:
        self.ledger = ledger
        self._url = url
        self._folder = folder
        self._minutes = 0

    async def told(self, kind: Any, prospect_id: str, event_id: str, at: int | None = None, **more: str) -> None:
        self._minutes += 1
        data = kind(account_id="acme", prospect_id=prospect_id, **more)
        await self.happens(data, event_id, self._minutes if at is None else at)

    async def happens(self, data: IncomingData, event_id: str, at: int = 0) -> None:
        await self.ledger.take(records_of([event(data, BEGAN + timedelta(minutes=at), event_id)]))

    async def plan(self, monthly_credits: int | None = 10) -> None:
        await self.happens(PlanChanged(account_id="acme", plan_id="pro", monthly_credits=monthly_credits), "e-plan")

    def explain(self, *arguments: str, account_id: str = "acme") -> subprocess.CompletedProcess[str]:
        settings: dict[str, object] = {"database_url": self._url, "kafka_bootstrap_servers": "127.0.0.1:1"}
        return run_credits("explain", account_id, *arguments, folder=self._folder, **settings)

    def story(self, prospect_id: str) -> tuple[str, str, dict[str, Any]]:
        """The head and the rest of what is on the screen, and the JSON."""
        screen = self.explain("--prospect", prospect_id)
        assert (screen.returncode, screen.stderr) == (0, "")
        told = self.explain("--prospect", prospect_id, "--output", "json")
        assert (told.returncode, told.stderr) == (0, "")
        head, _, rest = screen.stdout.partition("\n")
        return head, rest, json.loads(told.stdout)

    def fate(self, event_id: str, source: str = "/campaigns", exit_code: int = 0) -> tuple[str, dict[str, Any]]:
        screen = self.explain("--event", source, event_id)
        assert (screen.returncode, screen.stderr) == (exit_code, "")
        told = self.explain("--event", source, event_id, "--output", "json")
        assert (told.returncode, told.stderr) == (exit_code, "")
        return screen.stdout, json.loads(told.stdout)


@pytest.fixture
async def acme(database_url: str, tmp_path: Path) -> AsyncIterator[Acme]:
    async with ledger_of(database_url) as ledger:
        yield Acme(ledger, database_url, tmp_path)


def outcomes(story: dict[str, Any]) -> list[str]:
    return [caused["decision"]["outcome"] for caused in story["decisions"]]


def amounts(caused: dict[str, Any]) -> list[tuple[str, int]]:
    return [(entry["reason"], entry["amount"]) for entry in caused["entries"]]


# --- one prospect


async def test_charged_and_given_back(acme: Acme) -> None:
    await acme.plan()
    await acme.told(ProspectGenerated, EVE, "e-1")
    await acme.told(EmailBounced, EVE, "e-2")
    head, screen, story = acme.story(EVE)
    assert head == f"{EVE} on acme: on the account, generated; its charge #2 was given back by #3"
    assert outcomes(story) == ["charged", "refunded"]
    assert [amounts(caused) for caused in story["decisions"]] == [[("charge", -1)], [("refund", 1)]]
    assert "message e-2 from /mailer, of " in screen
    assert story["standing"] == {
        "on_account": True,
        "origin": "generated",
        "charge": {"sequence": 2, "status": "refunded", "refund_sequence": 3},
    }


async def test_in_order_of_occurrence_with_the_order_of_decision_beside(acme: Acme) -> None:
    await acme.plan()
    await acme.told(EmailBounced, "ann", "e-1", 9)
    await acme.told(ProspectGenerated, "ann", "e-2", 5)
    head, _, story = acme.story("ann")
    assert head.endswith("on the account, generated; its charge #2 was given back by #3")
    assert [(c["decision"]["position"], c["decision"]["outcome"]) for c in story["decisions"]] == [
        (3, "charged"),
        (2, "awaiting-charge"),
    ]
    # The bounce's effect came later, under its own decision.
    assert amounts(story["decisions"][1]) == [("refund", 1)]


async def test_deleted_free_imported_and_declined(acme: Acme) -> None:
    await acme.plan(1)
    await acme.told(ProspectGenerated, "ann", "e-1")
    await acme.told(ProspectExported, "ann", "e-2")
    await acme.told(ProspectDeleted, "ann", "e-3")
    await acme.told(ProspectGenerated, "bob", "e-4")
    await acme.told(ProspectImported, "cy", "e-5")
    head, _, story = acme.story("ann")
    assert head.endswith("ann on acme: not on the account any more, generated; its charge #2 is in force")
    assert outcomes(story) == ["charged", "free", "deleted"]
    head, screen, story = acme.story("bob")
    assert head == "bob on acme: not on the account"
    assert "declined, no grant had a credit left: decline 1 of the month to " in screen
    assert acme.story("cy")[0] == "cy on acme: on the account, imported, at no cost"


async def test_a_stay_that_a_late_delete_parts_is_charged_twice(acme: Acme) -> None:
    await acme.plan()
    await acme.told(ProspectGenerated, "ann", "e-1", 1)
    await acme.told(ProspectExported, "ann", "e-2", 5)
    await acme.told(ProspectDeleted, "ann", "e-3", 3)
    head, _, story = acme.story("ann")
    assert head.endswith("on the account, exported; its charge #3 is in force")
    assert outcomes(story) == ["charged", "deleted", "free"]
    assert [amounts(caused) for caused in story["decisions"]] == [[("charge", -1)], [], [("charge", -1)]]


@pytest.mark.parametrize(
    ("approve", "status", "charge"), [(True, "approved", "was given back by #3"), (False, "rejected", "is in force")]
)
async def test_a_refund_request_and_how_it_ended(acme: Acme, approve: bool, status: str, charge: str) -> None:
    await acme.plan()
    await acme.told(ProspectGenerated, "ann", "e-1")
    await acme.told(ProspectStageChanged, "ann", "e-2", stage=WRONG_EMAIL)
    assert "asks for the refund of the charge #2: waits for a person" in acme.story("ann")[1]
    await acme.ledger.order("acme", DecideRefund(2, approve, "lee", "looked at it"))
    head, screen, story = acme.story("ann")
    assert head.endswith(f"its charge #2 {charge}")
    assert f"asks for the refund of the charge #2: {status} at " in screen
    assert screen.count("by lee: looked at it") == 2
    request = story["decisions"][1]["request"]
    assert (request["status"], request["decided_position"]) == (status, 4)
    assert request["by"] == {"operator": "lee", "reason": "looked at it"}


async def test_a_refund_request_that_a_bounce_overtook(acme: Acme) -> None:
    await acme.plan()
    await acme.told(ProspectGenerated, "ann", "e-1")
    await acme.told(ProspectStageChanged, "ann", "e-2", stage=WRONG_EMAIL)
    await acme.told(EmailBounced, "ann", "e-3")
    _, screen, _ = acme.story("ann")
    assert "asks for the refund of the charge #2: overtaken at " in screen
    assert "it was given back before" in screen


async def test_a_prospect_that_waits_for_the_first_plan(acme: Acme) -> None:
    await acme.told(ProspectGenerated, "ann", "e-1")
    await acme.told(ProspectGenerated, "bob", "e-2")
    head, screen, story = acme.story("ann")
    assert head == "ann on acme: not on the account"
    assert screen.count("\n") == 1
    assert [parked["id"] for parked in story["parked"]] == ["e-1"]


def letters_of(*prospects: str, structured: bool = False) -> list[Record]:
    """Messages that are ahead of the clock, so that each ends as a dead letter."""
    records = []
    for offset, prospect_id in enumerate(prospects):
        data = ProspectGenerated(account_id="acme", prospect_id=prospect_id)
        one = event(data, AHEAD, f"l-{prospect_id}")
        encoded = (encode_structured if structured else encode)(one)
        place = Place(one.type, 1 + structured, offset)
        records.append(read_record(place, one.type, encoded.key, encoded.value, encoded.headers, 0))
    return records


@pytest.mark.parametrize("structured", [False, True])
async def test_a_dead_letter_that_names_the_prospect(acme: Acme, structured: bool) -> None:
    await acme.ledger.take(letters_of("ann", "bob", structured=structured))
    head, screen, story = acme.story("ann")
    assert head == "ann on acme: nothing is known of it"
    why = "the event's time is more than 5 minutes ahead of the database's clock, or of its arrival in Kafka"
    assert f"from-the-future: {why}; waiting" in screen
    assert f"message l-ann from /campaigns, of {AHEAD:%Y}" in screen
    (letter,) = story["dead_letters"]["letters"]
    assert (letter["source"], letter["id"], letter["status"]) == ("/campaigns", "l-ann", "waiting")
    assert letter["place"] == {"topic": "prospect-generated", "partition": 1 + structured, "offset": 0}


async def test_a_letter_that_cannot_be_read_is_found_by_its_key(acme: Acme) -> None:
    broken = b'{"account_id": "acme", "prospect_id": "ann", '
    place = Place("prospect-generated", 0, 7)
    await acme.ledger.take([read_record(place, "prospect-generated", b"acme", broken, [("ce_id", b"e-9")], 0)])
    _, screen, story = acme.story("ann")
    assert [letter["reason"] for letter in story["dead_letters"]["letters"]] != []
    assert "message without a name" in screen


async def test_an_erased_letter_may_have_been_of_it(acme: Acme) -> None:
    await acme.plan()
    await acme.ledger.take(letters_of("ann", "bob"))
    await acme.ledger.connection.execute(
        "UPDATE credits.dead_letters SET key = NULL, value = NULL, headers = '[]', erased_at = now(), erased_by = 'lee'"
        " WHERE value LIKE '%ann%'::bytea"
    )
    _, screen, story = acme.story("bob")
    assert "1 dead letter of the account had the bytes erased: it is unknown whether of it" in screen
    assert story["dead_letters"]["erased"] == 1
    gone = acme.explain("--prospect", "ann")
    assert gone.returncode == 1
    assert "1 dead letter of the account had the bytes erased" in gone.stdout


async def test_a_letter_that_ended_says_how_and_by_whom(acme: Acme) -> None:
    await acme.ledger.take(letters_of("ann"))
    await acme.ledger.connection.execute(
        "UPDATE credits.dead_letters SET status = 'discarded', ended_at = '2026-03-01', operator = 'lee', comment = 'x'"
    )
    assert "; discarded at 2026-03-01T00:00:00Z by lee: x" in acme.story("ann")[1]


async def test_a_prospect_that_nothing_names_is_exit_code_1(acme: Acme) -> None:
    await acme.plan()
    done = acme.explain("--prospect", "ann")
    assert (done.returncode, done.stdout) == (1, "ann on acme: nothing is known of it\n")


# --- one message


async def test_a_message_that_was_decided(acme: Acme) -> None:
    await acme.plan()
    await acme.told(ProspectGenerated, "ann", "e-1", 1)
    await acme.told(ProspectExported, "ann", "e-2", 5)
    await acme.told(ProspectDeleted, "ann", "e-3", 3)
    screen, fate = acme.fate("e-1")
    assert screen.startswith("/campaigns e-1 of acme: was decided\n")
    assert "prospect-generated, partition 0, offset 0" in screen
    assert (fate["status"], fate["decided"]["decision"]["outcome"]) == ("decided", "charged")
    screen, fate = acme.fate("e-2", "/exports")
    # What it caused was recorded with the delete that came late.
    assert (fate["decided"]["decision"]["outcome"], amounts(fate["decided"])) == ("free", [("charge", -1)])
    assert "-1  #3 charge of ann, balance 9 -> 8" in screen


async def test_what_a_person_ordered_is_found_by_its_key(acme: Acme) -> None:
    await acme.plan()
    await acme.told(ProspectGenerated, "ann", "e-1")
    await acme.told(ProspectStageChanged, "ann", "e-2", stage=WRONG_EMAIL)
    await acme.ledger.order("acme", DecideRefund(2, False, "lee", "no"))
    name = await acme.ledger.connection.fetchval(
        "SELECT id FROM credits.decisions_by_account WHERE type = 'refund-rejected'"
    )
    screen, _ = acme.fate(name, "/credit-service")
    assert "no message, by lee: no at " in screen


async def test_a_message_that_waits(acme: Acme) -> None:
    await acme.told(ProspectGenerated, "ann", "e-1")
    screen, fate = acme.fate("e-1")
    assert screen.startswith("/campaigns e-1 of acme: waits for the account's first plan\n")
    assert (fate["status"], fate["parked"]["prospect_id"]) == ("parked", "ann")


@pytest.mark.parametrize("structured", [False, True])
async def test_a_message_that_is_a_dead_letter(acme: Acme, structured: bool) -> None:
    await acme.ledger.take(letters_of("ann", "bob", structured=structured))
    screen, fate = acme.fate("l-ann")
    assert screen.startswith("/campaigns l-ann of acme: is a dead letter\n")
    assert (fate["status"], [one["id"] for one in fate["dead_letters"]["letters"]]) == ("dead-letter", ["l-ann"])


async def test_a_conflict_is_told_beside_what_was_decided(acme: Acme) -> None:
    await acme.plan()
    await acme.told(ProspectGenerated, "ann", "e-1")
    await acme.told(ProspectGenerated, "bob", "e-1")
    screen, fate = acme.fate("e-1")
    assert (fate["status"], fate["dead_letters"]["letters"][0]["reason"]) == ("decided", "conflict")
    assert "conflict: the same source and id were decided before with other content; waiting" in screen
    assert "conflict" in acme.story("bob")[1]


async def test_a_message_that_was_never_seen_is_exit_code_1(acme: Acme) -> None:
    await acme.plan()
    screen, fate = acme.fate("e-1", exit_code=1)
    assert screen == "/campaigns e-1 of acme: was never seen\n"
    assert fate["status"] == "never-seen"


async def test_a_message_of_another_account_is_wrong_use(acme: Acme) -> None:
    await acme.plan()
    other = PlanChanged(account_id="globex", plan_id="pro", monthly_credits=None)
    await acme.happens(other, "e-other")
    waiting = ProspectGenerated(account_id="initech", prospect_id="p")
    await acme.happens(waiting, "e-waiting")
    for source, event_id, owner in (("/billing", "e-other", "globex"), ("/campaigns", "e-waiting", "initech")):
        done = acme.explain("--event", source, event_id)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert f"this is of the account '{owner}'" in done.stderr
