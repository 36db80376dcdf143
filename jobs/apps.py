"""Tell Django about the application that holds what Ponder does."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """The jobs, their money and their pages."""

    name = "jobs"
    default_auto_field = "django.db.models.BigAutoField"
