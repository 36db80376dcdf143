from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

# What the catalogue says of those that were seeded before it had the field.
PATCHES = {"budget": 2500, "multiplier": "1.2"}
TILES = {"base": 75, "tile": 150}
RULES = {
    "o3": TILES,
    "o3-pro": TILES,
    "o4-mini": {"budget": 1536, "multiplier": "1.72"},
    "gpt-5.6-sol": PATCHES,
    "gpt-6-luna": PATCHES,
    "gpt-6-sol": PATCHES,
    "gpt-6-astra": PATCHES,
}


def fill_in(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    for name, rule in RULES.items():
        apps.get_model("jobs", "ModelSpec").objects.filter(pk=name).update(image_rule=rule)


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0009_threads_and_replies"),
    ]

    operations = [
        migrations.AddField(
            model_name="modelspec",
            name="image_rule",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="How it counts a picture: base and tile, or budget and multiplier.",
            ),
        ),
        migrations.RunPython(fill_in, migrations.RunPython.noop),
    ]
