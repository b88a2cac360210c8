"""Says which version each part of a bundle is of: modules, a file beside them, the definition."""

import json
import pathlib

import helper
from tyk.decorators import Hook

VERSION = "000000"


def versions(spec, late):
    import first

    data = pathlib.Path(__file__).with_name("data.txt").read_text()
    found = [VERSION, helper.VERSION, first.VERSION, data, json.loads(spec["config_data"])["version"]]
    if late:
        import later

        found.append(later.VERSION)
    return " ".join(found)


@Hook
def Before(request, session, spec):
    request.add_header("X-Before", versions(spec, False))
    return request, session


@Hook
def After(request, session, spec):
    request.add_header("X-After", versions(spec, request.get_header("X-Late")))
    return request, session


@Hook
def Answer(request, response, session, metadata, spec):
    response.headers["X-Answer"] = versions(spec, False)
    return response
