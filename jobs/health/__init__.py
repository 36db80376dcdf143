"""How the installation does: the questions that console, status page, health check and metrics ask."""

from jobs.health.signs import Panel, Sign, panel, status

__all__ = ["Panel", "Sign", "panel", "status"]
