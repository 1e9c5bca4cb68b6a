"""The echo of the benchmarks with CPython inside: answers every item with itself."""

import wit_world


class WitWorld(wit_world.WitWorld):
    def run(self, items):
        return items
