ulimit -v 700000; ruby app.rb
