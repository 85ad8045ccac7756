timeout 8 gunicorn --bind 127.0.0.1:8123 app:app
