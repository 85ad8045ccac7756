"""Addresses of StageLog."""

from django.conf import settings
from django.urls import path, re_path
from django.views.static import serve

from stages import views
from uploads.presign import presign

urlpatterns = [
    path("", views.stage_list),
    path("health/", views.health),
    path("api/uploads/presign", presign),
    re_path(r"^static/(?P<path>.*)$", serve, {"document_root": settings.STATIC_ROOT}),
]
