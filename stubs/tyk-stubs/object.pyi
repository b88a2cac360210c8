# The types of the messages. Written by tools/gen_stubs.py from proto/: change those and run it.
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any, Generic, Self, TypeVar, overload

_T = TypeVar("_T")
_M = TypeVar("_M", bound=_Message)

class _Message:
    DESCRIPTOR: Any
    @classmethod
    def FromString(cls, data: bytes, /) -> Self: ...
    def SerializeToString(self, *, deterministic: bool | None = ...) -> bytes: ...
    def ParseFromString(self, data: bytes, /) -> int: ...
    def MergeFromString(self, data: bytes, /) -> int: ...
    def MergeFrom(self, other: Self, /) -> None: ...
    def CopyFrom(self, other: Self, /) -> None: ...
    def Clear(self) -> None: ...
    def ClearField(self, name: str, /) -> None: ...
    def HasField(self, name: str, /) -> bool: ...
    def ListFields(self) -> list[tuple[Any, Any]]: ...
    def SetInParent(self) -> None: ...
    def ByteSize(self) -> int: ...
    def IsInitialized(self) -> bool: ...

class _Texts(MutableMapping[str, str]):
    """A map of texts by text."""

    def __getitem__(self, key: str, /) -> str: ...
    def __setitem__(self, key: str, value: str, /) -> None: ...
    def __delitem__(self, key: str, /) -> None: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def MergeFrom(self, other: Mapping[str, str], /) -> None: ...

class _Messages(Mapping[str, _M], Generic[_M]):
    """A map of messages by text; reading a key that is missing makes an empty message."""

    def __getitem__(self, key: str, /) -> _M: ...
    def __delitem__(self, key: str, /) -> None: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def get_or_create(self, key: str, /) -> _M: ...
    def MergeFrom(self, other: Mapping[str, _M], /) -> None: ...
    def clear(self) -> None: ...

class _Values(MutableSequence[_T], Generic[_T]):
    """A list of texts or numbers. A bare text given to `extend` is one value."""

    @overload
    def __getitem__(self, index: int, /) -> _T: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[_T]: ...
    @overload
    def __setitem__(self, index: int, value: _T, /) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[_T], /) -> None: ...
    def __delitem__(self, index: int | slice, /) -> None: ...
    def __len__(self) -> int: ...
    def insert(self, index: int, value: _T, /) -> None: ...
    def MergeFrom(self, other: Iterable[_T], /) -> None: ...
    def sort(self, *, key: Callable[[_T], Any] | None = ..., reverse: bool = ...) -> None: ...

class _List(Sequence[_M], Generic[_M]):
    """A list of messages."""

    @overload
    def __getitem__(self, index: int, /) -> _M: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[_M]: ...
    def __delitem__(self, index: int | slice, /) -> None: ...
    def __len__(self) -> int: ...
    def add(self, **fields: Any) -> _M:
        """A new message at the end."""
    def append(self, value: _M, /) -> None: ...
    def insert(self, index: int, value: _M, /) -> None: ...
    def extend(self, values: Iterable[_M], /) -> None: ...
    def pop(self, index: int = ..., /) -> _M: ...
    def remove(self, value: _M, /) -> None: ...
    def MergeFrom(self, other: Iterable[_M], /) -> None: ...
    def sort(self, *, key: Callable[[_M], Any] | None = ..., reverse: bool = ...) -> None: ...
    def reverse(self) -> None: ...
    def clear(self) -> None: ...

class StringSlice(_Message):
    @property
    def items(self) -> _Values[str]: ...
    def __init__(
        self,
        *,
        items: Iterable[str] | None = ...,
    ) -> None: ...

class ReturnOverrides(_Message):
    response_code: int
    response_error: str
    @property
    def headers(self) -> _Texts: ...
    override_error: bool
    response_body: str
    def __init__(
        self,
        *,
        response_code: int | None = ...,
        response_error: str | None = ...,
        headers: Mapping[str, str] | None = ...,
        override_error: bool | None = ...,
        response_body: str | None = ...,
    ) -> None: ...

class MiniRequestObject(_Message):
    @property
    def headers(self) -> _Texts: ...
    @property
    def set_headers(self) -> _Texts: ...
    @property
    def delete_headers(self) -> _Values[str]: ...
    body: str
    url: str
    @property
    def params(self) -> _Texts: ...
    @property
    def add_params(self) -> _Texts: ...
    @property
    def extended_params(self) -> _Texts: ...
    @property
    def delete_params(self) -> _Values[str]: ...
    @property
    def return_overrides(self) -> ReturnOverrides: ...
    method: str
    request_uri: str
    scheme: str
    raw_body: bytes
    def __init__(
        self,
        *,
        headers: Mapping[str, str] | None = ...,
        set_headers: Mapping[str, str] | None = ...,
        delete_headers: Iterable[str] | None = ...,
        body: str | None = ...,
        url: str | None = ...,
        params: Mapping[str, str] | None = ...,
        add_params: Mapping[str, str] | None = ...,
        extended_params: Mapping[str, str] | None = ...,
        delete_params: Iterable[str] | None = ...,
        return_overrides: ReturnOverrides | Mapping[str, Any] | None = ...,
        method: str | None = ...,
        request_uri: str | None = ...,
        scheme: str | None = ...,
        raw_body: bytes | None = ...,
    ) -> None: ...

class Header(_Message):
    key: str
    @property
    def values(self) -> _Values[str]: ...
    def __init__(
        self,
        *,
        key: str | None = ...,
        values: Iterable[str] | None = ...,
    ) -> None: ...

