"""The page of the topics: what it is made of is ours to give, and it asks nobody else."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from credit_service.asyncapi.document import Deployed, asyncapi
from credit_service.http.access import Access
from credit_service.http.app import create_api
from credit_service.http.server import HttpServer
from support.patience import patience

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Receive, Scope, Send

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "service/src/credit_service/http/asyncapi_page"
NOTHING: Any = None
DEPLOYED = Deployed("eu-", "credits-eu")

# As they are in @asyncapi/react-component 3.2.1.
VENDORED = {
    "asyncapi.min.js": "50dbacd33a9e1f84844dd5dcce4d2682ffd3c0cc0981b4ad5ab9bf72d67f9ccd",
    "asyncapi.min.js.LICENSE.txt": "f8dc576a49f2eecccea6dee6ee3b24f39542b98cb088a2d5d06c310a74e630d1",
    "asyncapi.min.css": "c8093f9b6441559267845abc24611f7721d075e4f278a8143857bcdc348df410",
    "LICENSE": "43070e2d4e532684de521b885f385d0841030efa2b1a20bafb76133a5e1379c1",
}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMIUM_SECONDS_MAX = 90
# Without a network, and without what a browser does by itself.
CHROMIUM_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --virtual-time-budget=20000 --enable-logging=stderr --dump-dom"
).split()


def api() -> ASGIApp:
    return create_api(NOTHING, Access(()), DEPLOYED)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api()), base_url="http://credits") as client:
        yield client


def named_by(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]*)"', page)


@pytest.mark.parametrize(("name", "digest"), VENDORED.items())
def test_what_is_from_elsewhere_is_as_it_was_there(name: str, digest: str) -> None:
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest


async def test_the_page_needs_no_token_and_names_nothing_that_is_elsewhere(client: httpx.AsyncClient) -> None:
    page = await client.get("/asyncapi")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for name in named_by(page.text):
        if name != "data:,":
            assert not name.startswith(("/", "http"))
            assert (await client.get(f"/{name}")).status_code == 200
    assert "onclick" not in page.text
    assert re.findall(r"<script(?! src=)|<style| style=", page.text) == []


@pytest.mark.parametrize("path", ["/asyncapi", "/asyncapi/show.js", "/asyncapi/asyncapi.min.js"])
async def test_the_page_may_ask_nobody_else_and_evaluates_nothing(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_the_document_is_that_of_this_deployment(client: httpx.AsyncClient) -> None:
    answer = await client.get("/asyncapi.json")
    assert answer.json() == asyncapi(DEPLOYED)
    assert answer.json()["channels"]["balance-changed"]["address"] == "eu-balance-changed"


async def test_the_script_is_packed_for_those_who_can_unpack(client: httpx.AsyncClient) -> None:
    plain = await client.get("/asyncapi/asyncapi.min.js", headers={"accept-encoding": "identity"})
    packed = await client.get("/asyncapi/asyncapi.min.js", headers={"accept-encoding": "gzip"})
    assert plain.content == packed.content == (FOLDER / "asyncapi.min.js").read_bytes()
    assert packed.num_bytes_downloaded < plain.num_bytes_downloaded / 3
    assert packed.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("file", ["README.md", "..%2Fapp.py", "nothing.js"])
async def test_there_is_nothing_else_in_the_folder_to_be_had(client: httpx.AsyncClient, file: str) -> None:
    assert (await client.get(f"/asyncapi/{file}")).status_code == 404


def test_the_wheel_has_the_page(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT / "service",
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"credit_service/http/asyncapi_page/{path.name}" for path in FOLDER.iterdir()} <= names


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
async def test_a_browser_shows_every_topic_and_asks_for_nothing_else(tmp_path: Path) -> None:
    asked: list[str] = []
    app = api()

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await app(scope, receive, send)

    log = tmp_path / "net.json"
    async with HttpServer(noting, "127.0.0.1", 0) as server:
        page = f"http://127.0.0.1:{server.port}/asyncapi"
        options = [*CHROMIUM_OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}"]
        browser = await asyncio.create_subprocess_exec(
            *(str(CHROMIUM), *options, page), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(patience(CHROMIUM_SECONDS_MAX)):
            shown, said = await browser.communicate()
    assert [line for line in said.decode(errors="replace").splitlines() if "CONSOLE" in line] == []
    for channel in asyncapi(DEPLOYED)["channels"].values():
        assert channel["address"] in shown.decode()
    names = [n for n in named_by((FOLDER / "page.html").read_text()) if n.startswith("asyncapi/")]
    assert sorted(asked) == sorted(["/asyncapi", *(f"/{name}" for name in names), "/asyncapi.json"])
    # Chromium asks for things by itself, too; what counts is what the page began.
    origin = page.removesuffix("/asyncapi")
    begun = [line for line in log.read_text().splitlines() if f'"initiator":"{origin}"' in line]
    urls = {url for line in begun for url in re.findall(r'"url":"([^"]*)"', line)}
    assert urls
    assert [url for url in urls if not url.startswith(page)] == []
    # There is nothing to send with.
    assert re.findall(r"<(?:form|textarea|input)\b", shown.decode()) == []
