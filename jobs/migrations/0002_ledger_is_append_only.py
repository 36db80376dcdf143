"""Refuse UPDATE and DELETE on the ledger; there is no trigger for TRUNCATE, so that tests can flush."""

from django.db import migrations

CREATE = """
CREATE FUNCTION jobs_ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER ledger_is_append_only BEFORE UPDATE OR DELETE ON jobs_ledgerentry
  FOR EACH ROW EXECUTE FUNCTION jobs_ledger_is_append_only();
"""
DROP = """
DROP TRIGGER ledger_is_append_only ON jobs_ledgerentry;
DROP FUNCTION jobs_ledger_is_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0001_initial")]
    operations = [migrations.RunSQL(CREATE, DROP)]
