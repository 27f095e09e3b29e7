"""Each client of Kafka's is made with the login: one that is made otherwise would reach no broker that wants one."""

from __future__ import annotations

import ast
from pathlib import Path

import credit_service

SOURCES = Path(credit_service.__file__).parent
# By their names, however they were imported.
CLIENTS = {
    "AIOKafkaConsumer",
    "PortionConsumer",
    "AIOKafkaProducer",
    "AIOKafkaAdminClient",
    "AIOKafkaClient",
    "HandOverConsumer",
    "KafkaBroker",
    "create_conn",
    "TellingConnection",
}


def made_in(source: str) -> list[tuple[int, bool]]:
    """The lines that make a client, and whether each has the connection's login."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in CLIENTS:
            given = {ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg in (None, "security")}
            has_login = any(
                value.endswith((".options", ".login")) or value == "_security(connection)" for value in given
            )
            found.append((node.lineno, has_login))
    return found


def test_every_client_has_the_login_of_the_connection() -> None:
    made = {
        f"{file.relative_to(SOURCES)}:{line}": has_login
        for file in SOURCES.rglob("*.py")
        for line, has_login in made_in(file.read_text())
    }
    assert [where for where, has_login in made.items() if not has_login] == []
    assert len(made) >= 11, "clients are not found any more"


def test_nobody_but_the_connection_names_addresses() -> None:
    named = [
        str(file.relative_to(SOURCES))
        for file in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.keyword) and node.arg in ("bootstrap_servers", "security_protocol")
    ]
    assert named == []


def test_one_that_forgets_it_is_found() -> None:
    assert made_in("aiokafka.AIOKafkaProducer(bootstrap_servers=connection.servers)") == [(1, False)]
    assert made_in("AIOKafkaConsumer(**connection.options, group_id=None)") == [(1, True)]
