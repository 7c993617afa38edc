"""nginx, as the one to compare with: unpacked under build/tools, or the system's; never a service."""
import os
import shutil
import subprocess
from pathlib import Path

from daemon import TOOLS, free_port, poll

DEBIAN = TOOLS / "debian"


def find_nginx():
    for path in (DEBIAN / "usr/sbin/nginx", Path("/usr/sbin/nginx")):
        if path.exists():
            return str(path)
    return shutil.which("nginx")


def environment():
    paths = [str(DEBIAN / "usr/lib" / f"{os.uname().machine}-linux-gnu"), str(DEBIAN / "usr/lib")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(paths)}


class Nginx:
    """One process in the foreground. http: directives of the http block; $PORT in it is the port."""

    def __init__(self, folder, http):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.log = self.folder / "error.log"
        paths = "".join(f"{name}_temp_path {self.folder}/{name};\n"
                        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        self.conf = self.folder / "nginx.conf"
        self.conf.write_text(
            f"daemon off; master_process off; pid {self.folder}/pid; error_log {self.log} info;\n"
            f"events {{ worker_connections 4096; }}\n"
            f"http {{ access_log off;\n{paths}{http.replace('$PORT', str(self.port))}\n}}\n")

    def start(self):
        self.process = subprocess.Popen([find_nginx(), "-c", str(self.conf), "-p", str(self.folder)],
                                        env=environment(), stdin=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        poll(self._listens, "nginx to listen")
        return self

    def _listens(self):
        import socket

        assert self.process.poll() is None, self.log.read_text() if self.log.exists() else "nginx ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
