"""How long JavaScript may run where nobody says it of a hook: upstream's jsvm_timeout, for the whole process."""

DEFAULT = 5.0

seconds = DEFAULT
"""Read by each call as it starts."""


def use_timeout(timeout: float) -> None:
    """Let calls that start from now on take so many seconds; 0 or less: DEFAULT."""
    global seconds
    seconds = timeout if timeout > 0 else DEFAULT
