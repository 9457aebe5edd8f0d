# SPDX-License-Identifier: MIT OR Apache-2.0
"""The card, which dies when it has filled half of a buffer."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
sys.dont_write_bytecode = True
import card


class Dies(card.Card):
    def fill(self, address, length, seed):
        super().fill(address, length // 2, seed)
        raise RuntimeError("no such cell in the netlist")


card.serve(sys.argv[1], Dies)
