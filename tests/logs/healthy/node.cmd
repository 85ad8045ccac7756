(sleep 1; curl -s -o /dev/null http://127.0.0.1:8123/; curl -s -o /dev/null http://127.0.0.1:8123/error) & node server.js
