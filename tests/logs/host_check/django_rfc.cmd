(sleep 3; for i in 1 2; do curl -s -o /dev/null -H 'Host: target_group:8000' http://127.0.0.1:8123/health/; done) & timeout 8 gunicorn --bind 127.0.0.1:8123 --workers 2 config.wsgi:application
