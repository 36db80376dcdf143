from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0035_answers_asked_for"),
    ]

    operations = [
        migrations.AddField(
            model_name="user",
            name="month_end",
            field=models.DecimalField(
                decimal_places=2,
                editable=False,
                help_text="USD that this month of the real projects they see likely comes to; told anew every hour.",
                max_digits=20,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="month_end_of",
            field=models.CharField(
                blank=True,
                db_default="",
                editable=False,
                help_text="The day and projects it is of.",
                max_length=32,
            ),
        ),
    ]
