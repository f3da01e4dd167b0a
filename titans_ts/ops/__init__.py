"""Pure functions of tensors: the write rule, its two executions, decays and windowed attention.

Nothing here knows a module, a configuration or a random number. :func:`memory_recurrent` reads like the equations
and defines truth; :func:`memory_chunked` is the fast form that must equal it.
"""

from titans_ts.ops.attention import causal_attention, windowed_attention
from titans_ts.ops.chunked import memory_chunked
from titans_ts.ops.recurrent import memory_recurrent
from titans_ts.ops.rule import Gates, StoreNorm, StoreState, WriteRule, fresh_state, read_store

__all__ = [
    "Gates",
    "StoreNorm",
    "StoreState",
    "WriteRule",
    "causal_attention",
    "fresh_state",
    "memory_chunked",
    "memory_recurrent",
    "read_store",
    "windowed_attention",
]
