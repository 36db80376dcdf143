"""Keeps the catalogue beside its tables, from where it is back in a moment after a test that emptied them."""

from django.db import connection

from jobs.models import ModelSpec, Price

TABLES = {model._meta.db_table: f"kept_{model._meta.db_table}" for model in (ModelSpec, Price)}


def keep() -> None:
    """Seed the catalogue into an empty database, and keep a copy."""
    ModelSpec.objects.seed()
    with connection.cursor() as cursor:
        cursor.execute("; ".join(f"CREATE TABLE {copy} AS TABLE {table}" for table, copy in TABLES.items()))


def restore() -> None:
    """Put back what was kept, if a test that commits has emptied it: seeding takes ten times as long."""
    if not ModelSpec.objects.exists():
        with connection.cursor() as cursor:
            cursor.execute("; ".join(f"INSERT INTO {table} TABLE {copy}" for table, copy in TABLES.items()))
