"""The names by which a server may be called."""

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from Safety_Detection.server.moderations import Refusal
from utils.schema import InputError, shown

ANY = "*"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address. A name other than localhost counts as one that others reach."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


class Hosts:
    """Keeps web pages of others from using a server by way of a browser that reaches it.

    bound: the name or address that the server listens on. Other names are in `more`; "*" is any. Names of loopback are
    always allowed, and every address if the server listens on all: what a page can have pointed at the server, by DNS
    rebinding, is a name of its own. Raises InputError for what is no name.
    """

    def __init__(self, bound: str, more: Sequence[str] = ()) -> None:
        for name in more:
            if name != ANY and _hostname(name if ":" not in name else f"[{name}]") != name.lower():
                raise InputError(f"--allow-host {shown(name)}: is no name; leave out http://, the port and the path")
        self._names = {name.lower() for name in (bound, *more)}
        address = _address(bound)
        self._every_address = address is not None and address.is_unspecified

    def require(self, host: str | None, origin: str | None) -> None:
        """Raises Refusal unless the headers Host and Origin, None for one that is missing, are of names allowed."""
        name = None if host is None else _hostname(host)
        of_address = self._every_address and name is not None and _address(name) is not None
        if host is not None and not (of_address or self._allows(name)):
            raise Refusal(421, "the server has no such Host name; start it with --allow-host NAME", code="host")
        same = origin is not None and host is not None and origin.partition("://")[2].lower() == host.lower()
        if origin is not None and not (same or self._allows(_hostname(origin.partition("://")[2]))):
            raise Refusal(
                403, "pages of this Origin may not ask; start the server with --allow-host NAME", code="origin"
            )

    def _allows(self, name: str | None) -> bool:
        return ANY in self._names or (name is not None and (name in self._names or is_loopback(name)))


def _hostname(text: str) -> str | None:
    """The name in `name` or `name:port`, in lower case, without the brackets of an address; None if there is none."""
    try:
        return urlsplit(f"//{text}").hostname
    except ValueError:
        return None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
