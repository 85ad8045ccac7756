"""The process that plays AWS: moto's wire protocol on loopback, with real health, commands and metrics.

Started by `rehearsal.aws`; reads its specification as JSON from standard input, writes one JSON line when it
answers, and ends with SIGTERM or with its owner.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from rehearsal.aws_elb import MetricsPublisher, Prober, create_load_balancing, patch_target_health
from rehearsal.aws_gate import Gate, patch_authorization
from rehearsal.aws_ssm import Agent, patch_commands, stop_running_commands
from rehearsal.serving import Server


def _end(number: int, frame: FrameType | None) -> None:
    stop_running_commands()
    sys.exit(0)


def _end_with_the_owner() -> None:
    """Wait for the end of standard input, which comes when whoever started us is gone, however it went."""
    sys.stdin.read()
    stop_running_commands()
    os._exit(0)


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    spec: dict[str, Any] = json.loads(sys.stdin.readline())
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_owner, daemon=True).start()
    prober = Prober(spec["control_url"])
    patch_target_health(prober)
    patch_commands(Agent(spec["instances"], spec["environment"], offline=frozenset(spec["offline"])))
    arns = create_load_balancing(spec["region"], spec)
    if spec["iam"] is not None:
        patch_authorization(Gate(spec["iam"]))
    MetricsPublisher(prober, spec["region"], arns, spec["metrics_period_s"]).start()
    server = Server("aws", DomainDispatcherApplication(create_backend_app), spec["port"]).start()
    print(json.dumps({"url": server.url, **arns}), flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
