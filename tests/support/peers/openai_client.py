"""The SDK of OpenAI against the gateway. Arguments: the gateway's URL, a key.

Routes: `/` without limits; `/limited/` lets one request a minute in, `/hurried/` one a second. Ends with 0 if all went as it should.
"""

import sys
import time
import urllib.request

from openai import AuthenticationError, OpenAI, RateLimitError

URL, KEY = sys.argv[1:3]
HELLO = {"model": "small", "messages": [{"role": "user", "content": "you"}]}


def client(key=KEY, route="", **more):
    return OpenAI(api_key=key, base_url=URL + route + "/v1", timeout=20, **more)


def same(got, wanted):
    assert got == wanted, "%r instead of %r" % (got, wanted)


def call(method, path):
    request = urllib.request.Request(URL + path, method=method, headers={"x-api-key": KEY})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode()


def fails(kind, act):
    try:
        act()
    except kind as fault:
        return fault
    raise AssertionError("no %s" % kind)


def plain():
    peer = client(max_retries=0)
    answer = peer.chat.completions.create(**HELLO)
    same((answer.choices[0].message.content, answer.usage.total_tokens), ("hello you", 3))
    same([model.id for model in peer.models.list()], ["small"])


def tokens():
    """Each token is here before the next one is made."""
    seen = []
    for event in client(max_retries=0).chat.completions.create(stream=True, **HELLO):
        seen.append(event.choices[0].delta.content)
        call("POST", "/next")
    same(seen, ["token %d" % number for number in range(5)])


def wrong():
    for key in ("sk-wrong", KEY[:-1] + "y"):
        fault = fails(AuthenticationError, lambda: client(key).models.list())
        same((fault.status_code, fault.response.json()["code"]), (401, "invalid_api_key"))
        assert key not in str(fault)


def limited():
    peer = client(route="/limited", max_retries=0)
    same(len(peer.models.list().data), 1)
    fault = fails(RateLimitError, peer.models.list)
    same((fault.status_code, fault.response.json()["code"]), (429, "rate_limited"))
    assert 50 <= int(fault.response.headers["retry-after"]) <= 60, fault.response.headers


def hurried():
    """What `Retry-After` says is what the SDK waits, and it is enough."""
    peer = client(route="/hurried", max_retries=1)
    began = time.monotonic()
    for _ in range(3):
        same(len(peer.models.list().data), 1)
    assert time.monotonic() - began > 1


plain()
tokens()
wrong()
limited()
hurried()
log = call("GET", "/log")
assert KEY not in log and "acme" in log
