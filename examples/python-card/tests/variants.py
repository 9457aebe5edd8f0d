# SPDX-License-Identifier: MIT OR Apache-2.0
"""The card with the line (INTx), or with a table of vectors (MSI-X), in place of MSI."""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
sys.dont_write_bytecode = True
import card


class Line(card.Card):
    KIND = 0

    def __init__(self, connection):
        super().__init__(connection)
        self.config[0x06] = self.config[0x34] = 0

    def answer(self, command, payload, fds):
        flags = struct.unpack_from("<I", payload, 4)[0] if command == card.SET_IRQS else 0
        if flags & 0x10:  # unmask: it is signalled again as long as it has a cause
            if self.registers[card.STATUS]:
                self.interrupt()
            return b""
        return super().answer(command, payload, fds)


class Table(card.Card):
    KIND = 2

    def __init__(self, connection):
        super().__init__(connection)
        # One vector; its table at 0 and its pending bits at 0x800 of BAR 1.
        self.config[0x40:0x4C] = struct.pack("<BBHII", 0x11, 0, 0, 1, 0x801)
        self.regions[1] = 4096


card.serve(sys.argv[1], {"line": Line, "table": Table}[sys.argv[2]])
