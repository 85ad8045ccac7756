(sleep 2; curl -s -o /dev/null http://127.0.0.1:8123/; curl -s -o /dev/null http://127.0.0.1:8123/favicon.ico) & timeout 5 flask run --port 8123
