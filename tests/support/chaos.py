"""A TCP proxy between Deja and a real server that does to its bytes what a bad network does.

Faults, switched while connections are open:
  none     bytes pass
  refused  nobody listens; what was open is reset
  hung     connections are taken, nothing moves
  slow     each piece waits delay_s first
  reset    the first piece of each answer is cut in half and the connection reset
  garbage  answers are replaced by bytes of no protocol
"""
import socket
import struct
import threading
import time

FAULTS = ("refused", "hung", "slow", "reset", "garbage")
NOISE = bytes((7 * i + 13) % 251 for i in range(512))


class Chaos:
    def __init__(self, port, delay_s=0.3):
        self.target = port
        self.delay_s = delay_s
        self.fault = "none"
        self.changed = threading.Condition()
        self.open = set()
        self.listener = None
        probe = socket.create_server(("127.0.0.1", 0))
        self.port = probe.getsockname()[1]
        self._listen(probe)

    def _listen(self, listener):
        self.listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self.changed:
                self.open.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            server = socket.create_connection(("127.0.0.1", self.target), 10)
        except OSError:
            self._drop(client)
            return
        with self.changed:
            self.open.add(server)
        threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
        self._pump(server, client, True)

    def _pump(self, source, sink, is_answer):
        try:
            while piece := source.recv(65536):
                if not self._pass(piece, sink, is_answer):
                    break
        except OSError:
            pass
        self._drop(source)
        self._drop(sink)

    def _pass(self, piece, sink, is_answer):
        with self.changed:
            self.changed.wait_for(lambda: self.fault != "hung")
            fault = self.fault
        if fault == "slow":
            time.sleep(self.delay_s)
        elif fault == "reset" and is_answer:
            sink.sendall(piece[: len(piece) // 2])
            return False
        elif fault == "garbage" and is_answer:
            piece = NOISE
        sink.sendall(piece)
        return True

    def _drop(self, side):
        """Reset rather than closed in good order."""
        with self.changed:
            self.open.discard(side)
        try:
            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            side.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        side.close()

    def set(self, fault):
        with self.changed:
            before, self.fault = self.fault, fault
            self.changed.notify_all()
            sides = list(self.open)
        if fault == "refused":
            self._deafen()
            for side in sides:
                self._drop(side)
        elif before == "refused":
            self._listen(socket.create_server(("127.0.0.1", self.port)))

    def _deafen(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        except OSError:
            pass
        self.listener.close()

    def close(self):
        with self.changed:
            self.fault = "refused"
            self.changed.notify_all()
        self._deafen()
        for side in list(self.open):
            self._drop(side)
