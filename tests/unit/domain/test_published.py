from __future__ import annotations

from credit_contracts.envelope import Event
from credit_contracts.outgoing import BalanceChanged, Cause, InsufficientCredits
from credit_service.domain.published import balance_changed, insufficient_credits
from support.domain import ACCOUNT, NOW, SOURCE, Story, time
from support.published import read_back

PERIOD_END = time("2026-02-01")


def test_a_charge_as_others_see_it(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-05", event_id="the charge")

    assert read_back(balance_changed(hundred.changes[-1])) == Event(
        "/credit-service",
        "acme:2",
        "balance-changed",
        NOW,
        BalanceChanged(
            account_id=ACCOUNT,
            sequence=2,
            previous_balance=100,
            balance=99,
            delta=-1,
            reason="charge",
            cause=Cause(source=SOURCE, id="the charge", type="prospect-generated"),
            prospect_id="ann",
            unlimited=False,
            period_ends_at=PERIOD_END,
            occurred_at=time("2026-01-05"),
            recorded_at=NOW,
        ),
    )


def test_a_refund_as_others_see_it(hundred: Story) -> None:
    hundred.export("ann", "2026-01-05")
    hundred.bounce("ann", "2026-01-06", event_id="the bounce")

    assert read_back(balance_changed(hundred.changes[-1])).data == BalanceChanged(
        account_id=ACCOUNT,
        sequence=3,
        previous_balance=99,
        balance=100,
        delta=1,
        reason="refund",
        cause=Cause(source=SOURCE, id="the bounce", type="email-bounced"),
        prospect_id="ann",
        unlimited=False,
        period_ends_at=PERIOD_END,
        occurred_at=time("2026-01-06"),
        recorded_at=NOW,
    )


def test_a_renewal_as_others_see_it(hundred: Story) -> None:
    hundred.wait("2026-02-01")
    lapse, renewal = (read_back(balance_changed(change)) for change in hundred.changes[-2:])

    assert (lapse.id, renewal.id) == ("acme:2", "acme:3")
    assert lapse.data.model_dump(include={"previous_balance", "balance", "delta", "reason", "prospect_id"}) == {
        "previous_balance": 100,
        "balance": 0,
        "delta": -100,
        "reason": "lapse",
        "prospect_id": None,
    }
    assert renewal.data == BalanceChanged(
        account_id=ACCOUNT,
        sequence=3,
        previous_balance=0,
        balance=100,
        delta=100,
        reason="renewal",
        cause=Cause(source="/credit-service", id="renewal:2026-02-01T00:00:00.000000Z", type="renewal"),
        prospect_id=None,
        unlimited=False,
        period_ends_at=time("2026-03-01"),
        occurred_at=time("2026-02-01"),
        recorded_at=NOW,
    )


def test_a_switch_to_unlimited_as_others_see_it(hundred: Story) -> None:
    hundred.plan(None, "2026-01-05", event_id="the switch")

    assert read_back(balance_changed(hundred.changes[-1])).data == BalanceChanged(
        account_id=ACCOUNT,
        sequence=2,
        previous_balance=100,
        balance=None,
        delta=0,
        reason="plan_change",
        cause=Cause(source=SOURCE, id="the switch", type="plan-changed"),
        prospect_id=None,
        unlimited=True,
        period_ends_at=PERIOD_END,
        occurred_at=time("2026-01-05"),
        recorded_at=NOW,
    )


def test_an_unlimited_charge_as_others_see_it(story: Story) -> None:
    story.plan(None)
    story.generate("ann")
    data = read_back(balance_changed(story.changes[-1])).data

    assert isinstance(data, BalanceChanged)
    assert (data.unlimited, data.previous_balance, data.balance, data.delta) == (True, None, None, 0)


def test_a_switch_back_is_no_longer_unlimited(story: Story) -> None:
    story.plan(None)
    story.plan(7)
    data = read_back(balance_changed(story.changes[-1])).data

    assert isinstance(data, BalanceChanged)
    assert (data.unlimited, data.previous_balance, data.balance, data.delta) == (False, None, 7, 7)


def test_a_decline_as_others_see_it(story: Story) -> None:
    story.plan(0, "2026-01-01")
    story.generate("ann")
    story.generate("bob", "2026-01-05", event_id="the decline")

    assert read_back(insufficient_credits(story.decisions[-1])) == Event(
        "/credit-service",
        "acme:d:3",
        "insufficient-credits",
        NOW,
        InsufficientCredits(
            account_id=ACCOUNT,
            required=1,
            available=0,
            shortfall=1,
            cause=Cause(source=SOURCE, id="the decline", type="prospect-generated"),
            prospect_id="bob",
            declined_in_period=2,
            period_ends_at=PERIOD_END,
            occurred_at=time("2026-01-05"),
            recorded_at=NOW,
        ),
    )
