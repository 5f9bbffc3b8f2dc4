"""What Schemathesis cannot know of this API."""

import os
import re

import schemathesis
from schemathesis.specs.openapi.checks import RejectedPositiveData, positive_data_acceptance

# What a schema cannot say, so that a request of the right form may be refused for it: end of the pointer, and code.
MEANING = {
    # There is no such thing, or it is of this installation which there are.
    ("/workspace", "unknown_value"),
    ("/parent", "unknown_value"),
    ("/consumer", "unknown_value"),
    ("/routes", "unknown_value"),
    ("/route", "unknown_value"),
    ("/environment", "unknown_value"),
    # Only a cursor that this list has given out is one.
    ("?cursor", "invalid"),
    # Bits behind a prefix, labels of a host, the parts of a URL, the bytes behind a base64 text.
    ("/ip_allow", "invalid"),
    ("/host", "invalid"),
    ("/url", "invalid"),
    ("/email", "invalid"),
    ("/secret", "invalid"),
    # How long, in whatever unit; how late or early, as of now; how much in all.
    ("/after", "out_of_range"),
    ("/grace", "out_of_range"),
    ("/overlap", "out_of_range"),
    ("/expires_at", "out_of_range"),
    ("/metadata", "out_of_range"),
    ("/limits/burst", "out_of_range"),
    # A patch is merged into what is there.
    ("/limits/rate", "required"),
    # A time that has to be later than another one.
    ("?to", "out_of_range"),
    # One field decides what another one may be.
    ("/ids", "required"),
    ("/expected", "required"),
    ("/consumer", "required"),
    ("/consumer", "unknown_field"),
    ("/reason", "unknown_field"),
    ("/text", "unknown_field"),
    ("/key_id", "invalid"),
    ("/query", "invalid"),
    ("/path", "invalid"),
    ("/host", "invalid"),
    ("/deliveries", "invalid"),
    ("/current", "required"),
    ("/current", "unknown_field"),
    ("/new", "too_simple"),
    ("/password", "too_simple"),
    # What an object was made with stays.
    ("/workspace", "immutable"),
    ("/environment", "immutable"),
    ("/parent", "immutable"),
}


# The token that all calls are made with. To end it would end the run, so another one is named in its place.
OWN = os.environ["SCHEMATHESIS_OWN_TOKEN"]
OTHER = "tok_00000000000000000000000000"


def without_joiners(value):
    """They stand between two letters only, which no pattern says that every reader of patterns knows."""
    if isinstance(value, str):
        return value.replace("\u200c", "x").replace("\u200d", "y")
    if isinstance(value, list):
        return [without_joiners(item) for item in value]
    if isinstance(value, dict):
        return {without_joiners(name): without_joiners(item) for name, item in value.items()}
    return value


@schemathesis.hook
def before_call(ctx, case, kwargs):
    if isinstance(case.body, dict):
        case.body = without_joiners(case.body)
    if case.path_parameters and case.path_parameters.get("id") == OWN:
        case.path_parameters["id"] = OTHER
    # Nothing is told to hosts that somebody may have.
    if isinstance(case.body, dict) and str(case.body.get("url")).startswith("http"):
        case.body["url"] = "http://127.0.0.1:9/"


def is_meaning(fault):
    # An item of a list is refused for what the list means.
    pointer = re.sub(r"/\d+$", "", fault["pointer"])
    return any(pointer.endswith(end) and fault["code"] == code for end, code in MEANING)


@schemathesis.check
def valid_form_is_accepted(ctx, response, case):
    """In place of `positive_data_acceptance`: a request of the right form is refused for its meaning only."""
    try:
        return positive_data_acceptance(ctx, response, case)
    except RejectedPositiveData:
        if response.status_code == 412:
            # A version that nobody has given out.
            return None
        faults = response.json().get("errors") if response.status_code == 422 else None
        if faults and all(is_meaning(fault) for fault in faults):
            return None
        raise
