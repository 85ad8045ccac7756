PGPASSWORD=right psql 'host=127.0.0.1 user=app dbname=tlsonly sslmode=disable' -c 'select 1'
