"""Real servers for tests of the shared tier: Valkey 8 and Redis 7, alone, as a cluster, with
Sentinels. Unpacked under build/tools by tools/dev/redis.sh, or the system's; never services."""
import os
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

from daemon import BINARY, TOOLS, free_port, poll

DRIVER = BINARY.parent / "tests" / "redis_driver"
CERTIFICATE_DAYS = "2"


def command_of(kind):
    """How the server is started: 'valkey' or 'redis'."""
    made = TOOLS / kind / f"{kind}-server"
    found = str(made) if made.exists() else shutil.which(f"{kind}-server")
    assert found, f"no {kind}-server: ./dev test fetches it (tools/dev/redis.sh)"
    return found


def encode(*words):
    parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


class Client:
    """As little of RESP2 as tests need to look behind the tier's back."""

    def __init__(self, port, password=None, user=None, context=None):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.file = self.socket.makefile("rb")
        if password is not None:
            self("AUTH", *([user] if user else []), password)

    def __call__(self, *words):
        self.socket.sendall(encode(*words))
        return self.read()

    def read(self):
        line = self.file.readline()
        assert line.endswith(b"\r\n"), line
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if rest == b"-1":
                return None
            return self.file.read(int(rest) + 2)[:-2]
        assert kind == b"*", line
        return None if rest == b"-1" else [self.read() for _ in range(int(rest))]

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# What a server has to be told so that nobody may run a script.
NO_SCRIPTS = ("user default on nopass ~* &* +@all -@scripting",)


class Server:
    """One server. options: further lines of its configuration."""

    def __init__(self, folder, kind="valkey", options=(), port=None, command=None, listen=True):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.command = command or [command_of(kind)]
        self.conf = self.folder / "server.conf"
        lines = ["bind 127.0.0.1", f"dir {self.folder}", "daemonize no", f"logfile {self.folder}/log",
                 'save ""', *([f"port {self.port}"] if listen else []), *options]
        self.conf.write_text("\n".join(lines) + "\n")
        self.process = None

    def start(self, wait=True):
        self.process = subprocess.Popen([*self.command[:1], str(self.conf), *self.command[1:]],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        if wait:
            poll(self._listens, "a server to listen")
        return self

    def _listens(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True

    def client(self, **kwargs):
        return Client(self.port, **kwargs)

    def call(self, *words):
        with self.client() as client:
            return client(*words)

    def pause(self):
        self.process.send_signal(19)  # SIGSTOP

    def resume(self):
        self.process.send_signal(18)  # SIGCONT

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)

    stop = kill


def make_certificates(folder):
    """An authority, a server's and a client's certificate: paths by name."""
    folder = Path(folder)

    def run(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)

    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt",
        "-days", CERTIFICATE_DAYS, "-subj", "/CN=test authority", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    # Python 3.13 wants what RFC 5280 wants of an authority and of what it has signed.
    (folder / "server.ext").write_text("subjectAltName=DNS:localhost,DNS:valkey.test\n"
                                       "authorityKeyIdentifier=keyid\n")
    for name in ("server", "client"):
        run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
            "-subj", f"/CN={name}")
        extra = ["-extfile", "server.ext"] if name == "server" else []
        run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
            "-CAcreateserial", "-out", f"{name}.crt", "-days", CERTIFICATE_DAYS, *extra)
    return {f"{name}_{end}": str(folder / f"{name}.{end}")
            for name in ("ca", "server", "client") for end in ("crt", "key")}