class ResponseObject(_Message):
    status_code: int
    raw_body: bytes
    body: str
    @property
    def headers(self) -> _Texts: ...
    @property
    def multivalue_headers(self) -> _List[Header]: ...
    def __init__(
        self,
        *,
        status_code: int | None = ...,
        raw_body: bytes | None = ...,
        body: str | None = ...,
        headers: Mapping[str, str] | None = ...,
        multivalue_headers: Iterable[Header | Mapping[str, Any]] | None = ...,
    ) -> None: ...

class AccessSpec(_Message):
    url: str
    @property
    def methods(self) -> _Values[str]: ...
    def __init__(
        self,
        *,
        url: str | None = ...,
        methods: Iterable[str] | None = ...,
    ) -> None: ...

class AccessDefinition(_Message):
    api_name: str
    api_id: str
    @property
    def versions(self) -> _Values[str]: ...
    @property
    def allowed_urls(self) -> _List[AccessSpec]: ...
    def __init__(
        self,
        *,
        api_name: str | None = ...,
        api_id: str | None = ...,
        versions: Iterable[str] | None = ...,
        allowed_urls: Iterable[AccessSpec | Mapping[str, Any]] | None = ...,
    ) -> None: ...

class BasicAuthData(_Message):
    password: str
    hash: str
    def __init__(
        self,
        *,
        password: str | None = ...,
        hash: str | None = ...,
    ) -> None: ...

class JWTData(_Message):
    secret: str
    def __init__(
        self,
        *,
        secret: str | None = ...,
    ) -> None: ...

class Monitor(_Message):
    @property
    def trigger_limits(self) -> _Values[float]: ...
    def __init__(
        self,
        *,
        trigger_limits: Iterable[float] | None = ...,
    ) -> None: ...

class SessionState(_Message):
    last_check: int
    allowance: float
    rate: float
    per: float
    expires: int
    quota_max: int
    quota_renews: int
    quota_remaining: int
    quota_renewal_rate: int
    @property
    def access_rights(self) -> _Messages[AccessDefinition]: ...
    org_id: str
    oauth_client_id: str
    @property
    def oauth_keys(self) -> _Texts: ...
    @property
    def basic_auth_data(self) -> BasicAuthData: ...
    @property
    def jwt_data(self) -> JWTData: ...
    hmac_enabled: bool
    hmac_secret: str
    is_inactive: bool
    apply_policy_id: str
    data_expires: int
    @property
    def monitor(self) -> Monitor: ...
    enable_detailed_recording: bool
    @property
    def metadata(self) -> _Texts: ...
    @property
    def tags(self) -> _Values[str]: ...
    alias: str
    last_updated: str
    id_extractor_deadline: int
    session_lifetime: int
    @property
    def apply_policies(self) -> _Values[str]: ...
    certificate: str
    max_query_depth: int
    key_id: str
    post_expiry_action: str
    post_expiry_grace_period: int
    def __init__(
        self,
        *,
        last_check: int | None = ...,
        allowance: float | None = ...,
        rate: float | None = ...,
        per: float | None = ...,
        expires: int | None = ...,
        quota_max: int | None = ...,
        quota_renews: int | None = ...,
        quota_remaining: int | None = ...,
        quota_renewal_rate: int | None = ...,
        access_rights: Mapping[str, AccessDefinition | Mapping[str, Any]] | None = ...,
        org_id: str | None = ...,
        oauth_client_id: str | None = ...,
        oauth_keys: Mapping[str, str] | None = ...,
        basic_auth_data: BasicAuthData | Mapping[str, Any] | None = ...,
        jwt_data: JWTData | Mapping[str, Any] | None = ...,
        hmac_enabled: bool | None = ...,
        hmac_secret: str | None = ...,
        is_inactive: bool | None = ...,
        apply_policy_id: str | None = ...,
        data_expires: int | None = ...,
        monitor: Monitor | Mapping[str, Any] | None = ...,
        enable_detailed_recording: bool | None = ...,
        metadata: Mapping[str, str] | None = ...,
        tags: Iterable[str] | None = ...,
        alias: str | None = ...,
        last_updated: str | None = ...,
        id_extractor_deadline: int | None = ...,
        session_lifetime: int | None = ...,
        apply_policies: Iterable[str] | None = ...,
        certificate: str | None = ...,
        max_query_depth: int | None = ...,
        key_id: str | None = ...,
        post_expiry_action: str | None = ...,
        post_expiry_grace_period: int | None = ...,
    ) -> None: ...

class Object(_Message):
    hook_type: int
    hook_name: str
    @property
    def request(self) -> MiniRequestObject: ...
    @property
    def session(self) -> SessionState: ...
    @property
    def metadata(self) -> _Texts: ...
    @property
    def spec(self) -> _Texts: ...
    @property
    def response(self) -> ResponseObject: ...
    def __init__(
        self,
        *,
        hook_type: int | None = ...,
        hook_name: str | None = ...,
        request: MiniRequestObject | Mapping[str, Any] | None = ...,
        session: SessionState | Mapping[str, Any] | None = ...,
        metadata: Mapping[str, str] | None = ...,
        spec: Mapping[str, str] | None = ...,
        response: ResponseObject | Mapping[str, Any] | None = ...,
    ) -> None: ...

class Event(_Message):
    payload: str
    def __init__(
        self,
        *,
        payload: str | None = ...,
    ) -> None: ...

class EventReply(_Message): ...
