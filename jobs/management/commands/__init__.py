"""The commands of `manage.py` that are about jobs, people and money."""
