"""Files that people copy from the guides name settings, commands and options that there are."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from django.conf import settings
from django.core.management import load_command_class

from o3site.settings import KNOWN

GUIDES = settings.BASE_DIR / "docs" / "guides"
FILES = GUIDES / "files"
EVERYWHERE = sorted([*GUIDES.glob("*.md"), *FILES.iterdir()])
NAMED = "start|backup|restore|audit|sign_in_link|rotate_keys|refresh_prices|refresh_models"
COMMANDS = re.compile(rf"(?:manage\.py|ponder-manage|workers-1) ((?:{NAMED})\b[^\n`…#(,;:]*)")


@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda path: path.name)
def test_every_setting_and_file_that_a_guide_names_exists(path: Path) -> None:
    text = path.read_text()
    assert set(re.findall(r"\bPONDER_[A-Z_]+\b", text)) <= KNOWN
    for name in re.findall(r"docs/guides/files/([\w.-]*\w)", text):
        assert (FILES / name).is_file(), name


@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda path: path.name)
def test_every_command_that_a_guide_names_can_be_given_so(path: Path) -> None:
    for line in COMMANDS.findall(path.read_text()):
        name, *words = shlex.split(line.rstrip(" )."))
        app = "o3site" if name in {"start", "backup", "restore"} else "jobs"
        if words:
            load_command_class(app, name).create_parser("manage.py", name).parse_args(words)


def test_the_compose_file_starts_parts_with_volumes_of_their_own() -> None:
    services = yaml.safe_load((FILES / "compose.yaml").read_text())["services"]
    parts = {name: one for name, one in services.items() if one.get("image") == "ponder"}
    parser = load_command_class("o3site", "start").create_parser("manage.py", "start")
    for one in parts.values():
        parser.parse_args(one["command"][1:])
        assert one["env_file"] == "/etc/ponder.env", "every setting counts"
        assert set(one["environment"]) == {"DATABASE_URL", "PONDER_DATA_DIR"}
        assert one["stop_grace_period"] == "100s", "a send may be awaited for 65 s"
    volumes = [volume.partition(":")[0] for one in parts.values() for volume in one["volumes"]]
    assert len(volumes) == len(set(volumes)) == 3, "a journal has one owner"


def test_an_image_gets_what_is_run_and_nothing_else_of_the_folder() -> None:
    # BuildKit finds it by the name of the Dockerfile beside it.
    lines = (FILES / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "a data directory, an environment file or a backup may lie there"
    taken = {rule[1:] for rule in rules if rule.startswith("!")}
    needed = {"manage.py", "pyproject.toml", "uv.lock", "docs", "jobs", "o3site", "static", "templates"}
    assert needed <= taken <= needed | {".python-version", "LICENSE"}
    assert all((settings.BASE_DIR / name).exists() for name in taken)
    assert (FILES / "Dockerfile").is_file()


def test_nginx_is_told_of_http2_in_words_that_old_ones_know() -> None:
    rules = re.sub(r"#.*", "", (FILES / "nginx.conf").read_text())
    assert "listen 443 ssl http2;" in rules
    assert not re.search(r"^\s*http2\s", rules, re.MULTILINE), "nginx 1.25.1 and later only"


def test_service_and_commands_have_the_same_settings() -> None:
    unit = (FILES / "ponder.service").read_text()
    assert "EnvironmentFile=/etc/ponder.env" in unit
    assert not re.search(r"^Environment=", unit, re.MULTILINE), "ponder-manage would not have it"
    deploy = (GUIDES / "deploy.md").read_text()
    assert "\nPONDER_DATA_DIR=/var/lib/ponder\n" in deploy
    assert "StateDirectory=ponder\n" in unit


def test_no_guide_has_root_install_the_tools_of_development() -> None:
    for path in GUIDES.glob("*.md"):
        blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", path.read_text(), re.MULTILINE | re.DOTALL)
        for line in "".join(blocks).splitlines():
            assert "uv run" not in line or "--with" in line, (path.name, line)
            assert "uv sync" not in line or "--no-default-groups" in line, (path.name, line)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `ponder-manage` as installed, and a setpriv that only tells what it was given."""
    told = tmp_path / "told.py"
    told.write_text(
        "import json, os, sys\nprint(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))\n"
    )
    for name, does in (
        ("setpriv", f'exec {sys.executable} {told} "$@"'),
        ("getent", "echo p:x:1:1::/home/p:/"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    script = (FILES / "ponder-manage").read_text()
    installed = tmp_path / "ponder-manage"
    installed.write_text(
        script.replace("PATH=", f"PATH={tmp_path}:", 1).replace("/opt/ponder", str(tmp_path))
    )
    installed.chmod(0o755)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-root")
    monkeypatch.setenv("ENV_FILE", str(tmp_path / "settings"))
    return tmp_path


def test_ponder_manage_runs_a_command_with_the_settings_of_the_service_only(machine: Path) -> None:
    (machine / "settings").write_text(
        "# ours\n\nPONDER_DATA_DIR=/var/lib/ponder\nPONDER_AZURE_TOKEN_COMMAND=az account --x $HOME `id`\n"
        "PONDER_KEYS=a=,b="
    )
    done = subprocess.run(
        [machine / "ponder-manage", "backup", "/srv/a folder"], capture_output=True, text=True, check=True
    )
    words, environment, folder = json.loads(done.stdout)
    assert words[:2] == ["--reuid=ponder", "--regid=ponder"]
    assert words[-4:] == [".venv/bin/python", "manage.py", "backup", "/srv/a folder"]
    assert folder == str(machine)
    assert environment["PONDER_KEYS"] == "a=,b="
    assert environment["PONDER_AZURE_TOKEN_COMMAND"] == "az account --x $HOME `id`"
    assert environment["HOME"] == "/home/p"
    assert {"OPENAI_API_KEY", "ENV_FILE"}.isdisjoint(environment)


def test_ponder_manage_without_settings_runs_nothing(machine: Path) -> None:
    done = subprocess.run([machine / "ponder-manage", "audit"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stdout == ""
