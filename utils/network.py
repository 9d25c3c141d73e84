"""Names the network settings that make every request fail."""

from collections.abc import Callable
from typing import Any
from urllib.request import getproxies

from utils.schema import InputError


def timeouts() -> tuple[type[Exception], ...]:
    """The exceptions that an HTTP client raises if no answer comes in time."""
    import httpx2

    return (httpx2.TimeoutException,)


def client_of(make: Callable) -> Any:
    """The HTTP client that `make` builds. Raises InputError, naming the variable, if a setting makes it impossible."""
    import httpx2

    try:
        return make()
    except OSError:
        raise InputError("SSL_CERT_FILE must name a file with certificates; correct or unset it") from None
    except (ImportError, ValueError, httpx2.InvalidURL):
        names = proxy_variables() or "the variables that name a proxy"
        raise InputError(f"{names} must name an http:// or https:// proxy; correct or unset it") from None


def proxy_variables() -> str:
    """The proxy variables that are set; '' if none is. Their addresses are left out, which may hold a password."""
    return " and ".join(f"{kind.upper()}_PROXY" for kind in getproxies() if kind != "no")
