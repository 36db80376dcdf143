"""Shows the guides for those who run Ponder, as they stand in its folder."""

from functools import cache
from pathlib import Path

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_safe

from jobs import rendering

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "guides"


@require_safe
def guide(request: HttpRequest, name: str) -> HttpResponse:
    """Show one guide."""
    if name not in _known():
        raise Http404
    title, html = _read(name)
    shown = mark_safe(html)  # noqa: S308 (our own file, made without any HTML of its own)
    return render(request, "guide.html", {"title": title, "html": shown, "others": _known(), "name": name})


@cache
def _known() -> dict[str, str]:
    """Return the guides' titles by name."""
    return {path.stem: _read(path.stem)[0] for path in sorted(GUIDES.glob("*.md"))}


@cache
def _read(name: str) -> tuple[str, str]:
    return rendering.guide((GUIDES / f"{name}.md").read_text())
