ulimit -v 400000; python app.py
