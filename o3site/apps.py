"""Prepare a process for its role as soon as Django knows the applications."""

import gc

from django.apps import AppConfig
from django.conf import settings


class SiteConfig(AppConfig):
    """The application that holds how Ponder is run."""

    name = "o3site"

    def ready(self) -> None:
        """Prepare a cluster's parent: what it has loaded when it forks is shared by its workers."""
        if settings.PONDER_ROLE != "cluster":
            return
        from django_q.signals import post_execute_in_worker

        from jobs import openai_client
        from o3site import logs

        openai_client.load()
        # Out of the collector's sight: its marks would copy every page that the workers share with us.
        gc.freeze()
        post_execute_in_worker.connect(logs.forget_words)
