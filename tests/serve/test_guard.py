"""Who is answered: hosts, origins, tokens, rates, and how many at once; what browsers are told."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lit_cnn.serve.guard import HEADERS
from lit_cnn.serve.pages import PAGES
from tests.serve.helpers import Brightness, client_of, picture

PNG = {"Content-Type": "image/png"}
TOKEN = "a-token-of-many-signs"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("LOCALHOST.:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("evil.example:8000", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost@evil.example", 421),
        ("192.168.0.2:8000", 421),
    ],
)
def test_without_a_token_only_loopback_names_are_answered(host, status):
    client = client_of(Brightness())
    for path in ("/", "/api/model", "/health"):
        assert client.get(path, headers={"Host": host}).status_code == status
    response = client.post("/api/predict", content=picture(), headers={**PNG, "Host": host})
    assert response.status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://127.0.0.1"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),  # another program's page on this machine
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_pages_of_other_sites_may_not_send_pictures(headers, status):
    response = client_of(Brightness()).post("/api/predict", content=picture(), headers={**PNG, **headers})
    assert response.status_code == status
    assert "access-control-allow-origin" not in response.headers


def test_a_token_is_needed_for_answers_and_for_nothing_else():
    client = client_of(Brightness(), "http://photos.example", token=TOKEN)
    for path in ("/", "/docs", "/page.js", "/openapi.json", "/health"):
        assert client.get(path).status_code == 200
    for headers in (
        {},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer \xe9"},
    ):
        raw = [(name.encode(), value.encode("latin-1")) for name, value in {**PNG, **headers}.items()]
        response = client.post("/api/predict", content=picture(), headers=raw)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in response.text
    assert client.get("/api/model").status_code == 401
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post("/api/predict", content=picture(), headers={**PNG, **right}).status_code == 200
    assert client.get("/api/model", headers=right).status_code == 200
    assert client.get(f"/api/model?token={TOKEN}").status_code == 401


def test_a_token_cannot_be_guessed_at_speed():
    client = client_of(Brightness(), token=TOKEN)
    statuses = [client.get("/api/model", headers={"Authorization": f"Bearer {i}"}).status_code for i in range(14)]
    assert statuses == [401] * 10 + [429] * 4
    # nor does the right one help the same client then
    assert client.get("/api/model", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 429


def test_a_client_that_sends_too_many_pictures_is_told_to_wait():
    client = client_of(Brightness(), rate=2.0)
    found = [client.post("/api/predict", content=picture(), headers=PNG) for _ in range(6)]
    assert [response.status_code for response in found] == [200] * 4 + [429] * 2
    assert found[-1].json() == {"error": "more than 2 images a second: wait"}
    assert int(found[-1].headers["retry-after"]) >= 1
    assert client.get("/api/model").status_code == 200


def test_more_pictures_than_are_answered_at_once_are_refused_and_the_others_answered():
    model, begun, go_on = Brightness(), threading.Semaphore(0), threading.Event()
    decode = model.decode

    def wait(content: bytes):
        begun.release()
        assert go_on.wait(30)
        return decode(content)

    model.decode = wait
    with client_of(model, waiting=2) as client, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(client.post, "/api/predict", content=picture(), headers=PNG) for _ in range(2)]
        assert begun.acquire(timeout=30)
        while True:  # until both have begun
            response = client.get("/health")
            assert response.status_code == 200
            if begun.acquire(timeout=0.2) or client.app._busy == 2:
                break
        refused = client.post("/api/predict", content=picture(), headers=PNG)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        go_on.set()
        assert [each.result().status_code for each in waiting] == [200, 200]
        assert client.post("/api/predict", content=picture(), headers=PNG).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/page.css", "/openapi.json", "/api/model", "/nowhere"])
def test_browsers_are_told_to_load_nothing_from_elsewhere(path):
    headers = client_of(Brightness()).get(path).headers
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]


def test_the_files_of_the_page_name_no_other_address():
    assert [path for path, (kind, content) in PAGES.items() if kind != "image/svg+xml" and b"http" in content] == []


def test_errors_are_json_whatever_a_reason_holds():
    response = client_of(Brightness()).post(
        "/api/predict", content=b"", headers={"Content-Type": 'a\\"b/\xe9'.encode("latin-1")}
    )
    assert response.status_code == 415
    assert json.loads(response.text)["error"].startswith("send an image file as")
