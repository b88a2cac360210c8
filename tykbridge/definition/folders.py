"""Finds the JavaScript hooks that no definition names: those of upstream's folders below the middleware path.

`{middleware_path}/{api_id}/` has pre, auth, post_auth and post; each .js file there is a hook, named as the file up to
the first dot, and gets the session when that ends in "_with_session" (gateway/server.go of TykTechnologies/tyk).
"""

from __future__ import annotations

import os

import msgspec

from tykbridge.definition.model import Capabilities, Driver, Hook, Phase, Section
from tykbridge.definition.problems import Report

_FOLDERS = {
    Phase.PRE: "pre",
    Phase.AUTH_CHECK: "auth",
    Phase.POST_KEY_AUTH: "post_auth",
    Phase.POST: "post",
}
_SESSION = "_with_session"


def with_hooks(report: Report, section: Section, api_id: str, capabilities: Capabilities, *, bundled: bool) -> Section:
    """Add the hooks of an API's folders to those of its definition, in upstream's order.

    Those of post_auth come first, others behind. Hooks of a bundle replace these as well.
    """
    root = os.path.join(capabilities.middleware_path, api_id)
    if not capabilities.middleware_path or os.path.dirname(api_id) or api_id in ("", ".", "..") or "\0" in api_id:
        return section
    found = [hook for phase in _FOLDERS for hook in _hooks(report, phase, root)]
    if bundled:
        for hook in found:
            report.notice(hook.where, f'the hook "{hook.name}" does not run: the API has a bundle')
        return section
    own = [hook for hook in section.hooks if hook.phase is Phase.AUTH_CHECK and not hook.disabled]
    checks = own + [hook for hook in found if hook.phase is Phase.AUTH_CHECK]
    if len(checks) > 1:
        report.problem(checks[1].where, "one hook that authenticates", f"another one at {checks[0].where}")
    first = [hook for hook in found if hook.phase is Phase.POST_KEY_AUTH]
    rest = [hook for hook in found if hook.phase is not Phase.POST_KEY_AUTH]
    return msgspec.structs.replace(section, hooks=(*first, *section.hooks, *rest))


def _hooks(report: Report, phase: Phase, root: str) -> list[Hook]:
    folder = os.path.join(root, _FOLDERS[phase])
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        report.problem(folder, "a folder that can be read", str(error.strerror))
        return []
    hooks = []
    for file in names:
        if not file.endswith(".js") or file.startswith("."):
            continue
        where, name = os.path.join(folder, file), file.partition(".")[0]
        if not name.isprintable():  # bytes that are not UTF-8, too
            report.problem(ascii(where), "a file whose name is one of a hook", "control characters")
            continue
        asks = name.endswith(_SESSION)
        if asks and phase in (Phase.PRE, Phase.AUTH_CHECK):
            report.notice(where, f'there is no session for the hook "{name}" yet: it does not get one')
        hooks.append(
            Hook(
                phase=phase,
                name=name,
                where=where,
                driver=Driver.JAVASCRIPT,
                path=where,
                require_session=asks,
            )
        )
    return hooks
