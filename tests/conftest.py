"""What every test can ask for: fresh databases of both kinds."""

pytest_plugins = ["tests.postgres", "tests.deliveries", "tests.revert_on_history"]
