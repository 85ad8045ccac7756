"""moto's load balancing answers with what the world's own prober found, and its metrics reach CloudWatch."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.ec2.models import ec2_backends
from moto.elbv2 import models as elb

from rehearsal.serving import fetch

ACCOUNT = "123456789012"
NAMESPACE = "AWS/ApplicationELB"
PATIENCE_S = 15.0
"""The load balancer lives in the process that plays the story, which may be busy for seconds."""


class ProberGone(Exception):
    """The load balancer that knows the health does not answer."""


class Prober:
    """Reads the control address of the world's load balancer."""

    def __init__(self, control_url: str) -> None:
        self._url = control_url

    def ask(self, path: str) -> Any:
        try:
            return json.loads(fetch(self._url + path, PATIENCE_S)[1])
        except (OSError, ValueError) as error:
            raise ProberGone(str(error)) from error

    def targets(self) -> dict[str, list[dict[str, Any]]]:
        return dict(self.ask("/targets"))


def patch_target_health(prober: Prober) -> None:
    """Make `describe_target_health` tell what the prober knows; an unknown group keeps moto's own answer."""
    original = elb.ELBv2Backend.describe_target_health

    def describe(self: elb.ELBv2Backend, target_group_arn: str, targets: list[dict[str, Any]]) -> Any:
        group = self.target_groups.get(target_group_arn)
        known = prober.targets().get(group.name) if group is not None else None
        if group is None or known is None:
            return original(self, target_group_arn, targets)
        group.targets = {one["id"]: {"Id": one["id"], "Port": one["port"]} for one in known}
        wanted = {target["Id"] for target in targets}
        found = [
            elb.FakeHealthStatus(
                one["id"], one["port"], str(one["port"]), one["state"], one["reason"], one["description"]
            )
            for one in known
            if not wanted or one["id"] in wanted
        ]
        for name in sorted(wanted - {one["id"] for one in known}):
            found.append(
                elb.FakeHealthStatus(
                    name,
                    group.port,
                    None,
                    "unused",
                    "Target.NotRegistered",
                    "Target is not registered to the target group",
                )
            )
        return found

    setattr(elb.ELBv2Backend, "describe_target_health", describe)  # noqa: B010  a method of moto's, on purpose


def create_load_balancing(region: str, spec: dict[str, Any]) -> dict[str, Any]:
    """The load balancer, its listener and target groups of a spec; their ARNs by name."""
    backend = elb.elbv2_backends[ACCOUNT][region]
    subnets = ec2_backends[ACCOUNT][region].get_default_subnets()
    vpc = next(iter(subnets.values())).vpc_id
    balancer = backend.create_load_balancer(
        spec["load_balancer"], [], [subnet.id for subnet in list(subnets.values())[:2]], tags=[]
    )
    balancer.state = "active"
    arns: dict[str, Any] = {"load_balancer": balancer.arn, "dns_name": balancer.dns_name, "target_groups": {}}
    for facts in spec["target_groups"]:
        group = backend.create_target_group(
            facts["name"],
            vpc_id=vpc,
            protocol="HTTP",
            port=facts["port"],
            healthcheck_path=facts["path"],
            matcher={"HttpCode": facts["matcher"]},
            target_type="instance",
            tags=[],
        )
        group.health_check_interval_seconds = max(1, round(facts["interval_s"]))
        group.health_check_timeout_seconds = max(1, round(facts["timeout_s"]))
        group.healthy_threshold_count = str(facts["healthy_threshold"])
        group.unhealthy_threshold_count = str(facts["unhealthy_threshold"])
        backend.register_targets(
            group.arn, [{"Id": one, "Port": facts["port"]} for one in facts["instances"]]
        )
        if facts.get("tags"):
            tags = [{"Key": key, "Value": value} for key, value in facts["tags"].items()]
            backend.add_tags([group.arn], tags)
        arns["target_groups"][facts["name"]] = group.arn
    first = arns["target_groups"][spec["target_groups"][0]["name"]]
    backend.create_listener(
        balancer.arn, "HTTP", "80", "", None, [{"Type": "forward", "TargetGroupArn": first}]
    )
    for arn in arns["target_groups"].values():
        group = backend.target_groups[arn]
        if balancer.arn not in group.load_balancer_arns:
            group.load_balancer_arns.append(balancer.arn)
    return arns


class MetricsPublisher:
    """Carries the load balancer's counts into CloudWatch, one set a period."""

    def __init__(self, prober: Prober, region: str, arns: dict[str, Any], period_s: float) -> None:
        self._prober, self._period_s = prober, period_s
        self._cloudwatch = cloudwatch_backends[ACCOUNT][region]
        self._balancer = arns["load_balancer"].partition("loadbalancer/")[2]
        self._groups = {name: arn.rpartition(":")[2] for name, arn in arns["target_groups"].items()}

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        since = time.time()
        while True:
            time.sleep(self._period_s)
            until = time.time()
            try:
                told = self._prober.ask(f"/metrics?since={since}&until={until}")
            except ProberGone:
                continue
            since = until
            self._publish(told)

    def _publish(self, told: dict[str, Any]) -> None:
        balancer = {"Name": "LoadBalancer", "Value": self._balancer}
        data = []
        for name, value in told["load_balancer"].items():
            unit = "Seconds" if name == "TargetResponseTime" else "Count"
            data.append({"MetricName": name, "Value": value, "Unit": unit, "Dimensions": [balancer]})
            if not name.startswith("HTTPCode_ELB") and self._groups:
                group = {"Name": "TargetGroup", "Value": next(iter(self._groups.values()))}
                both = [group, balancer]
                data.append({"MetricName": name, "Value": value, "Unit": unit, "Dimensions": both})
        for name, (healthy, unhealthy) in told["hosts"].items():
            if name in self._groups:
                dimensions = [{"Name": "TargetGroup", "Value": self._groups[name]}, balancer]
                for metric, value in (("HealthyHostCount", healthy), ("UnHealthyHostCount", unhealthy)):
                    data.append(
                        {"MetricName": metric, "Value": value, "Unit": "Count", "Dimensions": dimensions}
                    )
        if data:
            self._cloudwatch.put_metric_data(NAMESPACE, data)
