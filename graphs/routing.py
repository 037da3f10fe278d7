"""Sends work where its cache is: Serve's request router over ``serve.domain.affinity``.

Serve pickles this module by value for its handles, so it holds the adapter and nothing else.
"""

from __future__ import annotations

import random
import time

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from serve.domain.affinity import affinity_in, longest_queue, preferred, ranked

# A replica that did not tell its queue's length is not asked again for so long.
_UNASKED_AFTER_SILENCE_S = 1.0


class CacheAffinityRouter(RequestRouter):  # type: ignore[misc] # Ray's classes are untyped here
    """Equal keys go to one replica while its queue allows; keyless calls to the less busy of two.

    What Serve's own routers promise stays: a replica is chosen only if its queue, as last heard or
    asked, is below its limit; else the next is tried, then all again after a pause.
    """

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Groups to try in turn; of one group, Serve takes the replica with the shortest queue."""
        key = ""
        if pending_request is not None:
            pending_request.routing_context.should_backoff = True
            key = affinity_in((*pending_request.args, *pending_request.kwargs.values()))
        if not key:
            return [random.sample(candidate_replicas, min(2, len(candidate_replicas)))]
        by_name = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        lengths = await self._queue_lengths(key, by_name)
        silent = by_name.keys() - lengths.keys()
        return [[by_name[name]] for name in (*preferred(key, lengths), *sorted(silent))]

    async def _queue_lengths(self, key: str, by_name: dict[str, RunningReplica]) -> dict[str, int]:
        """Queue length of each replica that is not silent; 0 where it does not matter."""
        known = {
            name: self.replica_queue_len_cache.get(replica.replica_id)
            for name, replica in by_name.items()
        }
        optimistic = {name: length or 0 for name, length in known.items()}
        favourite = ranked(key, by_name)[0]
        if optimistic[favourite] <= longest_queue(optimistic.values()):
            return optimistic
        # The favourite is passed over only for replicas that are known to be less busy.
        now = time.monotonic()
        asked = [
            replica
            for name, replica in by_name.items()
            if known[name] is None and self._silence.get(replica.replica_id, 0.0) <= now
        ]
        told = {name: length for name, length in known.items() if length is not None}
        for replica, length in await self._probe_queue_lens(asked, 0):
            if length is None:
                self._silence[replica.replica_id] = now + _UNASKED_AFTER_SILENCE_S
            else:
                told[replica.replica_id.unique_id] = length
        return told

    def initialize_state(self) -> None:
        """Called once by Serve before the first choice."""
        self._silence: dict[ReplicaID, float] = {}

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """Called by Serve with the replicas of now."""
        super().update_replicas(replicas)
        now = time.monotonic()
        self._silence = {each: until for each, until in self._silence.items() if until > now}
