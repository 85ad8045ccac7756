timeout 8 gunicorn --bind 127.0.0.1:8123 --workers 2 config.wsgi:application
