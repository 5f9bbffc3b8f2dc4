"""httpx against the gateway under TLS, over HTTP/1.1 and HTTP/2. Arguments: the gateway's URL, the authority's certificate, a key.

Ends with 0 if all went as it should.
"""

import asyncio
import ssl
import sys

import httpx

URL, AUTHORITY, KEY = sys.argv[1:4]


def same(got, wanted):
    assert got == wanted, "%r instead of %r" % (got, wanted)


def client(version, **more):
    trust = ssl.create_default_context(cafile=AUTHORITY)
    http2 = version == "HTTP/2"
    return httpx.Client(base_url=URL, verify=trust, http1=not http2, http2=http2, timeout=20, trust_env=False, **more)


def local(response):
    """The caller's end of the connection that an answer came on."""
    return response.extensions["network_stream"].get_extra_info("client_addr")


def ordinary(version):
    with client(version, headers={"x-api-key": KEY}, cookies={"a": "1", "b": "2"}) as peer:
        got = peer.get("/get/a%2Fb", params={"x": "1 2", "y": ["ä", "&"]}, headers={"x-mine": "yes"})
        same((got.status_code, got.http_version), (200, version))
        seen = got.json()
        same((seen["method"], seen["path"]), ("GET", "/get/a%2Fb?x=1+2&y=%C3%A4&y=%26"))
        head = seen["head"]
        same((head["x-mine"], head["cookie"], head["x-forwarded-proto"]), ("yes", "a=1; b=2", "https"))
        same((head["x-consumer-username"], head.get("x-api-key")), ("acme", None))
        sent = peer.post("/post", json={"ä": [1, None]})
        same(sent.json()["body"], sent.request.content.decode())
        same(sent.json()["head"]["content-type"], "application/json")
        for method in ("PUT", "PATCH", "DELETE"):
            other = peer.request(method, "/other")
            same((other.json()["method"], local(other)), (method, local(got)))
        away = peer.get("/redirect")
        same((away.status_code, away.headers["location"]), (302, "https://elsewhere.example/a?b=c#d"))
        same((local(sent), local(away)), (local(got), local(got)))
        assert KEY not in peer.get("/log").text


def refused(version):
    with client(version) as peer:
        none = peer.get("/get")
        same((none.status_code, none.json()["code"]), (401, "missing_api_key"))
        same(none.headers["content-type"], "application/problem+json")
        wrong = peer.post("/post", json={}, auth=lambda request: bearer(request, "sk-wrong"))
        same((wrong.status_code, wrong.json()["code"]), (401, "invalid_api_key"))
        assert "sk-wrong" not in wrong.text and "Bearer" in wrong.headers["www-authenticate"]
        good = peer.post("/post", json={}, auth=lambda request: bearer(request, KEY))
        same((good.status_code, local(good)), (200, local(none)))


def bearer(request, key):
    request.headers["authorization"] = "Bearer " + key
    return request


def streams(version):
    with client(version, headers={"x-api-key": KEY}) as peer, client(version, headers={"x-api-key": KEY}) as other:
        with peer.stream("GET", "/pieces") as answer:
            pieces = []
            for piece in answer.iter_raw():
                pieces.append(piece.decode())
                other.post("/next").raise_for_status()
        same(pieces, ["piece %d" % number for number in range(5)])
        sizes = []

        def upload():
            for size in (1, 1000, 10):
                yield b"x" * size
                # The service has it before the next piece is made.
                got = 0
                while got < size:
                    got += other.get("/uploaded").json()
                sizes.append(got)

        same(peer.post("/upload", content=upload()).json(), {"size": 1011})
        same(sizes, [1, 1000, 10])
        large = b"x" * 5_000_000
        for body in (large, iter([large])):
            same(len(peer.put("/large", content=body).json()["body"]), len(large))


async def at_once():
    """Many requests share one connection of HTTP/2."""
    trust = ssl.create_default_context(cafile=AUTHORITY)
    limits = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(
        base_url=URL, verify=trust, http1=False, http2=True, limits=limits, timeout=20, trust_env=False
    ) as peer:
        calls = [peer.get("/get/%d" % number, headers={"x-api-key": KEY}) for number in range(50)]
        answers = await asyncio.gather(*calls)
        same([answer.json()["path"] for answer in answers], ["/get/%d" % number for number in range(50)])
        same(len({local(answer) for answer in answers}), 1)


for spoken in ("HTTP/1.1", "HTTP/2"):
    ordinary(spoken)
    refused(spoken)
    streams(spoken)
asyncio.run(at_once())
