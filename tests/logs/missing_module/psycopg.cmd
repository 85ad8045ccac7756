python -c "import sys; sys.modules['psycopg']=None; sys.modules['psycopg2']=None; sys.argv=['manage.py','migrate']; exec(open('manage.py').read())"
