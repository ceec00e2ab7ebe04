"""What paho-mqtt's tests take for their broker: a gateway in a process of its own, started, stopped and started again on the
same port and data.

GATEWAY_BINARY is the program, GATEWAY_DIR a directory for it, GATEWAY_PORT its port.
"""

import os
import socket
import subprocess
import threading
import time
from types import SimpleNamespace


class _Server:
    """As much of a socketserver.TCPServer as the tests call."""

    def __init__(self, port):
        self.socket = SimpleNamespace(getsockname=lambda: ("127.0.0.1", port))
        self._asked_to_end = threading.Event()

    def shutdown(self):
        self._asked_to_end.set()

    def server_close(self):
        pass

    def wait(self):
        self._asked_to_end.wait()


def _answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def run(config):
    """Serves until the server that stands in `listeners.TCPListeners` is shut down."""
    port = int(config[0].split()[1]) or int(os.environ["GATEWAY_PORT"])
    command = [os.environ["GATEWAY_BINARY"], "serve", "--data", os.path.join(os.environ["GATEWAY_DIR"], "data")]
    command += ["--native", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--mqtt", f"127.0.0.1:{port}"]
    with open(os.path.join(os.environ["GATEWAY_DIR"], "log"), "a", encoding="utf-8") as log:
        gateway = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        while not _answers(port):
            if gateway.poll() is not None:
                raise RuntimeError("the gateway ended")
            time.sleep(0.05)
        server = _Server(port)
        listeners.TCPListeners.server = server
        server.wait()
    finally:
        listeners.TCPListeners.server = None
        gateway.terminate()
        gateway.wait()


listeners = SimpleNamespace(TCPListeners=SimpleNamespace(server=None))
