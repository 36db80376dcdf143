"""Prepare a process for its role as soon as Django knows the applications."""

import gc
import os

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
        # Out of the collector's sight: its marks would copy every page that the workers share with us. At
        # each fork anew, for Django-Q makes more before a child of ours forks the workers.
        gc.collect()
        os.register_at_fork(before=gc.freeze)
        post_execute_in_worker.connect(logs.forget_words)
