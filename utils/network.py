"""Names the network settings that make every request fail."""

from collections.abc import Callable
from urllib.parse import urlsplit
from urllib.request import getproxies

from utils.schema import InputError


def timeouts() -> tuple[type[Exception], ...]:
    """The exceptions that an HTTP client raises if no answer comes in time."""
    import httpx2

    return (httpx2.TimeoutException,)


def client_of(make: Callable):
    """The HTTP client that `make` builds. Raises InputError, naming the variable, if a setting makes it impossible."""
    import httpx2

    try:
        return make()
    except OSError:
        raise InputError("SSL_CERT_FILE must name a file with certificates; correct or unset it") from None
    except (ImportError, ValueError, httpx2.InvalidURL):
        raise InputError(
            proxy_fault() or "the variables that name a proxy can't be used; correct or unset them"
        ) from None


def proxy_fault() -> str | None:
    """The proxy variables that can't be used, with the remedy; None if each names an http:// or https:// proxy.

    The addresses are left out: they may hold a password.
    """
    names = [f"{kind.upper()}_PROXY" for kind, address in getproxies().items() if kind != "no" and not _usable(address)]
    if not names:
        return None
    return f"{' and '.join(names)} must name an http:// or https:// proxy; correct or unset it"


def _usable(address: str) -> bool:
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        return parts.scheme in ("http", "https") and address.isprintable() and parts.port != 0
    except ValueError:  # unmatched brackets, or a port that is not a number
        return False
