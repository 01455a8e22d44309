"""How several processes share the tests: one takes the files from the first to the last, the others from the last on.

So what starts servers and whole gateways (the folders before ``unit``) comes one after the other, what only computes
runs beside it; they meet in the middle, and nobody waits. A file stays in one process, with the servers and models that
its tests share.
"""

from xdist.scheduler import LoadFileScheduling


class TwoEnds(LoadFileScheduling):  # type: ignore[misc]  # not annotated
    """Hands out whole files from both ends of the collection."""

    def _assign_work_unit(self, node: object) -> None:
        """The next file for a process: the first one left, for all processes but one the last."""
        if node is not self.nodes[0]:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)
