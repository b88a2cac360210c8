"""A gateway for people's own machines: HTTP in front of a configuration, and what operates it.

Production traffic is not its job: hosts in C, Go, Rust, nginx and Envoy run the same definitions in their own processes.
"""
