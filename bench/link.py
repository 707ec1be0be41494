# SPDX-License-Identifier: Apache-2.0
"""A link that takes its time: passes bytes on to a port of this host after a delay, each way, at any rate."""
import collections
import socket
import threading
import time

CHUNK = 1 << 18


class Link:
    """Listens on `port`; what comes in there is at `target` half a round trip later, and the other way round."""

    def __init__(self, port, target, round_trip):
        self.target, self.delay = target, round_trip / 2
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
                self.pipe(a, b)

    def pipe(self, source, sink):
        queue, some = collections.deque(), threading.Semaphore(0)

        def read():
            data = b"x"
            while data:
                try:
                    data = source.recv(CHUNK)
                except OSError:
                    data = b""
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
                    sink.sendall(data)
                except OSError:
                    return

        for f in (read, write):
            threading.Thread(target=f, daemon=True).start()

    def close(self):
        self.listener.close()
