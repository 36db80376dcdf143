"""The month's charts: drawn without a script of the page's own, in both themes, and readable without them."""

import csv
from decimal import Decimal
from pathlib import Path

from playwright.sync_api import Page, expect

from jobs.access import Role
from jobs.models import Status, User
from tests.browser.conftest import Browse
from tests.browser.installation import Installation
from tests.jobs.views.states import a_job

CHARTS = ("cumulative", "daily", "models", "costs")
# The colours that a canvas shows, without those that are nearly transparent.
PAINT = """id => {
    const canvas = document.getElementById(id);
    const copy = new OffscreenCanvas(canvas.width, canvas.height);
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.drawImage(canvas, 0, 0);
    const { data } = context.getImageData(0, 0, copy.width, copy.height);
    const seen = new Set();
    for (let at = 0; at < data.length; at += 4) {
        if (data[at + 3] > 250) seen.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);
    }
    return [...seen];
}"""
C1 = {"light": "63,99,216", "dark": "113,144,247"}  # the palette's first colour
M3 = {"light": "52,82,199", "dark": "157,177,255"}


def assert_painted(page: Page, theme: str) -> None:
    for name in CHARTS:
        colours = C1 if name == "cumulative" else M3 if name in ("models", "costs") else None
        paint = page.evaluate(PAINT, name)
        assert len(paint) > 3, name
        assert colours is None or colours[theme] in paint, (name, theme)


def test_a_month_is_read_in_charts_tables_and_on_paper(
    ponder: Installation, browse: Browse, mira: User, tmp_path: Path
) -> None:
    with ponder.asleep():
        for slug, is_practice in (("bugs", False), ("proofs", False), ("practice", True)):
            project = ponder.project(slug, is_practice=is_practice, members={mira: Role.SUBMITTER})
            for cost in ("0.40", "1.20", "2.10"):
                a_job(project, mira, Status.COMPLETED, cost=Decimal(cost))
        page = browse(mira, color_scheme="light", accept_downloads=True)
        page.goto("/budget/")
        assert_painted(page, "light")
        page.get_by_role("button", name="Switch theme").click()
        assert_painted(page, "dark")

        # On paper it is light whatever the screen is, and no wider than a sheet.
        page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
        assert_painted(page, "light")
        assert page.locator(".page").bounding_box()["width"] < 700  # type: ignore[index]
        page.evaluate("() => dispatchEvent(new Event('afterprint'))")
        assert_painted(page, "dark")

        # Every chart has a name, and what it shows stands in a table.
        for name in ("of $200.00 after", "The dearest day was", "All of it on", "6 jobs charged"):
            expect(page.get_by_role("img", name=name)).to_be_visible()
        for summary in page.get_by_text("View as table").all():
            summary.click()
        expect(page.get_by_role("region", name="Spend day by day").locator("tr").last).to_contain_text(
            "$7.40"
        )
        expect(page.get_by_role("region", name="Jobs by cost").locator("tbody tr")).not_to_have_count(0)

        # A choice takes effect at once and stands in the address; the spreadsheet is of the same.
        page.locator("select[name=project]").select_option("bugs")
        page.wait_for_url("**/budget/?month=*&project=bugs")
        expect(page.locator(".kpis .big").first).to_contain_text("$3.70 of $100")
        with page.expect_download() as given:
            page.get_by_role("link", name="CSV").click()
        given.value.save_as(tmp_path / "month.csv")
        head, *rows = csv.reader((tmp_path / "month.csv").read_text().splitlines())
        assert sum(Decimal(row[head.index("cost_usd")]) for row in rows) == Decimal("3.7")
        with page.expect_download() as given:
            page.get_by_role("button", name="PNG").click()
        given.value.save_as(tmp_path / "chart.png")
        assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")

        # Made-up money is looked at by itself.
        page.goto("/budget/")
        page.get_by_role("link", name="Show practice").click()
        expect(page.locator(".kpis .big").first).to_contain_text("$3.70")
        expect(page.get_by_role("link", name="Compiler")).to_have_count(0)
