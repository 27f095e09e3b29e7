"""`credits migrate`: brings the database to the current schema."""

from credit_service.cli.shared.connections import settings_or_exit
from credit_service.cli.shared.errors import CommandFailed
from credit_service.cli.shared.output import say
from credit_service.cli.shared.run import run


def migrate() -> None:
    """Migrate the database to the schema of this version; forward only, and safe to repeat.

    Example: [cyan]credits migrate[/]
    """
    settings = settings_or_exit()
    from credit_service.application.errors import NoPassword
    from credit_service.postgres.address import Addresses
    from credit_service.postgres.migrate import MigrationFailed, newest_version, require_access
    from credit_service.postgres.migrate import migrate as run_migrations

    address = Addresses.of(settings).migrations
    run(require_access(address))
    try:
        output = run_migrations(address)
    except NoPassword as error:
        raise CommandFailed(str(error)) from None
    except MigrationFailed as error:
        lines = str(error).splitlines()
        raise CommandFailed(f"the database was not migrated: {lines[-1].removeprefix('Error: ')}") from None
    if output:
        say(output)
    say(f"The database is at version {newest_version()}.")
