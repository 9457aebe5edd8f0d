#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""A PCI card in Python: a vfio-user server. It writes a pattern into memory and interrupts by MSI.

    BAR 0   0x00 ID          reads as 0x59504331
            0x04 DESCRIPTOR  bus address of what to do; 0x08 its upper half
            0x0c CONTROL     writing 1 sets it going
            0x10 STATUS      bit 0: done, bit 1: the descriptor could not be read; writing 1 clears them

The descriptor is the address of a buffer (64 bits), its bytes (32), and the first byte of the pattern (32), of which each
further one is one more.

It has no memory of the machine's: each access is a message, DMA_READ or DMA_WRITE.
"""
import os
import socket
import struct
import sys

VERSION, DMA_MAP, DMA_UNMAP, DEVICE_INFO, REGION_INFO, _, IRQ_INFO, SET_IRQS = range(1, 9)
REGION_READ, REGION_WRITE, DMA_READ, DMA_WRITE, RESET = range(9, 14)
HEADER = struct.Struct("<HHIII")  # number, command, bytes, flags, error
REPLY, ERROR, NO_REPLY = 1, 1 << 5, 1 << 4
EINVAL = 22

BAR_BYTES, CONFIG, PIECE = 4096, 7, 64 << 10
ID, DESCRIPTOR, DESCRIPTOR_HIGH, CONTROL, STATUS = range(0, 20, 4)


def configuration():
    """The 256 bytes of configuration space."""
    config = bytearray(256)
    struct.pack_into("<HHHH", config, 0, 0x1B36, 0x5059, 0, 0x10)  # vendor, device, command, status
    struct.pack_into("<I", config, 8, 0xFF0000_01)  # class and revision
    config[0x34] = 0x40  # the first capability: MSI, one vector, 64-bit address
    config[0x40], config[0x41], config[0x42] = 0x05, 0, 0x80
    return config


class Gone(Exception):
    """The machine closed the connection."""


class Card:
    KIND = 1  # of interrupt: MSI

    def __init__(self, connection):
        self.connection = connection
        self.config = configuration()
        self.regions = {0: BAR_BYTES, CONFIG: len(self.config)}
        self.wire = None  # the event descriptor of the only vector
        self.waiting = []  # commands that came while an answer was waited for
        self.number = 0
        self.reset()

    def reset(self):
        self.registers = dict.fromkeys((ID, DESCRIPTOR, DESCRIPTOR_HIGH, CONTROL, STATUS), 0)
        self.registers[ID] = 0x59504331

    # What the card does.

    def write_register(self, offset, value):
        if offset == STATUS:
            self.registers[STATUS] &= ~value
        elif offset != ID:
            self.registers[offset] = value

    def work(self):
        """Reads the descriptor, fills the buffer in pieces, and interrupts."""
        self.registers[CONTROL] = 0
        at = self.registers[DESCRIPTOR] | self.registers[DESCRIPTOR_HIGH] << 32
        descriptor = self.dma_read(at, 16)
        if descriptor is None:
            self.registers[STATUS] |= 2
        else:
            self.fill(*struct.unpack("<QII", descriptor))
            self.registers[STATUS] |= 1
        self.interrupt()

    def interrupt(self):
        if self.wire is not None:
            os.write(self.wire, struct.pack("=Q", 1))

    def fill(self, address, length, seed):
        pattern = bytes(i & 0xFF for i in range(seed, seed + 256)) * (PIECE // 256)
        for start in range(0, length, PIECE):
            self.dma_write(address + start, pattern[: min(PIECE, length - start)])

    # What the protocol is.

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.connection.recv(count - len(data))
            if not more:
                raise Gone
            data += more
        return data

    def receive(self):
        head, fds, _, _ = socket.recv_fds(self.connection, HEADER.size, 8)
        if not head:
            raise Gone
        head += self.exactly(HEADER.size - len(head))
        number, command, size, flags, error = HEADER.unpack(head)
        return number, command, flags, error, self.exactly(size - HEADER.size), fds

    def send(self, number, command, flags, payload=b"", data=b"", error=0):
        size = HEADER.size + len(payload) + len(data)
        parts = [HEADER.pack(number, command, size, flags, error) + payload, data]
        sent = self.connection.sendmsg(parts)
        if sent < size:
            self.connection.sendall(b"".join(parts)[sent:])

    def dma_write(self, address, data):
        """Writes memory. Posted, as on the bus: nobody says that it arrived, and an interrupt comes after it."""
        self.number = (self.number + 1) & 0xFFFF
        self.send(self.number, DMA_WRITE, NO_REPLY, struct.pack("<QQ", address, len(data)), data)

    def dma_read(self, address, count):
        """Reads memory; what the machine asks for meanwhile is done later. None: it was refused."""
        self.number = (self.number + 1) & 0xFFFF
        self.send(self.number, DMA_READ, 0, struct.pack("<QQ", address, count))
        while True:
            message = self.receive()
            if message[2] & 0xF == REPLY:
                return None if message[2] & ERROR else message[4][16:]
            self.waiting.append(message)

    def answer(self, command, payload, fds):
        """The answer's payload; None: that is refused."""
        if command == VERSION:
            return payload[:4] + b'{"capabilities":{"max_msg_fds":8}}\0'
        if command == DEVICE_INFO:
            return struct.pack("<IIII", 16, 1 | 2, 9, 5)  # has a reset, is PCI; regions, interrupts
        if command == REGION_INFO:
            index = struct.unpack_from("<I", payload, 8)[0]
            size = self.regions.get(index, 0)
            return struct.pack("<IIIIQQ", 32, 3 if size else 0, index, 0, size, 0)
        if command == IRQ_INFO:
            index = struct.unpack_from("<I", payload, 8)[0]
            return struct.pack("<IIII", 16, 1, index, 1 if index == self.KIND else 0)
        if command == SET_IRQS:
            _, _, index, _, _ = struct.unpack_from("<IIIII", payload)
            self.wire = fds[0] if index == self.KIND and fds else None
            return b""
        if command in (REGION_READ, REGION_WRITE):
            return self.access(command, payload)
        if command == RESET:
            self.reset()
        return b"" if command in (DMA_MAP, DMA_UNMAP, RESET) else None

    def access(self, command, payload):
        offset, region, count = struct.unpack_from("<QII", payload)
        data = payload[16:]
        if region == CONFIG and offset + count <= len(self.config):
            if command == REGION_WRITE:
                self.config[offset : offset + count] = data
            data = bytes(self.config[offset : offset + count])
        elif region == 0 and count == 4 and offset in self.registers:
            if command == REGION_WRITE:
                self.write_register(offset, *struct.unpack("<I", data))
            data = struct.pack("<I", self.registers[offset])
        else:
            return None
        return payload[:16] + (data if command == REGION_READ else b"")

    def run(self):
        while True:
            message = self.waiting.pop(0) if self.waiting else self.receive()
            number, command, flags, _, payload, fds = message
            answer = self.answer(command, payload, fds)
            if not flags & NO_REPLY:
                refused = (REPLY | ERROR, b"", b"", EINVAL)
                self.send(number, command, *(refused if answer is None else (REPLY, answer)))
            if self.registers[CONTROL] & 1:
                self.work()


def serve(path, card=Card):
    """One machine after the other."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    while True:
        try:
            card(server.accept()[0]).run()
        except Gone:
            pass


if __name__ == "__main__":
    serve(sys.argv[1])
