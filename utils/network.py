"""The network settings of a person's environment that no request can be made with."""

from urllib.parse import urlsplit
from urllib.request import getproxies


def proxy_fault() -> str | None:
    """Which proxy variables can't be used and what to do; None if each names an http:// or https:// proxy.

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
    except ValueError:  # brackets that do not match, or a port that is no number
        return False
