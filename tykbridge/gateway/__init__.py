"""A gateway for people's own machines: HTTP in front of a configuration, and what operates it.

Production traffic is not its job: hosts in C, Go, Rust, nginx and Envoy run the same definitions in processes of
their own.

`server.Gateway` listens; `server.running` runs one on a loop and threads of its own. What is added to a gateway from
outside:

- `server.Part`: begins before the gateway listens and ends after its last request, on the same event loop. A listener
  of its own, for those who operate the gateway, is one.
- `visit.Observer`: hears when a request begins and when it is over, with its id, API, status, bytes and time.
- `visit.current`: the request whose hooks run on this thread, or which this task answers; so whatever plugins log
  belongs to one.
- `Services.watch` (tykbridge.services): runs each hook, and sees its message before and after. With `visit.current`, it
  knows which request that was.
"""
