#!/bin/sh
# What the container runs.
set -e
python boot_report.py
python manage.py collectstatic --noinput
python manage.py migrate --noinput
exec gunicorn config.wsgi:application --bind "${HOST:-0.0.0.0}:${PORT:-8000}" --workers 1 --threads 4 \
  --graceful-timeout 2 --access-logfile -
