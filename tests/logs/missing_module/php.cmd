php app.php
