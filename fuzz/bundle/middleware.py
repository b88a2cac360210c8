"""Hooks that read and write whatever a message has, whatever is in it."""

import contextlib
import copy

from tyk.decorators import Hook


def read(message):
    """Reads every field, all the way down."""
    seen = [str(message), message.SerializeToString(), message.ByteSize()]
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if hasattr(value, "items"):
            seen += [key + str(one) for key, one in value.items()]
        elif hasattr(value, "DESCRIPTOR"):
            seen += [message.HasField(field.name), read(value)]
        elif hasattr(value, "append") or hasattr(value, "add"):
            seen += [read(one) if hasattr(one, "DESCRIPTOR") else one for one in value]
        else:
            seen.append(value)
    return seen


def write(message):
    """Writes every field, all the way down."""
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if hasattr(value, "items"):
            try:
                value["key"] = "value"
            except (TypeError, ValueError):
                write(value["key"])
        elif hasattr(value, "DESCRIPTOR"):
            write(value)
        elif field.message_type is not None:
            write(value.add())
        elif hasattr(value, "append"):
            value.append(1.5 if field.name == "trigger_limits" else "value")
        else:
            setattr(message, field.name, type(value)(b"1" if isinstance(value, bytes) else 1))


def remove(message):
    """Removes half of what is there."""
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if hasattr(value, "items"):
            for key in list(value)[::2]:
                del value[key]
        elif hasattr(value, "pop"):
            del value[::2]
            value.reverse() if hasattr(value, "reverse") else None
        elif hasattr(value, "DESCRIPTOR"):
            remove(value)
            if len(field.name) % 2:
                message.ClearField(field.name)
        else:
            message.ClearField(field.name)


kept = []


@Hook
def Nothing(request, session, spec):
    """Touches nothing."""
    return request, session


@Hook
def Read(request, session, metadata, spec):
    """Reads everything."""
    read(request.object), read(session), dict(metadata), dict(spec)
    return request, session, metadata


@Hook
def Write(request, response, session, metadata, spec):
    """Writes everything."""
    write(request.object), write(session), write(response)
    metadata["key"] = "value"
    return response


@Hook
def Remove(request, response, session, metadata, spec):
    """Removes half of everything."""
    read(session), remove(session), remove(request.object), remove(response)
    metadata.clear()
    return response


@Hook
def Merge(request, session, spec):
    """Merges a client's bytes, and messages into themselves."""
    with contextlib.suppress(Exception):  # a message only now and then
        session.MergeFromString(request.object.raw_body)
    session.MergeFrom(copy.copy(session))
    request.object.MergeFromString(request.object.SerializeToString())
    request.object.return_overrides.CopyFrom(request.object.return_overrides)
    return request, session


@Hook
def Keep(request, session, metadata, spec):
    """Keeps views for longer than the call; looks at and changes those of calls before."""
    kept.append((request, session, metadata, spec))
    if len(kept) > 8:
        old = kept.pop(0)
        with contextlib.suppress(Exception):  # of an earlier call: no reason for this one to fail
            read(old[0].object), write(old[0].object), remove(old[1]), dict(old[2]), dict(old[3])
    request.add_header(request.get_header("a") or "b", request.object.url)
    request.delete_header(request.object.method)
    request.add_param("a", request.object.body)
    request.delete_param(spec.get("APIID", ""))
    return request, session, {"token": "t"}


@Hook
def Raise(request, session, spec):
    """Writes, then fails."""
    write(session)
    raise ValueError(request.object.body)


@Hook
def Wrong(request, session, spec):
    """Returns what no hook may return."""
    return session, request
