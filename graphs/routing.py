"""Sends work where its cache is: Serve's request router over ``serve.domain.affinity``.

Serve pickles this module by value for its handles, so it holds the adapter and nothing else.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from serve.domain.affinity import affinity_in, longest_queue, preferred, ranked

# A replica that did not tell its queue's length is not asked again for so long.
_UNASKED_AFTER_SILENCE_S = 1.0
# A call is sent right after its replica was chosen, or it was given up.
_CHOICE_COUNTS_S = 1.0


class CacheAffinityRouter(RequestRouter):  # type: ignore[misc] # Ray's classes are untyped here
    """Equal keys go to one replica while its queue allows; keyless calls to the less busy of two.

    What Serve's own routers promise stays: a replica is chosen only if its queue, as last heard or
    asked, is below its limit; else the next is tried, then all again after a pause.
    """

    def initialize_state(self) -> None:
        """Called once by Serve before the first choice."""
        self._sent: Counter[ReplicaID] = Counter()
        self._chosen: dict[str, tuple[ReplicaID, float]] = {}
        self._unasked_until: dict[ReplicaID, float] = {}

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Groups to try in turn; of one group, Serve takes the replica with the shortest queue."""
        if pending_request is None:
            return _any_two(candidate_replicas)
        pending_request.routing_context.should_backoff = True
        key = affinity_in((*pending_request.args, *pending_request.kwargs.values()))
        if not key:
            return _any_two(candidate_replicas)
        by_name = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        lengths = await self._queue_lengths(key, by_name)
        silent = by_name.keys() - lengths.keys()
        order = [by_name[name] for name in (*preferred(key, lengths), *sorted(silent))]
        call = pending_request.metadata.internal_request_id
        self._chosen[call] = (order[0].replica_id, time.monotonic())
        return [[replica] for replica in order]

    def on_send_request(self, replica_id: ReplicaID) -> None:
        """Called by Serve when a call has left for the replica."""
        super().on_send_request(replica_id)
        self._sent[replica_id] += 1
        # Serve does not say which call it was; the first that was to go there will do.
        call = next((call for call, (to, _) in self._chosen.items() if to == replica_id), None)
        if call is not None:
            del self._chosen[call]

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Called by Serve once for every call that has left, however it ended."""
        super().on_request_completed(replica_id, internal_request_id)
        self._sent[replica_id] -= 1

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """Called by Serve with the replicas of now."""
        super().update_replicas(replicas)
        for state in (self._sent, self._unasked_until):
            for gone in state.keys() - self.curr_replicas.keys():
                del state[gone]

    async def _queue_lengths(self, key: str, by_name: dict[str, RunningReplica]) -> dict[str, int]:
        """Queue length of each replica that is not silent; 0 where it does not matter."""
        given_up = time.monotonic() - _CHOICE_COUNTS_S
        self._chosen = {call: each for call, each in self._chosen.items() if each[1] > given_up}
        known = {
            name: length
            for name, replica in by_name.items()
            if (length := self._known_length(replica.replica_id)) is not None
        }
        optimistic = dict.fromkeys(by_name, 0) | known
        if optimistic[ranked(key, by_name)[0]] <= longest_queue(optimistic.values()):
            return optimistic
        # The first in rank is passed over only for replicas that are known to be less busy.
        unknown = [replica for name, replica in by_name.items() if name not in known]
        return known | await self._ask(unknown)

    def _known_length(self, replica_id: ReplicaID) -> int | None:
        """Its queue as last heard, but no shorter than what we alone have given it."""
        heard: int | None = self.replica_queue_len_cache.get(replica_id)
        ours = max(self._sent[replica_id], 0) + self._n_on_their_way(replica_id)
        return max(heard, ours) if heard is not None else ours or None

    def _n_on_their_way(self, replica_id: ReplicaID) -> int:
        return sum(to == replica_id for to, _ in self._chosen.values())

    async def _ask(self, replicas: Sequence[RunningReplica]) -> dict[str, int]:
        now = time.monotonic()
        asked = [r for r in replicas if self._unasked_until.get(r.replica_id, 0.0) <= now]
        told: dict[str, int] = {}
        for replica, length in await self._probe_queue_lens(asked, 0):
            if length is None:
                self._unasked_until[replica.replica_id] = now + _UNASKED_AFTER_SILENCE_S
            else:
                told[replica.replica_id.unique_id] = length
        return told


def _any_two(replicas: Sequence[RunningReplica]) -> list[list[RunningReplica]]:
    return [random.sample(replicas, min(2, len(replicas)))]
