"""Settings of StageLog, read from the environment."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = os.environ["DJANGO_SECRET_KEY"]
DEBUG = False
ALLOWED_HOSTS = ["*"]

INSTALLED_APPS = ["django.contrib.staticfiles", "stages", "uploads"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

# The develop environment keeps its stages in a file on the machine's volume.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["SQLITE_PATH"],
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Uploads go straight to S3; static files follow in the next pull request.
STATIC_URL = "/static/"
AWS_REGION = os.environ.get("AWS_REGION")
S3_UPLOAD_BUCKET = os.environ.get("S3_UPLOAD_BUCKET")
S3_UPLOAD_PREFIX = os.environ.get("S3_UPLOAD_PREFIX")
S3_PUBLIC_BASE_URL = os.environ.get("S3_PUBLIC_BASE_URL")

USE_TZ = True
TIME_ZONE = "UTC"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
