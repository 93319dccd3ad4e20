# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count what each address, or each token, uses. All of it is called in the event loop only."""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

from noslop_backend.core.errors import TooManyRequestsError

#: Addresses that are remembered; one that is forgotten starts anew.
_ADDRESSES = 4096


@lru_cache(_ADDRESSES)
def network_of(host: str) -> str:
    """Return what one client can be expected to have: an IPv4 address, or a /64 of IPv6 (RFC 6177)."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, 64), strict=False))
        address = address.ipv4_mapped
    return str(address)


@dataclass
class _Bucket:
    left: float
    filled_at: float


class AddressRate:
    """A token bucket for each address: so many a second, and what two seconds bring at once."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def spend(self, address: str, per_second: float, now: float | None = None) -> bool:
        """Count one more of this address; False when there were too many."""
        moment = time.monotonic() if now is None else now
        most = max(1.0, 2 * per_second)
        bucket = self._buckets.pop(address, None) or _Bucket(most, moment)
        bucket.left = min(most, bucket.left + (moment - bucket.filled_at) * per_second)
        bucket.filled_at = moment
        if len(self._buckets) >= _ADDRESSES:
            # The one that was longest unused.
            del self._buckets[next(iter(self._buckets))]
        self._buckets[address] = bucket
        if bucket.left < 1:
            return False
        bucket.left -= 1
        return True


@dataclass
class Places:
    """A number of places for work at once, of which one token gets only some."""

    what: str
    total: int
    each: int
    _used: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def reserve(self, token_id: str | None) -> Iterator[None]:
        """Have a place until the end of the block.

        Args:
            token_id: whose; None where there are no tokens, and all places are for any caller.

        Raises:
            TooManyRequestsError: all places are taken, or those that one token gets.
        """
        name = token_id or ""
        if self._used.total() >= self.total:
            raise TooManyRequestsError(f"{self.total} {self.what} run already.", retry_after_s=1)
        if token_id is not None and self._used[name] >= self.each:
            raise TooManyRequestsError(
                f"{self.each} {self.what} of this token run already, and the others are for other tokens.",
                retry_after_s=1,
            )
        self._used[name] += 1
        try:
            yield
        finally:
            self._used[name] -= 1
            if not self._used[name]:
                del self._used[name]
