javac -d . App.java && setpriv --reuid=65534 --clear-groups java -cp . App
