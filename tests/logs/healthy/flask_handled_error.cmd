(sleep 2; for p in / /bad / / / /; do curl -s -o /dev/null http://127.0.0.1:8123$p; done) & timeout 5 gunicorn --access-logfile - --bind 127.0.0.1:8123 app:app
