"""What every test can ask for: fresh databases of both kinds, a web process, histories, an SSM."""

from hypothesis import settings

# How long one example takes says nothing here: speed is measured in the benches.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

pytest_plugins = [
    "tests.postgres",
    "tests.deliveries",
    "tests.revert_on_history",
    "tests.ssm_captures",
    "tests.operator_checkouts",
]
