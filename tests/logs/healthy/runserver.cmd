(sleep 3; curl -s -o /dev/null http://127.0.0.1:8123/; curl -s -o /dev/null http://127.0.0.1:8123/missing) & timeout 6 python manage.py runserver --noreload 127.0.0.1:8123
