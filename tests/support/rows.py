"""What the database keeps between two batches, as lists and dictionaries with the same constraints.

Only what the accounts name as new or touched is written, and only what is written is there at the next load.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from credit_contracts.incoming import PlanChanged
from credit_service.domain.account import Account
from credit_service.domain.decision import Cause, Change, Decided, Decision, Incoming, Wake

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from credit_service.domain.grant import Grant
    from credit_service.domain.plan import Plan
    from credit_service.domain.prospect import Prospect

_COLUMNS = (
    "balance unlimited sequence position last_grant_id calendar period granted_in_period declined_in_period "
    "next_timer_at parked"
).split()


@dataclass
class Rows:
    """The rows of all accounts."""

    accounts: dict[str, dict[str, object]] = field(default_factory=dict)
    decisions: dict[tuple[str, int], Decision] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    grants: dict[tuple[str, int], Grant] = field(default_factory=dict)
    prospects: dict[tuple[str, str], Prospect] = field(default_factory=dict)
    plans: dict[tuple[str, int], Plan] = field(default_factory=dict)
    pending: set[tuple[str, int]] = field(default_factory=set)
    in_force: dict[str, int] = field(default_factory=dict)
    parked: dict[tuple[str, bytes], Incoming] = field(default_factory=dict)
    _keys: dict[tuple[str, bytes], bytes] = field(default_factory=dict)
    _refunded: set[tuple[str, int]] = field(default_factory=set)

    def load(self, inputs: Sequence[Incoming | Wake], *, unparked_max: int) -> dict[str, Account]:
        """The accounts that `inputs` name, with what `inputs` ask for, and no more."""
        accounts = {}
        for name in dict.fromkeys(item.account_id for item in inputs):
            events = [i for i in inputs if isinstance(i, Incoming) and i.account_id == name]
            accounts[name] = self._load(name, events, unparked_max)
        return accounts

    def _load(self, name: str, events: list[Incoming], unparked_max: int) -> Account:
        account = Account(name)
        for column, value in self.accounts.get(name, {}).items():
            setattr(account, column, value)
        waiting = sorted((i for (owner, _), i in self.parked.items() if owner == name), key=lambda i: i.order)
        account.waiting = [replace(i) for i in waiting[:unparked_max]]
        if len(account.waiting) < account.parked:
            account.waiting_until = account.waiting[-1].order
        for event in [*events, *account.waiting]:
            if (name, event.key) in self.parked:
                account.parked_keys[event.key] = self.parked[name, event.key].content
            if (name, event.key) in self._keys:
                account.decided[event.key] = self._keys[name, event.key]
            if not isinstance(event.data, PlanChanged):
                self._load_prospect(account, event.data.prospect_id)
        for (owner, grant_id), grant in self.grants.items():
            if owner == name and grant.is_open:
                account.grants[grant_id] = replace(grant)
        account.pending = [self.plans[at] for at in sorted(self.pending) if at[0] == name]
        account.plan = self.plans.get((name, self.in_force.get(name, 0)))
        return account

    def _load_prospect(self, account: Account, prospect_id: str) -> None:
        row = self.prospects.get((account.account_id, prospect_id))
        if row is not None:
            account.prospects[prospect_id] = replace(row, bounce=self._bounce(account.account_id, row))
            account.stored_prospects.add(prospect_id)

    def _bounce(self, name: str, row: Prospect) -> Cause | None:
        """The row names the bounce by its position; the rest is read from the decision."""
        if row.bounce is None:
            return None
        d = self.decisions[name, row.bounce.position]
        return Cause(d.position, d.source, d.id, d.type, d.occurred_at, row.prospect_id)

    def store(self, accounts: Iterable[Account], decided: Decided) -> None:
        """Writes what one batch brought, held to the constraints of the tables."""
        for decision in decided.decisions:
            self._store_decision(decision)
        for change in decided.changes:
            self._store_change(change)
        for incoming in decided.parked:
            assert (incoming.account_id, incoming.key) not in self.parked
            self.parked[incoming.account_id, incoming.key] = incoming
        for incoming in decided.unparked:
            del self.parked[incoming.account_id, incoming.key]
        for account in accounts:
            self._store_account(account)

    def _store_decision(self, decision: Decision) -> None:
        name = decision.account_id
        assert (name, decision.position) not in self.decisions, "one decision a position"
        assert (name, decision.key) not in self._keys, f"one decision a key: {decision.id}"
        assert (decision.outcome == "declined") == (decision.declined_in_period is not None)
        self.decisions[name, decision.position] = decision
        self._keys[name, decision.key] = decision.content

    def _store_change(self, change: Change) -> None:
        amounts = [amount for _, amount in change.lines]
        assert all(amounts), "an amount has its grant, and a grant its amount"
        match change.reason:
            case "charge":
                assert amounts in ([], [-1])
            case "refund":
                assert amounts in ([], [1])
            case "lapse":
                assert amounts
                assert all(amount < 0 for amount in amounts)
            case _:
                assert all(amount > 0 for amount in amounts)
        assert (change.reason == "refund") == (change.refunds_sequence is not None)
        if change.refunds_sequence is not None:
            assert (change.account_id, change.refunds_sequence) not in self._refunded, "one refund a charge"
            self._refunded.add((change.account_id, change.refunds_sequence))
        self.changes.append(change)

    def _store_account(self, account: Account) -> None:
        name = account.account_id
        assert account.balance >= 0, "never below zero"
        self.accounts[name] = {column: getattr(account, column) for column in _COLUMNS}
        for grant in account.new_grants.values():
            assert (name, grant.grant_id) not in self.grants
            self.grants[name, grant.grant_id] = replace(grant)
        for grant in account.touched_grants.values():
            assert 0 <= grant.remaining <= grant.amount
            assert grant.is_open or grant.remaining == 0
            row = self.grants[name, grant.grant_id]
            row.amount, row.remaining, row.is_open = grant.amount, grant.remaining, grant.is_open
        for prospect_id in account.touched_prospects:
            assert (prospect_id in account.stored_prospects) == ((name, prospect_id) in self.prospects)
            self.prospects[name, prospect_id] = replace(account.prospects[prospect_id])
        for plan in account.new_plans:
            assert (name, plan.cause.position) not in self.plans
            self.plans[name, plan.cause.position] = plan
            if plan in account.pending:
                self.pending.add((name, plan.cause.position))
        for plan in account.settled_plans:
            self.pending.discard((name, plan.cause.position))
        if account.plan is not None:
            self.in_force[name] = account.plan.cause.position
