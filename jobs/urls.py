"""The addresses of the product's pages."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