class TlsServer(Server):
    """TLS only, a client certificate wanted, an ACL user "deja" with the password "wonder"."""

    def __init__(self, folder, kind="valkey", acl="~deja:* &* +@all -@admin"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.paths = make_certificates(folder)
        port = free_port()
        super().__init__(folder, kind, port=port, listen=False, options=[
            "port 0", f"tls-port {port}", f"tls-cert-file {self.paths['server_crt']}",
            f"tls-key-file {self.paths['server_key']}", f"tls-ca-cert-file {self.paths['ca_crt']}",
            "tls-auth-clients yes", "user default off", f"user deja on >wonder {acl}",
            "user admin on >root ~* &* +@all"])

    def context(self):
        context = ssl.create_default_context(cafile=self.paths["ca_crt"])
        context.load_cert_chain(self.paths["client_crt"], self.paths["client_key"])
        return context

    def options(self):
        return {"address": f"localhost:{self.port}", "tls": 1, "ca": self.paths["ca_crt"],
                "cert": self.paths["client_crt"], "key": self.paths["client_key"], "user": "deja",
                "password": "wonder"}


class Cluster:
    """Three masters with a replica each; nodes[0..2] begin as masters."""

    def __init__(self, folder, kind="valkey"):
        self.nodes = [Server(Path(folder) / f"node{i}", kind, options=[
            "cluster-enabled yes", f"cluster-config-file nodes.conf", "cluster-node-timeout 1000",
            "cluster-replica-validity-factor 0", "repl-diskless-sync-delay 0",
            f"cluster-port {free_port()}"])
            for i in range(6)]

    def start(self):
        for node in self.nodes:
            node.start()
        first = self.nodes[0]
        for index, node in enumerate(self.nodes[:3]):
            begin, end = 16384 * index // 3, 16384 * (index + 1) // 3
            node.call("CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
            node.call("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for node in self.nodes[1:]:
            bus = node.conf.read_text().split("cluster-port ")[1].split()[0]
            first.call("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        poll(lambda: all(self._known(node) == 6 for node in self.nodes), "the nodes to meet")
        for master, replica in zip(self.nodes[:3], self.nodes[3:]):
            replica.call("CLUSTER", "REPLICATE", self.id_of(master))
        self.wait_ok(self.nodes)
        poll(lambda: all(self._linked(node) for node in self.nodes[3:]), "the replicas to follow")
        return self

    def _known(self, node):
        info = node.call("CLUSTER", "INFO").decode()
        return int(info.split("cluster_known_nodes:")[1].split()[0])

    def _linked(self, node):
        return b"master_link_status:up" in node.call("INFO", "replication")

    def wait_ok(self, nodes):
        poll(lambda: all(b"cluster_state:ok" in node.call("CLUSTER", "INFO") for node in nodes),
             "the cluster to be whole")

    @staticmethod
    def id_of(node):
        return node.call("CLUSTER", "MYID").decode()

    def seeds(self):
        return [("address", f"127.0.0.1:{node.port}") for node in self.nodes[:2]]

    def masters(self):
        return [node for node in self.nodes if node.process.poll() is None
                and b"role:master" in node.call("INFO", "replication")]

    def migrate(self, slot, source, target):
        """Moves a slot step by step, keys and all, as valkey-cli --cluster reshard does."""
        source_id, target_id = self.id_of(source), self.id_of(target)
        target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while keys := source.call("CLUSTER", "GETKEYSINSLOT", slot, 10):
            source.call("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for node in (target, source):
            node.call("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def stop(self):
        for node in self.nodes:
            node.kill()


class Sentinels:
    """A master, a replica and three sentinels that call the master "main"."""

    def __init__(self, folder, kind="valkey"):
        folder = Path(folder)
        self.master = Server(folder / "master", kind)
        self.replica = Server(folder / "replica", kind, options=[
            f"replicaof 127.0.0.1 {self.master.port}", "repl-diskless-sync-delay 0"])
        self.sentinels = [Server(folder / f"sentinel{i}", kind,
                                 command=[command_of(kind), "--sentinel"], options=[
            f"sentinel monitor main 127.0.0.1 {self.master.port} 2",
            "sentinel down-after-milliseconds main 500", "sentinel failover-timeout main 3000"])
            for i in range(3)]

    def start(self):
        self.master.start()
        self.replica.start()
        poll(lambda: b"master_link_status:up" in self.replica.call("INFO", "replication"),
             "the replica to follow")
        for sentinel in self.sentinels:
            sentinel.start()
        poll(lambda: all(self._sees(s) for s in self.sentinels), "the sentinels to meet")
        return self

    def _sees(self, sentinel):
        state = sentinel.call("SENTINEL", "MASTER", "main")
        named = {state[i]: state[i + 1] for i in range(0, len(state), 2)}
        return named[b"num-other-sentinels"] == b"2" and named[b"num-slaves"] == b"1"

    def options(self):
        return [("mode", "sentinel"), ("master", "main"),
                *[("address", f"127.0.0.1:{s.port}") for s in self.sentinels]]

    def stop(self):
        for server in (*self.sentinels, self.replica, self.master):
            server.kill()


class Driver:
    """The tier itself, in a process of its own: driver("get 1 2") is its answer."""

    def __init__(self, *pairs, log=None, **options):
        named = [*pairs, *options.items()]
        self.process = subprocess.Popen([str(DRIVER), *[f"{k}={v}" for k, v in named]],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, bufsize=1)

    def __call__(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, self.process.stderr.read()
        return answer.rstrip("\n")

    def until(self, command, wanted, timeout=30):
        """Repeats the command until its answer begins with what is wanted."""
        return poll(lambda: (answer := self(command)).startswith(wanted) and answer, command, timeout)

    def sockets(self):
        links = Path(f"/proc/{self.process.pid}/fd").iterdir()
        return sum("/socket:" in os.path.realpath(link) for link in links)

    def memory_kb(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])

    def close(self):
        """Ends it as the daemon would; a leak or a race fails the test under a sanitizer."""
        self.process.stdin.close()
        errors = self.process.stderr.read()
        assert self.process.wait(60) == 0, errors

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.close()
        else:
            self.process.kill()
