"""Browser assets: third-party files are what the manifest says, and our own stay small."""

import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

ROOT = Path(__file__).parent.parent
STATIC = ROOT / "static"
VENDOR = STATIC / "vendor"
SHARED_SHEETS = ("app.css", "components.css")
SHARED_SCRIPTS = ("app.js", "theme.js")
MANIFEST_STORAGE = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
KILOBYTE = 1000


def manifest() -> list[dict[str, Any]]:
    packages: list[dict[str, Any]] = json.loads((VENDOR / "manifest.json").read_text())
    return packages


def weight(*names: str) -> int:
    return sum(len(gzip.compress((STATIC / name).read_bytes(), 9)) for name in names)


def symbols() -> set[str]:
    return set(re.findall(r'<symbol id="([a-z0-9-]+)"', (STATIC / "icons.svg").read_text()))


def test_every_vendored_file_has_the_checksum_of_the_manifest() -> None:
    listed = {name: checksum for package in manifest() for name, checksum in package["files"].items()}
    found = {
        str(path.relative_to(VENDOR)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path != VENDOR / "manifest.json"
    }
    assert found == listed


@pytest.mark.parametrize("package", manifest(), ids=lambda package: package["name"])
def test_every_vendored_package_names_its_version_licence_and_source(package: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"])
    assert package["licence"]
    assert package["source"].endswith(f"@{package['version']}")
    assert any(name.endswith("LICENSE") for name in package["files"])


def test_the_hashed_build_finds_every_file_that_css_and_scripts_name(tmp_path: Path, settings: Any) -> None:
    settings.STATIC_ROOT = str(tmp_path)
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": MANIFEST_STORAGE}}
    call_command("collectstatic", interactive=False, verbosity=0)
    paths = json.loads((tmp_path / "staticfiles.json").read_text())["paths"]
    assert {"app.css", "app.js", "icons.svg", "vendor/katex/katex.min.css"} <= paths.keys()


@pytest.mark.parametrize("sheet", sorted(path.name for path in STATIC.glob("page-*.css")))
def test_a_page_loads_at_most_14_kb_of_css(sheet: str) -> None:
    assert weight(*SHARED_SHEETS, sheet) <= 14 * KILOBYTE


def test_a_page_that_uses_several_sheets_stays_within_the_budget_too() -> None:
    for more in ("page-result.css", "page-action.css"):
        assert weight(*SHARED_SHEETS, "page-job.css", "page-choices.css", more) <= 14 * KILOBYTE


@pytest.mark.parametrize("script", sorted(path.name for path in STATIC.glob("*.js")))
def test_a_page_loads_at_most_8_kb_of_our_scripts(script: str) -> None:
    assert weight(*{*SHARED_SCRIPTS, script}) <= 8 * KILOBYTE


@pytest.mark.parametrize(
    "scripts", [("compose.js", "new.js"), ("compose.js", "answer.js", "watch.js"), ("watch.js", "notify.js")]
)
def test_a_page_that_uses_several_scripts_stays_within_the_budget_too(scripts: tuple[str, ...]) -> None:
    assert weight(*SHARED_SCRIPTS, *scripts) <= 8 * KILOBYTE


def test_a_page_with_charts_loads_at_most_155_kb_beside_itself() -> None:
    """A page of 15 KB makes it the 170 KB that a first visit may take."""
    font = (VENDOR / "inter" / "inter-latin-wght-normal.woff2").stat().st_size
    vendored = ("vendor/htmx/htmx.min.js", "vendor/htmx/hx-ptag.min.js", "vendor/chartjs/chart.umd.min.js")
    own = (*SHARED_SHEETS, *SHARED_SCRIPTS, "page-budget.css", "charts.js", "icons.svg")
    assert font + weight(*own, *vendored) <= 155 * KILOBYTE


@pytest.mark.parametrize("sheet", sorted(path.name for path in STATIC.glob("*.css")))
def test_a_sheet_loads_nothing_from_another_origin(sheet: str) -> None:
    text = (STATIC / sheet).read_text()
    assert not re.search(r"https?:|@import|url\(\s*['\"]?//", text)


@pytest.mark.parametrize("script", sorted(path.name for path in STATIC.glob("*.js")))
def test_a_script_needs_nothing_that_the_content_security_policy_forbids(script: str) -> None:
    text = (STATIC / script).read_text()
    assert not re.search(r"\beval\(|new Function|setAttribute\(\"(style|on)|innerHTML|https?:", text)


def test_the_icons_are_a_sprite_without_script_or_reference() -> None:
    text = (STATIC / "icons.svg").read_text()
    assert len(symbols()) == text.count("<symbol ")
    assert not re.search(r"<script|href|\son\w+=", text)
