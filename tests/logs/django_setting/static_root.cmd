python manage.py collectstatic --noinput && gunicorn config.wsgi
