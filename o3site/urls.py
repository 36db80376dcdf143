"""Join the addresses of the site: admin, and the product's own."""

from django.contrib import admin
from django.urls import include, path

handler403 = "jobs.views.errors.forbidden"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("jobs.urls")),
]
