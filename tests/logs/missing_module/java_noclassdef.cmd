javac -d . App.java Helper.java && rm Helper.class && java -cp . App
