"""Settings of the network that no request can be made with; nothing leaves the machine."""

from dataclasses import replace

import pytest

from utils import network
from utils.data import catalogue, sources
from utils.schema import InputError

PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
CARD = replace(catalogue.CHALLENGING, url="https://127.0.0.1:9/xstest_aug.csv")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({"ALL_PROXY": "socks5://127.0.0.1:1"}, "ALL_PROXY"),
        ({"HTTPS_PROXY": "foo://user:secret@x", "NO_PROXY": "x"}, "HTTPS_PROXY"),
        ({"https_proxy": "http://[::1"}, "HTTPS_PROXY"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_and_its_address_is_not(monkeypatch, environment, names):
    import httpx2

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"^{names} must name an http:// or https:// proxy; correct or unset it$"):
        network.client_of(httpx2.Client)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("HTTPS_PROXY", "foo://x", "no connection by HTTPS_PROXY"),
        ("ALL_PROXY", "socks5://127.0.0.1:1", "no connection by ALL_PROXY"),
        ("REQUESTS_CA_BUNDLE", "/nonexistent.pem", "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE must name a file with cert"),
    ],
)
def test_a_download_names_the_variable_that_keeps_it_from_being_made(monkeypatch, tmp_path, name, value, reason):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=rf"^xstest_aug\.csv: can't be downloaded.*{reason}"):
        sources.download(CARD, tmp_path)
