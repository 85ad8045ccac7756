python -c "import socket,time; s=socket.create_server(('127.0.0.1', 8123)); time.sleep(12)" & sleep 0.7; timeout 5 python manage.py runserver --noreload 127.0.0.1:8123
