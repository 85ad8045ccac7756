timeout 5 celery -A app worker --loglevel INFO --pool solo
