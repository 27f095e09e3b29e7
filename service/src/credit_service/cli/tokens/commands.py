"""`credits tokens`: makes and lists the tokens of the read API."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from credit_service.application.auth.scopes import Scope
from credit_service.cli.shared.errors import WrongUse
from credit_service.cli.shared.output import Format, Output, put, say
from credit_service.cli.shared.panels import LOOK, RUN
from credit_service.cli.shared.times import instant_of
from credit_service.cli.tokens.env_file import read_variable, write_variable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from credit_service.application.auth.tokens import Token

VARIABLE = "CREDITS_HTTP_TOKENS"

app = typer.Typer(help="The tokens of the read API.", no_args_is_help=True)


@app.callback()
def tokens() -> None:
    """The tokens of the read API."""


@app.command(rich_help_panel=RUN)
def new(
    name: Annotated[str, typer.Option(help="The client's name: small letters, digits and dashes.")],
    scope: Annotated[list[Scope], typer.Option(help="A scope that the token has; may be given several times.")],
    account: Annotated[str | None, typer.Option(help="The only account that it may read; without it, all.")] = None,
    expires_at: Annotated[str | None, typer.Option(metavar="TIME", help="The token is valid until then.")] = None,
    env_file: Annotated[
        Path | None, typer.Option(help="A file of variables, such as .env, to add the token to.")
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Make a token. It is shown only once, and stored nowhere: the setting CREDITS_HTTP_TOKENS has its SHA-256.

    The token is printed on stdout, and the entry for the list in the setting on stderr.

    Example: [cyan]credits tokens new --name dashboard --scope accounts:read --account acme[/]
    """
    from credit_service.application.auth.tokens import new_token, read_tokens, sha256_of

    secret = new_token()
    given = {"name": name, "sha256": sha256_of(secret), "scopes": scope}
    if account is not None:
        given["account_id"] = account
    if expires_at is not None:
        ends = instant_of("--expires-at", expires_at)
        if ends <= datetime.now(UTC):
            raise WrongUse(f"--expires-at {expires_at}: that is over")
        given["expires_at"] = ends.isoformat()
    try:
        (made,) = read_tokens(json.dumps([given]))
    except ValueError as error:
        raise WrongUse(str(error).removeprefix("token 1, ")) from None
    if env_file is not None:
        _add_to(made, env_file)
    if output is Format.JSON:
        put(json.dumps({"token": secret, "entry": made.entry()}))
        return
    put(secret)
    if env_file is None:
        say(f"To put it in force, add this to the JSON list in {VARIABLE}: {json.dumps(made.entry())}")


def _add_to(made: "Token", env_file: Path) -> None:
    from credit_service.application.auth.tokens import read_tokens

    try:
        held = read_variable(env_file, VARIABLE)
        if not held:
            _require_no_secret_file(env_file)
        text = _written([*read_tokens(held or "[]"), made])
        read_tokens(text)
        write_variable(env_file, VARIABLE, text)
    except ValueError as error:
        raise WrongUse(f"{env_file}, {VARIABLE}: {error}") from None
    except OSError as error:
        raise WrongUse(f"--env-file {env_file}: {error.strerror}") from None
    say(f"{env_file} has it now; a service that reads this file opens to it within seconds")
    if os.environ.get(VARIABLE):
        say(f"but {VARIABLE} is also in the environment, which wins")


def _require_no_secret_file(env_file: Path) -> None:
    """Raises `WrongUse` if a file of secrets has tokens: the list in `env_file` would replace all of them."""
    from credit_service.settings import SettingsError, secret_file_of_http_tokens

    try:
        secrets = secret_file_of_http_tokens()
    except SettingsError as error:
        raise WrongUse(str(error)) from None
    if secrets:
        raise WrongUse(
            f"--env-file {env_file}: the list there would win over that of {secrets}, and close all its tokens; "
            "leave it out, and add the entry to that list"
        )


def _written(tokens: "Iterable[Token]") -> str:
    """The list as JSON without `$`: in a file of variables, `${X}` is replaced by the value of X."""
    return json.dumps([token.entry() for token in tokens]).replace("$", "\\u0024")


@app.command("list", rich_help_panel=LOOK)
def list_tokens(output: Output = Format.TEXT) -> None:
    """List the tokens in the settings of this machine: name, scopes, account and end.

    Example: [cyan]credits tokens list[/]
    """
    from credit_service.settings import SettingsError, load_http_tokens

    try:
        found = load_http_tokens()
    except SettingsError as error:
        raise WrongUse(str(error)) from None
    now = datetime.now(UTC)
    if output is Format.JSON:
        put(json.dumps([_shown(token, now) for token in found]))
    elif found:
        _print(found, now)
    else:
        say(f"{VARIABLE} has no token: the read API refuses every request")


def _shown(token: "Token", now: datetime) -> dict[str, object]:
    shown = {name: value for name, value in token.entry().items() if name != "sha256"}
    return {"account_id": None, "expires_at": None} | shown | {"expired": _has_expired(token, now)}


def _has_expired(token: "Token", now: datetime) -> bool:
    return token.expires_at is not None and token.expires_at <= now


def _print(found: "Sequence[Token]", now: datetime) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column in ("Name", "Opens", "Of", "Until"):
        table.add_column(column, overflow="fold")
    for token in found:
        until = "" if token.expires_at is None else f"{token.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        until += " (expired)" if _has_expired(token, now) else ""
        of = "all accounts" if token.account_id is None else token.account_id
        table.add_row(token.name, ", ".join(sorted(token.scopes)), Text(of), until)
    Console(highlight=False, markup=False).print(table)
