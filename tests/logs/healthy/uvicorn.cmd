(sleep 3; curl -s -o /dev/null http://127.0.0.1:8123/; curl -s -o /dev/null http://127.0.0.1:8123/error) & timeout 6 uvicorn --port 8123 app:app
