javac -d . App.java && java -cp . App
