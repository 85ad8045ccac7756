php -d memory_limit=16M app.php
