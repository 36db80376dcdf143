"""Files that people copy from the guides name settings, commands and options that there are."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from django.conf import settings
from django.core.management import load_command_class

from o3site.settings import KNOWN

GUIDES = settings.BASE_DIR / "docs" / "guides"
FILES = GUIDES / "files"
EVERYWHERE = sorted([*GUIDES.glob("*.md"), *FILES.iterdir()])
# Of compose.yaml and the proxy, not of ours.
THEIRS = {"PONDER_HOST"}
COMMANDS = re.compile(r"manage\.py ((?:start|backup|restore|audit|sign_in_link)\b[^\n`…#]*)")


@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda path: path.name)
def test_every_setting_and_file_that_a_guide_names_exists(path: Path) -> None:
    text = path.read_text()
    assert set(re.findall(r"\bPONDER_[A-Z_]+\b", text)) - THEIRS <= KNOWN
    for name in re.findall(r"docs/guides/files/([\w.]+)", text):
        assert (FILES / name).is_file(), name


@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda path: path.name)
def test_every_command_that_a_guide_names_can_be_given_so(path: Path) -> None:
    for line in COMMANDS.findall(path.read_text()):
        name, *words = shlex.split(line.rstrip(" )."))
        app = "jobs" if name in {"audit", "sign_in_link"} else "o3site"
        if words:
            load_command_class(app, name).create_parser("manage.py", name).parse_args(words)


def test_the_compose_file_starts_parts_with_volumes_of_their_own() -> None:
    services = yaml.safe_load((FILES / "compose.yaml").read_text())["services"]
    parts = {name: one for name, one in services.items() if one.get("image") == "ponder"}
    parser = load_command_class("o3site", "start").create_parser("manage.py", "start")
    for one in parts.values():
        parser.parse_args(one["command"][1:])
        assert set(one["environment"]) >= {"DATABASE_URL", "SECRET_KEY", "PONDER_KEYS", "PONDER_URL"}
        assert one["stop_grace_period"] == "100s", "a send may be awaited for 65 s"
    volumes = [volume.partition(":")[0] for one in parts.values() for volume in one["volumes"]]
    assert len(volumes) == len(set(volumes)) == 3, "a journal has one owner"
