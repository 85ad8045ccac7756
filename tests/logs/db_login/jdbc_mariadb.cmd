javac -d . App.java && java -cp .:/usr/share/java/mariadb-java-client.jar App
