"""Client of Deja, the semantic cache of AI applications.

    from deja_client import Deja

    cache = Deja()                              # $DEJA_SERVER, $DEJA_KEY, else this machine's daemon

    @cache.cacheable("user:{user_id}", ttl="5m", tags=["user:{user_id}"])
    def load_user(user_id): ...

    @cache.cache_evict(tags=["user:{user_id}"])
    def save_user(user_id, name): ...

`AsyncDeja` is the same for `async def`. A cache that does not answer never breaks a decorated function:
it is called as if there were no cache.
"""
from .client import AsyncDeja, Deja
from .errors import DejaDenied, DejaError, DejaInvalid, DejaLimited, DejaNotFound, DejaUnavailable
from .calls import Lookup, Value

__all__ = ["AsyncDeja", "Deja", "DejaDenied", "DejaError", "DejaInvalid", "DejaLimited", "DejaNotFound",
           "DejaUnavailable", "Lookup", "Value"]
__version__ = "0.1.0"
