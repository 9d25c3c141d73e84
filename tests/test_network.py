"""Settings of the network that no request can be made with; nothing leaves the machine."""

import errno
from dataclasses import replace

import pytest

from utils import hub, network
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


def failed_to_build():
    from datasets.exceptions import DatasetGenerationError

    error = DatasetGenerationError("An error occurred while generating the dataset")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            failed_to_build,
            r"can't be kept in the Hugging Face cache \(No space left on device\); make room, or set HF_HOME",
        ),
        (lambda: PermissionError(errno.EACCES, "Permission denied"), r"Face cache \(Permission denied\)"),
        (
            lambda: ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
            "can't be loaded .*; connect to fetch",
        ),
    ],
)
def test_a_dataset_that_cannot_be_had_is_one_line(monkeypatch, error, reason):
    import datasets

    def load_dataset(*arguments, **more):
        raise error()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(InputError, match=f"^BeaverTails: .*{reason}"):
        hub.dataset("BeaverTails", "somebody/some-data", split="train", revision="main")
