setpriv --reuid=65534 --clear-groups python3 app.py
