javac -d . App.java && java -Xmx16m -cp . App
