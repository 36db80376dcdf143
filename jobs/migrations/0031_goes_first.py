from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0030_database_defaults"),
    ]

    operations = [
        migrations.AddField(
            model_name="job",
            name="goes_first",
            field=models.BooleanField(
                db_default=False,
                default=False,
                editable=False,
                help_text="It is asked for before what else is due: its end was announced, or somebody waits for it.",
            ),
        ),
    ]
