"""The output of the demo: plain ASCII, at most 80 columns, readable without colours."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from credit_service.cli.demo.check import published_totals
from credit_service.cli.demo.inbox import Inbox
from credit_service.cli.demo.play import Outcomes
from credit_service.cli.demo.story import Day, Step

WRONG_LINES_MAX = 10

INTRO = """\
A day of four customers. Campaigns, mailer and billing report on Kafka what
happens; the credit service decides what it costs, keeps the ledger in Postgres,
and publishes every change of a balance. 1 credit = 1 prospect on the account.
"""

SILENT = {
    "free": "free",
    "no-effect": "no effect",
    "awaiting-charge": "remembered",
    "imported": "imported",
    "deleted": "deleted",
    "refund-requested": "a person is asked",
}


class Screen:
    """Prints the steps of the day while they are played."""

    def __init__(self, console: Console, inbox: Inbox, outcomes: Outcomes) -> None:
        self._console = console
        self._inbox = inbox
        self._outcomes = outcomes
        self._shown: Counter[str] = Counter()

    def head(self) -> None:
        """Prints the head of the table."""
        self._row("UTC", "customer", "what is reported", "what comes out", "balance", style="bold")

    def step(self, step: Step) -> None:
        """Prints a line for a step: its messages, and the events published since the previous step."""
        account_id = step.customer.account_id
        changes = self._inbox.changes[account_id]
        new_changes = changes[self._shown[f"changes {account_id}"] :]
        declined = len(self._inbox.declines[account_id]) - self._shown[f"declines {account_id}"]
        self._shown[f"changes {account_id}"] += len(new_changes)
        self._shown[f"declines {account_id}"] += declined
        reasons = Counter(change.reason for change in new_changes)
        granted = sum(change.delta for change in new_changes if change.reason == "plan_change")
        parts = [f"{granted:+} credits" if granted else "no limit from now on"] if reasons["plan_change"] else []
        bought = sum(change.delta for change in new_changes if change.reason == "purchase")
        parts += [f"{bought:+} credits"] if bought else []
        parts += [f"{reasons['charge']} charged"] if reasons["charge"] else []
        parts += [f"{reasons['refund']} refunded"] if reasons["refund"] else []
        parts += [f"{declined} declined"] if declined else []
        parts += self._silent(step)
        balance = "" if not changes else "no limit" if changes[-1].balance is None else str(changes[-1].balance)
        style = "red" if declined else "yellow" if not all(sent.is_readable for sent in step.messages) else ""
        self._row(f"{step.at:%H:%M}", step.customer.name, step.what, ", ".join(parts), balance, style=style)

    def _silent(self, step: Step) -> list[str]:
        """The outcomes without a balance change."""
        ignored = sum(sent.again for sent in step.messages)
        unreadable = sum(not sent.is_readable for sent in step.messages)
        outcomes = Counter(self._outcomes[m.event.id] for m in step.messages if m.is_readable and not m.again)
        quiet = [(SILENT[outcome], count) for outcome, count in outcomes.items() if outcome in SILENT]
        parts = [f"{count} {word}" if count > 1 else word for word, count in quiet]
        parts += ["dead letter"] * unreadable
        return parts + ([f"{ignored} known"] if ignored else [])

    def _row(self, at: str, customer: str, what: str, out: str, balance: str, *, style: str) -> None:
        self._console.print(Text(f"{at:<5} {customer:<12} {what:<28} {out:<22} {balance:>8}", style=style))

    def balances(self, day: Day) -> None:
        """Prints each customer's balance, and why."""
        self._console.print(
            Text(
                f"\n{'customer':<12}  {'granted':>7}  {'- charged':>9}  {'+ refunded':>10}  {'= balance':>9}  "
                f"{'declined':>8}",
                style="bold",
            )
        )
        for customer in day.customers:
            t = published_totals(self._inbox, customer)
            balance = "no limit" if t.balance is None else str(t.balance)
            self._console.print(
                Text(
                    f"{customer.name:<12}  {t.granted:>7}  {t.charged:>9}  {t.refunded:>10}  {balance:>9}  "
                    f"{t.declined:>8}"
                )
            )
        self._console.print()
        for customer in day.customers:
            self._console.print(Text(f"{customer.name:<12}  {customer.why}"))
        self._console.print()


def verdict(console: Console, wrong: Sequence[str], checked: Sequence[str]) -> None:
    """Prints the checks that passed, or the errors."""
    for line in checked if not wrong else ():
        console.print(Text.assemble(("ok  ", "green"), line))
    for line in wrong[:WRONG_LINES_MAX]:
        console.print(Text.assemble(("wrong: ", "bold red"), line))
    if len(wrong) > WRONG_LINES_MAX:
        console.print(Text(f"and {len(wrong) - WRONG_LINES_MAX} more that are wrong"))
