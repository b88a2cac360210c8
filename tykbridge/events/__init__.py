"""Events: what happens in an API reaches the handlers that its definition names."""
