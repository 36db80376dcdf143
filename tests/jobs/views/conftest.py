"""What every test of a page needs: static files under their plain names, without a build."""

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def plain_asset_names(settings: Any) -> None:
    settings.WHITENOISE_AUTOREFRESH = True
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
