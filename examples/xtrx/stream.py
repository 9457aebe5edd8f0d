# SPDX-License-Identifier: MIT OR Apache-2.0
"""Receives buffers from an XTRX through /dev/xtrx0, as a program of its users does: buffers and registers mapped, interrupts
by read(2). Every byte is compared with what the card sends."""
import fcntl, mmap, os, struct, sys, threading

PAGE, BUFFERS, BYTES = 4096, 32, 32768
RX_MAP, RX_IRQS = 67108864, 2
INTERRUPTS, RX_CONFIRM, DMA = 0x04, 0x30, 0x34
RX_ON, RX_OFF = 1 << 30 | 3 << 20, 1 << 30
RX_ALLOCATE = 0x12345A


def swapped(word):
    """The registers are big-endian."""
    return int.from_bytes(word.to_bytes(4, "big"), "little")


class Xtrx:
    def __init__(self):
        self.fd = os.open("/dev/xtrx0", os.O_RDWR)
        # As words: a slice would be copied, and a register written twice.
        self.regs = memoryview(mmap.mmap(self.fd, PAGE, offset=0)).cast("I")
        self.rx = mmap.mmap(self.fd, BUFFERS * BYTES, offset=RX_MAP)

    def poke(self, at, value):
        self.regs[at // 4] = swapped(value)

    def peek(self, at):
        return swapped(self.regs[at // 4])

    def wait(self):
        """Interrupts since the last call; the driver gives their number as the count of bytes read."""
        return len(os.pread(self.fd, 2000, RX_IRQS))

    def buffer(self, number):
        at = number % BUFFERS * BYTES
        return self.rx[at : at + BYTES]


def expected(number):
    words = BYTES // 4
    return struct.pack("<%dI" % words, *(number << 16 | n for n in range(words)))


def stream(card, count):
    done = 0
    while done < count:
        card.wait()
        while done < min(count, card.peek(RX_CONFIRM)):
            if card.buffer(done) != expected(done):
                sys.exit("buffer %d is not what the card sent" % done)
            card.poke(RX_CONFIRM, 0)
            done += 1
    print("%d buffers" % done)


def receiving(card, work):
    """Does that while buffers are received and given back."""
    done = threading.Event()

    def give_back():
        while not done.wait(0.001):
            card.poke(RX_CONFIRM, 0)

    giving = threading.Thread(target=give_back)
    giving.start()
    work()
    done.set()
    giving.join()


def rebind(card):
    """Unbinds the driver, and binds it again."""
    for what in ["unbind", "bind"]:
        with open("/sys/bus/pci/drivers/xtrx/" + what, "w") as file:
            file.write("0000:01:00.0")
        # One buffer at least is the card's, whoever was slow.
        card.poke(RX_CONFIRM, 0)


def main(count, how):
    card = Xtrx()
    card.poke(DMA, RX_ON)
    stream(card, count)
    if how == "--rebind":
        receiving(card, lambda: rebind(card))
    if how == "--grow":
        receiving(card, lambda: fcntl.ioctl(card.fd, RX_ALLOCATE, 2 * BYTES))
    if how != "--close-running":
        card.poke(DMA, RX_OFF)


if __name__ == "__main__":
    main(int(sys.argv[1]), "".join(sys.argv[2:]))
