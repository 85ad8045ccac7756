python manage.py migrate
