timeout 5 python manage.py runserver --noreload 127.0.0.1:8123
