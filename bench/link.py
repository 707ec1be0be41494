# SPDX-License-Identifier: Apache-2.0
"""A link that takes its time: passes bytes on to a port of this host after a delay, each way; towards the port at most at a rate,
if there is one."""
import collections
import socket
import threading
import time

CHUNK = 1 << 18


class Link:
    """Listens on `port`; what comes in there is at `target` half a round trip later, and the other way round. rate: bytes a second
    of each connection towards `target`; None = any. It may change at any time."""

    def __init__(self, port, target, round_trip=0):
        self.target, self.delay, self.rate = target, round_trip / 2, None
        self.listener = socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            for a, b in ((near, far), (far, near)):
                a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.pipe(a, b, is_up=b is far)

    def pass_on(self, sink, data):
        """In pieces of a tenth of a second. A sender may be ahead by what the sockets and one chunk hold."""
        while data:
            rate = self.rate
            piece = data[:max(1, rate // 10)] if rate else data
            sink.sendall(piece)
            data = data[len(piece):]
            if rate:
                time.sleep(len(piece) / rate)

    def pipe(self, source, sink, is_up):
        queue, some = collections.deque(), threading.Semaphore(0)

        def read():
            data = b"x"
            while data:
                try:
                    data = source.recv(CHUNK)
                except OSError:
                    data = b""
                while is_up and self.rate and len(queue) > 4:
                    time.sleep(0.01)
                queue.append((time.monotonic() + self.delay, data))
                some.release()

        def write():
            while True:
                some.acquire()
                due, data = queue.popleft()
                time.sleep(max(0, due - time.monotonic()))
                try:
                    if not data:
                        sink.shutdown(socket.SHUT_WR)
                        return
                    self.pass_on(sink, data) if is_up else sink.sendall(data)
                except OSError:
                    return

        for f in (read, write):
            threading.Thread(target=f, daemon=True).start()

    def close(self):
        self.listener.close()
