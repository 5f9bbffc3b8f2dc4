"""The SDK of Stripe against the gateway. Arguments: the gateway's URL, a key. Ends with 0 if all went as it should."""

import json
import sys
import urllib.request

import stripe

URL, KEY = sys.argv[1:3]


def client(key):
    return stripe.StripeClient(key, base_addresses={"api": URL}, max_network_retries=0)


def same(got, wanted):
    assert got == wanted, "%r instead of %r" % (got, wanted)


def log():
    request = urllib.request.Request(URL + "/log", headers={"x-api-key": KEY})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def fails(kind, act):
    try:
        act()
    except kind as fault:
        return fault
    raise AssertionError("no %s" % kind)


customers = client(KEY).v1.customers
token = "order 7/ä=".encode().decode("latin-1")
form = {"email": "0@example.com", "metadata": {"a b": "c&d"}, "preferred_locales": ["de", "fr"]}
made = customers.create(form, {"idempotency_key": token})
same((made.id, made.email), ("cus_0", "0@example.com"))
asked = log()[0]
head = asked["head"]
same((asked["method"], asked["path"]), ("POST", "/v1/customers"))
same(asked["body"], "email=0%40example.com&metadata[a+b]=c%26d&preferred_locales[0]=de&preferred_locales[1]=fr")
same((head["content-type"], head["idempotency-key"]), ("application/x-www-form-urlencoded", token))
assert head["stripe-version"] and head["user-agent"].startswith("Stripe/v1 PythonBindings"), head
same((head.get("authorization"), head["x-consumer-username"]), (None, "acme"))

for number in range(1, 5):
    customers.create({"email": "%d@example.com" % number})
listed = customers.list({"limit": 2, "expand": ["data.sources"]})
same([one.id for one in listed.auto_paging_iter()], ["cus_%d" % number for number in range(5)])
pages = [one["path"] for one in log() if one["method"] == "GET"]
same(len(pages), 3)
assert "starting_after=cus_1" in pages[1] and "starting_after=cus_3" in pages[2], pages

# The service's own refusals reach the SDK as they are.
fault = fails(stripe.InvalidRequestError, lambda: customers.create({"name": "x"}))
same((fault.http_status, fault.param), (400, "email"))
fault = fails(stripe.AuthenticationError, lambda: customers.list({"limit": 1, "email": "refused"}))
same((fault.http_status, fault.user_message), (401, "not by this service"))
# The gateway's are problems (RFC 9457), of which the SDK knows the status and keeps the body.
for key in ("sk_test_wrong", KEY[:-1] + "y"):
    fault = fails(stripe.APIError, lambda: client(key).v1.customers.list({"limit": 1}))
    same((fault.http_status, json.loads(fault.http_body)["code"]), (401, "invalid_api_key"))
    assert key not in str(fault)
same(len(log()), 10)
assert KEY not in json.dumps(log())
