"""The list of calls that every host in the tests makes, whatever language reaches the library."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from tykbridge import installation

OK, E_ARGUMENT, E_NOT_FOUND, E_AMBIGUOUS, E_HOOK, E_LOAD, E_MALFORMED = 0, -1, -6, -7, -8, -9, -5

LIBRARY = str(installation.library())


class Reply(NamedTuple):
    """A status, and what was in `out`: the object, or words."""

    status: int
    data: bytes

    @property
    def words(self):
        return self.data.decode()


class Calls(ABC):
    """A host. Each call copies what the library allocated and frees it as api.h says."""

    @abstractmethod
    def init(self) -> Reply:
        """tykb_init."""

    @abstractmethod
    def classic_init(self) -> int:
        """Python_Init, then Python_LoadDispatcher."""

    @abstractmethod
    def set_env(self, path: str) -> None:
        """Python_SetEnv."""

    @abstractmethod
    def new_dispatcher(self, root: str) -> int:
        """Python_NewDispatcher."""

    @abstractmethod
    def load_bundle(self, path: str, name: str) -> Reply:
        """tykb_load_bundle."""

    @abstractmethod
    def reload(self) -> None:
        """Python_ReloadDispatcher."""

    @abstractmethod
    def dispatch_hook(self, sent: bytes) -> Reply:
        """Python_DispatchHook; the reply is freed with free()."""

    @abstractmethod
    def dispatch(self, sent: bytes, delta: bool = False) -> Reply:
        """tykb_dispatch; the reply is freed with tykb_message_clear()."""

    @abstractmethod
    def load_configuration(
        self,
        source: str,
        strict: bool = False,
        policies: str | None = None,
        middleware_path: str | None = None,
        watch: bool = False,
        settings: str | None = None,
    ) -> Reply:
        """tykb_load_configuration."""

    @abstractmethod
    def reload_all(self) -> Reply:
        """tykb_reload."""

    @abstractmethod
    def run_request(self, sent: bytes) -> Reply:
        """tykb_run_request."""

    @abstractmethod
    def run_response(self, sent: bytes) -> Reply:
        """tykb_run_response."""

    @abstractmethod
    def start_request(self, sent: bytes, done: Callable[[Reply], None]) -> Reply:
        """tykb_start_request."""

    @abstractmethod
    def start_response(self, sent: bytes, done: Callable[[Reply], None]) -> Reply:
        """tykb_start_response."""

    @abstractmethod
    def dispatch_event(self, event: str) -> None:
        """Python_DispatchEvent."""

    @abstractmethod
    def set_host(
        self,
        log: Callable[[str, str], None] | None = None,
        trigger_event: Callable[[str, str], None] | None = None,
        store_data: Callable[[str, str, int], None] | None = None,
        get_data: Callable[[str], bytes | None] | None = None,
    ) -> int:
        """tykb_set_host, with the functions that are given."""

    @abstractmethod
    def unset_host(self) -> int:
        """tykb_set_host(NULL)."""

    @abstractmethod
    def store_data(self, key: str, value: str, ttl: int) -> None:
        """TykStoreData."""

    @abstractmethod
    def get_data(self, key: str) -> bytes:
        """TykGetData; the value is freed with free()."""

    @abstractmethod
    def trigger_event(self, name: str, payload: str) -> None:
        """TykTriggerEvent."""

    @abstractmethod
    def log(self, message: str, level: str) -> None:
        """CoProcessLog."""

    @abstractmethod
    def version(self) -> str:
        """tykb_version."""

    @abstractmethod
    def abi(self) -> int:
        """tykb_abi."""

    @abstractmethod
    def status_name(self, status: int) -> str:
        """tykb_status_name."""
