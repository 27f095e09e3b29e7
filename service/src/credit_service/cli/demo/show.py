"""What the demo prints: plain ASCII, at most 80 columns, readable without colours."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from credit_service.cli.demo.check import published_totals
from credit_service.cli.demo.inbox import Inbox
from credit_service.cli.demo.play import Outcomes
from credit_service.cli.demo.story import Step, Story

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
    """Prints the day as it goes."""

    def __init__(self, console: Console, inbox: Inbox, outcomes: Outcomes) -> None:
        self._console = console
        self._inbox = inbox
        self._outcomes = outcomes
        self._shown: Counter[str] = Counter()

    def head(self) -> None:
        """The timeline's head."""
        self._row("UTC", "customer", "what is reported", "what comes out", "balance", style="bold")

    def step(self, step: Step) -> None:
        """A line for what has just been played: the messages that went in, and what was published since."""
        account_id = step.customer.account_id
        changes = self._inbox.changes[account_id]
        new_changes = changes[self._shown[f"changes {account_id}"] :]
        declined = len(self._inbox.declines[account_id]) - self._shown[f"declines {account_id}"]
        self._shown[f"changes {account_id}"] += len(new_changes)
        self._shown[f"declines {account_id}"] += declined
        reasons = Counter(change.reason for change in new_changes)
        granted = sum(change.delta for change in new_changes if change.reason == "plan_change")
        said = [f"{granted:+} credits" if granted else "no limit from now on"] if reasons["plan_change"] else []
        bought = sum(change.delta for change in new_changes if change.reason == "purchase")
        said += [f"{bought:+} credits"] if bought else []
        said += [f"{reasons['charge']} charged"] if reasons["charge"] else []
        said += [f"{reasons['refund']} refunded"] if reasons["refund"] else []
        said += [f"{declined} declined"] if declined else []
        said += self._silent(step)
        balance = "" if not changes else "no limit" if changes[-1].balance is None else str(changes[-1].balance)
        style = "red" if declined else "yellow" if not all(sent.is_readable for sent in step.messages) else ""
        self._row(f"{step.at:%H:%M}", step.customer.name, step.what, ", ".join(said), balance, style=style)

    def _silent(self, step: Step) -> list[str]:
        """What was answered without a balance change."""
        ignored = sum(sent.again for sent in step.messages)
        unreadable = sum(not sent.is_readable for sent in step.messages)
        outcomes = Counter(self._outcomes[m.event.id] for m in step.messages if m.is_readable and not m.again)
        quiet = [(SILENT[outcome], count) for outcome, count in outcomes.items() if outcome in SILENT]
        said = [f"{count} {word}" if count > 1 else word for word, count in quiet]
        said += ["dead letter"] * unreadable
        return said + ([f"{ignored} known"] if ignored else [])

    def _row(self, at: str, customer: str, what: str, out: str, balance: str, *, style: str) -> None:
        self._console.print(Text(f"{at:<5} {customer:<12} {what:<28} {out:<22} {balance:>8}", style=style))

    def balances(self, story: Story) -> None:
        """Each customer's balance, and why."""
        self._console.print(
            Text(
                f"\n{'customer':<12}  {'granted':>7}  {'- charged':>9}  {'+ refunded':>10}  {'= balance':>9}  "
                f"{'declined':>8}",
                style="bold",
            )
        )
        for customer in story.customers:
            t = published_totals(self._inbox, customer)
            balance = "no limit" if t.balance is None else str(t.balance)
            self._console.print(
                Text(
                    f"{customer.name:<12}  {t.granted:>7}  {t.charged:>9}  {t.refunded:>10}  {balance:>9}  "
                    f"{t.declined:>8}"
                )
            )
        self._console.print()
        for customer in story.customers:
            self._console.print(Text(f"{customer.name:<12}  {customer.why}"))
        self._console.print()


def verdict(console: Console, wrong: Sequence[str], checked: Sequence[str]) -> None:
    """What was checked, or what is wrong."""
    for line in checked if not wrong else ():
        console.print(Text.assemble(("ok  ", "green"), line))
    for line in wrong[:WRONG_LINES_MAX]:
        console.print(Text.assemble(("wrong: ", "bold red"), line))
    if len(wrong) > WRONG_LINES_MAX:
        console.print(Text(f"and {len(wrong) - WRONG_LINES_MAX} more that are wrong"))
