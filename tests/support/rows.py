"""The rows of the database, as lists and dictionaries with the same constraints.

A store writes only the changes that the accounts note, and a load reads only what was written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from credit_contracts.incoming import CreditsPurchased, PlanChanged
from credit_service.domain.account import Account
from credit_service.domain.command import Adjust, Command, DecideRefund, OpenAccount, OpenPurchase
from credit_service.domain.decided import Decided
from credit_service.domain.decision import Adjustment, Change, Decision, RefundRequest
from credit_service.domain.event import Incoming, Wake
from credit_service.postgres.ledger.plans_needed import accounts_needing_parked, accounts_needing_plans
from credit_service.postgres.ledger.prospect_row import cause_of, columns_of, from_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from credit_service.domain.grant import Grant
    from credit_service.domain.plan import Plan
    from credit_service.domain.prospect import Prospect
    from credit_service.postgres.ledger.prospect_row import Columns

_COLUMNS = (
    "balance unlimited sequence position last_grant_id plan_position calendar period granted_in_period "
    "declined_in_period next_timer_at parked opening_since"
).split()


@dataclass
class Rows:
    """The rows of all accounts."""

    accounts: dict[str, dict[str, object]] = field(default_factory=dict)
    decisions: dict[tuple[str, int], Decision] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    grants: dict[tuple[str, int], Grant] = field(default_factory=dict)
    prospects: dict[tuple[str, str], Columns] = field(default_factory=dict)
    purchases: set[tuple[str, str]] = field(default_factory=set)
    requests: dict[tuple[str, int], RefundRequest] = field(default_factory=dict)
    adjustments: dict[tuple[str, int], Adjustment] = field(default_factory=dict)
    plans: dict[tuple[str, int], Plan] = field(default_factory=dict)
    pending: set[tuple[str, int]] = field(default_factory=set)
    parked: dict[tuple[str, bytes], Incoming] = field(default_factory=dict)
    _keys: dict[tuple[str, bytes], int] = field(default_factory=dict)
    _refunded: set[tuple[str, int]] = field(default_factory=set)

    def load(self, inputs: Sequence[Incoming | Wake | Command], *, unparked_max: int) -> dict[str, Account]:
        """The accounts of `inputs`, with the rows that `inputs` need, and no others."""
        accounts = {name: self._bare(name) for name in dict.fromkeys(item.account_id for item in inputs)}
        for account in accounts_needing_parked(accounts.values(), inputs):
            self._load_waiting(account, unparked_max)
        for name, account in accounts.items():
            self._load(account, [i for i in inputs if not isinstance(i, Wake) and i.account_id == name])
        for account in accounts_needing_plans(accounts.values(), inputs):
            name = account.account_id
            account.pending = [self.plans[at] for at in sorted(self.pending) if at[0] == name]
            account.plan = self.plans.get((name, account.plan_position))
        return accounts

    def _bare(self, name: str) -> Account:
        account = Account(name)
        for column, value in self.accounts.get(name, {}).items():
            setattr(account, column, value)
        return account

    def _load_waiting(self, account: Account, unparked_max: int) -> None:
        name = account.account_id
        waiting = sorted((i for (owner, _), i in self.parked.items() if owner == name), key=lambda i: i.order)
        account.waiting = [replace(i) for i in waiting[:unparked_max]]
        if len(account.waiting) < account.parked:
            account.waiting_until = account.waiting[-1].order

    def _load(self, account: Account, items: list[Incoming | Command]) -> None:
        name = account.account_id
        for item in [*items, *account.waiting]:
            if (name, item.key) in self.parked:
                account.parked_keys[item.key] = self.parked[name, item.key].content
            if (name, item.key) in self._keys:
                decision = self.decisions[name, self._keys[name, item.key]]
                account.decided[item.key] = decision.content
                account.outcomes[item.key] = decision.outcome
            self._load_asked(account, item)
        for (owner, grant_id), grant in self.grants.items():
            if owner == name and grant.is_open:
                account.grants[grant_id] = replace(grant)

    def _load_asked(self, account: Account, item: Incoming | Command) -> None:
        name = account.account_id
        match item.data:
            case CreditsPurchased(purchase_id=purchase_id) | OpenPurchase(purchase_id=purchase_id):
                if (name, purchase_id) in self.purchases:
                    account.purchases.add(purchase_id)
            case DecideRefund(charge_sequence=charge_sequence):
                request = self.requests.get((name, charge_sequence))
                if request is not None:
                    account.requests[charge_sequence] = request
                    self._load_prospect(account, request.prospect_id)
            case PlanChanged() | OpenAccount() | Adjust():
                pass
            case data:
                self._load_prospect(account, data.prospect_id)

    def _load_prospect(self, account: Account, prospect_id: str) -> None:
        if (account.account_id, prospect_id) in self.prospects:
            account.prospects[prospect_id] = self.prospect(account.account_id, prospect_id)
            account.stored_prospects.add(prospect_id)

    def prospect(self, name: str, prospect_id: str) -> Prospect:
        """The prospect as its row has it."""
        _, positions, *columns = self.prospects[name, prospect_id]
        decisions = [self.decisions[name, position] for position in json.loads(f"[{str(positions)[1:-1]}]")]
        causes = [cause_of(d.position, d.source, d.id, d.type, d.occurred_at, d.note, prospect_id) for d in decisions]
        return from_columns(prospect_id, causes, *columns)  # type: ignore[arg-type] # columns are objects

    def store(self, accounts: Iterable[Account], decided: Decided) -> None:
        """Writes the results of one batch, and checks the constraints of the tables."""
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
        self._store_requests(decided)
        for adjustment in decided.adjustments:
            at = adjustment.account_id, adjustment.position
            assert at not in self.adjustments, "one adjustment a decision"
            assert adjustment.amount, "an adjustment changes something"
            self.adjustments[at] = adjustment

    def _store_decision(self, decision: Decision) -> None:
        name = decision.account_id
        assert (name, decision.position) not in self.decisions, "one decision a position"
        assert (name, decision.key) not in self._keys, f"one decision a key: {decision.id}"
        assert (decision.outcome == "declined") == (decision.declined_in_period is not None)
        self.decisions[name, decision.position] = decision
        self._keys[name, decision.key] = decision.position

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
            case "adjustment":
                assert amounts
                assert len({amount > 0 for amount in amounts}) == 1
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
        for grant in account.unstored.new_grants.values():
            assert (name, grant.grant_id) not in self.grants
            self.grants[name, grant.grant_id] = replace(grant)
        for grant in account.unstored.changed_grants.values():
            assert 0 <= grant.remaining <= grant.amount
            assert grant.is_open or grant.remaining == 0
            row = self.grants[name, grant.grant_id]
            row.amount, row.remaining, row.is_open = grant.amount, grant.remaining, grant.is_open
        for prospect_id in account.unstored.changed_prospects:
            assert (prospect_id in account.stored_prospects) == ((name, prospect_id) in self.prospects)
            self._store_prospect(name, account.prospects[prospect_id])
        for plan in account.unstored.new_plans:
            assert (name, plan.cause.position) not in self.plans
            self.plans[name, plan.cause.position] = plan
            if plan in account.pending:
                self.pending.add((name, plan.cause.position))
        for plan in account.unstored.settled_plans:
            self.pending.discard((name, plan.cause.position))
            self.plans[name, plan.cause.position] = plan
        for purchase_id in account.unstored.new_purchases:
            assert (name, purchase_id) not in self.purchases, "a purchase counts once"
            self.purchases.add((name, purchase_id))

    def _store_prospect(self, name: str, prospect: Prospect) -> None:
        new = columns_of(prospect)
        old = self.prospects.get((name, prospect.prospect_id))
        if old is not None:
            _, _, old_charge, _, _, _, old_stay, _, old_end = old
            _, _, new_charge, _, _, _, new_stay, _, new_end = new
            is_same_stay = int(str(new_stay)) <= int(str(old_stay))
            assert not (old_charge and is_same_stay and new_charge != old_charge), "a stay is charged once"
            assert old_end is None or str(new_end) >= str(old_end), "what is closed stays closed"
        self.prospects[name, prospect.prospect_id] = new

    def _store_requests(self, decided: Decided) -> None:
        for request in decided.requests:
            assert (request.account_id, request.charge_sequence) not in self.requests, "one request a charge"
            self.requests[request.account_id, request.charge_sequence] = request
        for at in decided.requests_overtaken:
            if self.requests[at].status == "waiting":
                self.requests[at] = replace(self.requests[at], status="overtaken")
        for one in decided.decided_requests:
            request = self.requests[one.account_id, one.charge_sequence]
            assert request.status == "waiting", "a request is decided once"
            self.requests[one.account_id, one.charge_sequence] = replace(request, status=one.status)
