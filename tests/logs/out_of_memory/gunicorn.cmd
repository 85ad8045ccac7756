(sleep 2; pkill -KILL -n -f '[g]unicorn --bind 127.0.0.1:8124') & timeout 5 gunicorn --bind 127.0.0.1:8124 app:app
