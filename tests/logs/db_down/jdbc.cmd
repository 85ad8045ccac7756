javac -d . App.java && java -cp .:/usr/share/java/postgresql.jar App
