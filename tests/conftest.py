"""What every test can ask for: fresh databases of both kinds, a web process, histories, an SSM."""

pytest_plugins = [
    "tests.postgres",
    "tests.deliveries",
    "tests.revert_on_history",
    "tests.ssm_captures",
    "tests.operator_checkouts",
]
