"""What componentize-py makes a component of: the world's one export, answered by the job's own module."""

import wit_world

import job


class WitWorld(wit_world.WitWorld):
    def run(self, items):
        return job.run(items)
