java -cp . com.example.Application
