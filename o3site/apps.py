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

        # Every task's modules, not the SDK alone: imported after the fork they would cost each worker 20 MB.
        from jobs import openai_client, tasks  # noqa: F401
        from o3site import beat, logs  # noqa: F401

        openai_client.load()
        # Out of the collector's sight: its marks would copy every page that the workers share with us.
        gc.freeze()
        post_execute_in_worker.connect(logs.forget_words)
