"""Migrations only add: code of one version goes on beside another on the database of the next."""

from collections.abc import Iterator

import pytest
from django.db import connection, migrations
from django.db.migrations.loader import MigrationLoader

from jobs.models import Connection, Project


def _columns_added_to_tables_that_were_there() -> Iterator[tuple[str, str]]:
    loader = MigrationLoader(None)
    models = loader.project_state().apps
    seen: set[str] = set()
    for app, name in loader.graph.forwards_plan(loader.graph.leaf_nodes("jobs")[0]):
        if app != "jobs":
            continue
        made = set()
        for one in loader.disk_migrations[app, name].operations:
            if isinstance(one, migrations.CreateModel):
                made.add(one.name_lower)
            elif isinstance(one, migrations.AddField) and one.model_name_lower in seen:
                model = models.get_model("jobs", one.model_name)
                if one.name in {field.name for field in model._meta.concrete_fields}:
                    field = model._meta.get_field(one.name)
                    yield model._meta.db_table, field.column
        seen |= made


@pytest.mark.django_db
def test_an_insert_of_a_version_that_knows_nothing_of_a_column_passes() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND is_nullable = 'NO' AND column_default IS NULL"
        )
        must_be_given = set(cursor.fetchall())
    added = set(_columns_added_to_tables_that_were_there())
    assert len(added) > 20
    assert added & must_be_given == set()


def test_what_has_not_been_saved_reads_as_it_will() -> None:
    made = Connection()
    assert (made.deployments, made.bill_keys, made.sandbox_of) == ({}, [], "")
    assert (made.is_paused_with_all, made.unknown_in_a_row) == (False, 0)
    assert Project().unconfirmed_rule == "ask"
