"""The identifiers in messages: opaque strings that name no person."""

from typing import Annotated, Final, TypeAlias

from pydantic import Field, StringConstraints

ID_CHARACTERS_MAX: Final = 128
SOURCE_CHARACTERS_MAX: Final = 256
# "account:d:position" around an account id of full length and a 64-bit position.
OWN_ID_CHARACTERS_MAX: Final = 160

# Unicode's category Cc, in a form that ECMA 262 (JSON Schema), Rust and Python read alike.
_NO_CONTROL_CHARACTERS = r"^[^\u0000-\u001f\u007f-\u009f]*$"

_Id = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=ID_CHARACTERS_MAX, pattern=_NO_CONTROL_CHARACTERS),
]

AccountId: TypeAlias = Annotated[_Id, Field(description="The account whose credits are counted.")]
ProspectId: TypeAlias = Annotated[_Id, Field(description="The prospect, opaque: no name, no address.")]
CampaignId: TypeAlias = Annotated[_Id, Field(description="The campaign the prospect belongs to.")]
PlanId: TypeAlias = Annotated[_Id, Field(description="The plan as billing names it.")]
PurchaseId: TypeAlias = Annotated[_Id, Field(description="The purchase as billing names it; counted once an account.")]

EventId: TypeAlias = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=OWN_ID_CHARACTERS_MAX, pattern=_NO_CONTROL_CHARACTERS),
    Field(description="The id of an event, unique within its source."),
]
EventSource: TypeAlias = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=SOURCE_CHARACTERS_MAX, pattern=_NO_CONTROL_CHARACTERS),
    Field(description="Who sent an event, as a URI reference."),
]
