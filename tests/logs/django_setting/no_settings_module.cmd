timeout 8 gunicorn app:application
