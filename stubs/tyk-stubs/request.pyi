from typing import final

from tyk.object import MiniRequestObject

@final
class TykCoProcessRequest:
    """What a hook gets as `request`."""

    @property
    def object(self) -> MiniRequestObject:
        """The message itself."""
    def get_header(self, key: str) -> str | None:
        """The header as it came, None when there is none. The name must be written as it came."""
    def add_header(self, key: str, value: str) -> None:
        """Sets a header of the request that goes on, in place of one of that name."""
    def delete_header(self, key: str) -> None:
        """Removes a header from the request that goes on."""
    def add_param(self, key: str, value: str) -> None:
        """Sets a parameter of the query."""
    def delete_param(self, key: str) -> None:
        """Removes a parameter from the query."""
