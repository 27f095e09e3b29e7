"""Rules that fail on one prospect, as a defect of the service would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from credit_service.domain.prospect_events import bring_onto_account

if TYPE_CHECKING:
    import pytest

CURSED = "cursed"


def curse(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the rules fail where that prospect comes onto an account."""

    def failing(account: Any, prospect_id: str, *rest: Any) -> Any:
        if prospect_id == CURSED:
            raise ArithmeticError
        return bring_onto_account(account, prospect_id, *rest)

    monkeypatch.setattr("credit_service.domain.decide.bring_onto_account", failing)
