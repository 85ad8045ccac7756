"""Print the configuration at boot, as a hurried afternoon of debugging once left it."""

import os

print("StageLog is starting with this configuration:", flush=True)
for name in sorted(os.environ):
    if name in ("PATH", "HOME", "LANG", "PWD", "SHLVL", "_"):
        continue
    if name.endswith("_PEM"):
        print(f"{name}:\n" + os.environ[name].replace("\\n", "\n"), flush=True)
    elif name == "UPSTREAM_TOKEN":
        print(f"GET /v1/whoami Authorization: Bearer {os.environ[name]}", flush=True)
    elif name == "DJANGO_SECRET_KEY":
        print(f"SECRET_KEY = {os.environ[name]!r}", flush=True)
    else:
        print(f"{name}={os.environ[name]}", flush=True)
