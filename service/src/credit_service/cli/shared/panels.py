"""The panels of the help, in which commands are grouped."""

from typing import Final

RUN: Final = "Run"
LOOK: Final = "Look"
DECIDE: Final = "Decide"
REPAIR: Final = "Repair"
TRY_OUT: Final = "Try out"
