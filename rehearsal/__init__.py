"""The outside world played on one machine: a GitHub, a load balancer, AWS and an application that breaks."""
