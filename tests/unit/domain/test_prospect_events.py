"""The product's table of what each event of a prospect costs, if all come in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.domain import Story, time

if TYPE_CHECKING:
    from collections.abc import Callable


def report(story: Story, *steps: str) -> list[str]:
    """Sends events of one prospect, such as `generate`; their outcomes."""
    senders: dict[str, Callable[[str], str]] = {
        "generate": story.generate,
        "export": story.export,
        "import": story.imports,
        "transfer": story.transfer,
        "bounce": story.bounce,
        "soft bounce": lambda name: story.bounce(name, kind="soft"),
        "wrong email": story.stage,
        "stage": lambda name: story.stage(name, stage="contacted"),
        "delete": story.delete,
    }
    return [senders[step]("ann") for step in steps]


@pytest.mark.parametrize(
    ("before", "event", "became", "entries"),
    [
        # A credit for each prospect brought onto the account.
        ([], "generate", "charged", ["charge -1"]),
        ([], "export", "charged", ["charge -1"]),
        (["generate"], "export", "free", []),
        (["generate"], "generate", "free", []),
        (["export"], "generate", "free", []),
        (["export"], "export", "free", []),
        # The customer's own.
        ([], "import", "imported", []),
        (["import"], "import", "no-effect", []),
        (["import"], "generate", "free", []),
        (["import"], "export", "free", []),
        (["generate"], "import", "no-effect", []),
        (["export"], "import", "no-effect", []),
        # Moved between campaigns.
        (["generate"], "transfer", "no-effect", []),
        (["import"], "transfer", "no-effect", []),
        ([], "transfer", "no-effect", []),
        # A bounce refunds what was charged, by itself and once.
        (["generate"], "bounce", "refunded", ["refund +1"]),
        (["export"], "bounce", "refunded", ["refund +1"]),
        (["generate", "import"], "bounce", "refunded", ["refund +1"]),
        (["generate", "transfer"], "bounce", "refunded", ["refund +1"]),
        (["generate", "bounce"], "bounce", "no-effect", []),
        (["generate"], "soft bounce", "no-effect", []),
        (["import"], "bounce", "no-effect", []),
        (["import", "generate"], "bounce", "no-effect", []),
        (["generate", "bounce"], "generate", "free", []),
        (["generate", "bounce"], "export", "free", []),
        (["generate", "bounce"], "import", "no-effect", []),
        # Unknown: kept for the charge to come.
        ([], "bounce", "awaiting-charge", []),
        (["bounce"], "generate", "charged", ["charge -1", "refund +1"]),
        (["bounce"], "export", "charged", ["charge -1", "refund +1"]),
        (["bounce"], "import", "imported", []),
        (["transfer", "bounce"], "generate", "charged", ["charge -1", "refund +1"]),
        # A wrong e-mail opens a refund request.
        (["generate"], "wrong email", "refund-requested", []),
        (["export"], "wrong email", "refund-requested", []),
        (["generate", "wrong email"], "wrong email", "no-effect", []),
        (["generate", "wrong email"], "bounce", "refunded", ["refund +1"]),
        (["generate", "bounce"], "wrong email", "no-effect", []),
        (["import"], "wrong email", "no-effect", []),
        ([], "wrong email", "awaiting-charge", []),
        (["wrong email"], "generate", "charged", ["charge -1"]),
        (["generate"], "stage", "no-effect", []),
        ([], "stage", "no-effect", []),
        # Deleted: no refund, and it costs again.
        (["generate"], "delete", "deleted", []),
        (["import"], "delete", "deleted", []),
        (["generate", "bounce"], "delete", "deleted", []),
        ([], "delete", "no-effect", []),
        (["generate", "delete"], "delete", "no-effect", []),
        (["generate", "delete"], "generate", "charged", ["charge -1"]),
        (["generate", "delete"], "export", "charged", ["charge -1"]),
        (["generate", "delete"], "import", "imported", []),
        (["import", "delete"], "generate", "charged", ["charge -1"]),
        (["import", "delete", "generate"], "bounce", "refunded", ["refund +1"]),
        (["generate", "delete", "import"], "bounce", "no-effect", []),
        (["generate", "delete"], "bounce", "no-effect", []),
        (["generate", "delete"], "wrong email", "no-effect", []),
        (["delete"], "bounce", "no-effect", []),
        (["delete"], "wrong email", "no-effect", []),
        (["generate", "delete", "bounce"], "generate", "charged", ["charge -1"]),
        (["bounce", "delete"], "generate", "charged", ["charge -1"]),
        (["delete", "bounce"], "generate", "charged", ["charge -1"]),
        (["generate", "delete", "generate"], "bounce", "refunded", ["refund +1"]),
        (["generate", "bounce", "delete", "generate"], "bounce", "refunded", ["refund +1"]),
        (["generate", "wrong email", "delete", "generate"], "wrong email", "refund-requested", []),
    ],
    ids=lambda value: (" > ".join(value) or "nothing") if isinstance(value, list) else value,
)
def test_after(hundred: Story, before: list[str], event: str, became: str, entries: list[str]) -> None:
    report(hundred, *before)
    changes = len(hundred.log)

    assert report(hundred, event) == [became]
    assert hundred.log[changes:] == entries


@pytest.mark.parametrize("event", ["generate", "export"])
def test_what_cannot_be_covered_is_declined_and_not_on_the_account(story: Story, event: str) -> None:
    story.plan(0)

    assert report(story, event, event) == ["declined", "declined"]
    assert story.prospect("ann") is None
    assert report(story, "bounce", "delete") == ["awaiting-charge", "no-effect"]


def test_an_import_needs_no_credits(story: Story) -> None:
    story.plan(0)

    assert report(story, "import", "generate", "export") == ["imported", "free", "free"]


def test_a_bounce_that_occurred_before_a_delete_refunds_also_after_it(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-02")
    hundred.delete("ann", "2026-01-04")

    assert hundred.bounce("ann", "2026-01-03") == "refunded"
    assert hundred.log == ["plan_change +100", "charge -1", "refund +1"]
    assert hundred.generate("ann", "2026-01-05") == "charged"


def test_a_wrong_email_before_a_delete_asks_also_after_it(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-02")
    hundred.delete("ann", "2026-01-04")

    assert hundred.stage("ann", "2026-01-03") == "refund-requested"
    assert hundred.requests == {2: "waiting"}


def test_a_delete_gives_nothing_back(hundred: Story) -> None:
    report(hundred, "generate", "delete", "generate", "delete", "generate")

    assert hundred.log == ["plan_change +100", "charge -1", "charge -1", "charge -1"]
    assert hundred.balance == 97


def test_each_stay_is_refunded_on_its_own(hundred: Story) -> None:
    report(hundred, "generate", "bounce", "delete", "generate", "bounce")

    first, refund, second, again = hundred.changes[1:]
    assert (refund.refunds_sequence, again.refunds_sequence) == (first.sequence, second.sequence)
    assert hundred.balance == 100


def test_at_one_instant_a_bounce_comes_before_the_delete(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-02")
    hundred.delete("ann", "2026-01-03")

    assert hundred.bounce("ann", "2026-01-03") == "refunded"


def test_prospects_are_told_apart(hundred: Story) -> None:
    hundred.generate("ann")
    hundred.imports("bob")
    hundred.delete("ann")

    assert [hundred.generate(name) for name in ("ann", "bob", "cy")] == ["charged", "free", "charged"]


def test_a_delete_in_a_later_month_ends_what_was_charged_in_an_earlier_one(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-05")
    hundred.delete("ann", "2026-03-05")
    hundred.generate("ann", "2026-03-06")

    assert hundred.log[-1] == "charge -1"
    assert hundred.balance == 99
    assert hundred.changes[-1].occurred_at == time("2026-03-06")


def test_unlimited_or_not_a_prospect_that_comes_again_is_counted_again(story: Story) -> None:
    story.plan(None)

    assert report(story, "generate", "delete", "generate", "import") == ["charged", "deleted", "charged", "no-effect"]
    assert story.log == ["plan_change +0", "charge +0", "charge +0"]
