"""What the page on managed Kafkas says can be set, and its programs print what the service reads."""

from __future__ import annotations

import os
import re
import shlex
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dotenv import dotenv_values

from credit_service.kafka.connect.token_command import read_printed
from credit_service.runtime.programs import PRINTED_BYTES_MAX, PROGRAM_SECONDS_MAX, output_of
from credit_service.settings import Settings, load_settings
from support.secured import make_files

PAGE = (Path(__file__).parents[2] / "deploy" / "MANAGED_KAFKA.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
SETTINGS = [block for language, block in BLOCKS if language == ""]
AMAZON, AZURE, GOOGLE = (block for language, block in BLOCKS if language == "python")

# Of the libraries and programs of the clouds as much as the page's programs use of them.
STAND_INS = {
    "aws_msk_iam_sasl_signer.py": (
        "import time\nclass MSKAuthTokenProvider:\n    @staticmethod\n    def generate_auth_token(region):\n"
        "        return f'signed-for-{region}', int((time.time() + 900) * 1000)\n"
    ),
    "google/__init__.py": "",
    "google/auth/__init__.py": (
        "import datetime\nclass Account:\n    service_account_email = 'service@project.example'\n"
        "    def refresh(self, request):\n        self.token = 'ya29.of-google'\n"
        "        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)\n"
        "        self.expiry = now + datetime.timedelta(seconds=900)\n"
        "def default(scopes):\n    return Account(), 'project'\n"
    ),
    "google/auth/transport/__init__.py": "",
    "google/auth/transport/requests.py": "class Request:\n    pass\n",
    "az": (
        f"#!{sys.executable}\nimport json, sys, time\nassert sys.argv[-1] == 'resource'\n"
        "print(json.dumps({'accessToken': 'of-entra', 'expiresOn': '2026-11-30 13:00:00.000000',"
        " 'expires_on': int(time.time()) + 900, 'tokenType': 'Bearer'}))\n"
    ),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CREDITS_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.mark.parametrize("block", SETTINGS)
def test_what_it_says_to_set_can_be_set(block: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = make_files(folder)
    files.client_certificate.rename(folder / "service.cert")
    files.client_key.rename(folder / "service.key")
    (folder / "block").write_text(re.sub(r"/usr/local/bin/\S+", lambda _: shlex.quote(sys.executable), block))
    monkeypatch.setenv("CREDITS_DATABASE_URL", "postgresql://db/credits")
    monkeypatch.setenv("CREDITS_KAFKA_BOOTSTRAP_SERVERS", "kafka:9093")
    chosen = {name: value for name, value in dotenv_values(folder / "block").items() if value}
    assert len(chosen) == len(block.splitlines())
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert all(str(getattr(settings, name.removeprefix("CREDITS_").lower())) for name in chosen)


def test_it_names_no_setting_that_is_none() -> None:
    known = {f"CREDITS_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"CREDITS_[A-Z_]+", PAGE)) <= known
    assert len(SETTINGS) == 9


@pytest.mark.parametrize(
    ("program", "argument", "begins"),
    [(AMAZON, "eu-central-1", "signed-for-eu-central-1"), (AZURE, "resource", "of-entra"), (GOOGLE, "", "eyJ0eXAiOi")],
)
def test_its_programs_print_what_is_read(
    program: str, argument: str, begins: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {**STAND_INS, "program.py": program}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "az").chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    token = read_printed(output_of(f"{sys.executable} {folder / 'program.py'} {argument}"), datetime.now(UTC))
    assert token.text.startswith(begins)
    assert 800 < token.life_seconds <= 900


def test_the_forms_and_bounds_that_it_shows_are_the_code() -> None:
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    forms = [line.strip().replace("...", "") for line in PAGE.splitlines() if line.startswith('    {"token"')]
    assert [read_printed(form, now).life_seconds for form in forms] == [899, timedelta(minutes=15).total_seconds()]
    assert f"given {PROGRAM_SECONDS_MAX:g} seconds" in PAGE
    assert f"at most {PRINTED_BYTES_MAX // 1024} KiB" in PAGE
