"""Shows Django-Q's tables and lets nobody write to them: a message is a function that will be called."""

from django.apps import apps
from django.contrib import admin

from jobs.admin.base import ViewOnly

for model in apps.get_app_config("django_q").get_models():
    if admin.site.is_registered(model):
        shown = type(admin.site.get_model_admin(model))
        admin.site.unregister(model)
        admin.site.register(model, type(f"ViewOnly{shown.__name__}", (ViewOnly, shown), {}))
