#!/usr/bin/env python3
"""A GET of 1 KB from Deja's memory beside the same from valkey-server, by redis-benchmark, in turns.

At -P 1 what counts is commands a second, at -P 16 commands a second of the server's own processor
time (the load generator takes more of the machine than either server). Both servers run one thread
for commands, and answer the same key with the same bytes.

    ./dev bench resp        or  python3 bench/resp.py [--turns 7] [--commands 200000]
"""
import argparse
import os
import sys
import tempfile
from pathlib import Path

from common import make_daemon, spread, write_result

CLIENTS = 50
KEY, VALUE_BYTES = "key:bench", 1024


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(port, pid, pipeline, commands):
    """Commands a second, and commands a second of the server's processor."""
    from resp import run_tool
    began = cpu_seconds(pid)
    done = run_tool("redis-benchmark", "-p", port, "-n", commands, "-c", CLIENTS, "-P", pipeline, "--csv",
                    "GET", KEY, timeout=600)
    took = cpu_seconds(pid) - began
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    rate = float(done.stdout.strip().splitlines()[-1].split('","')[1].strip('"'))
    return rate, commands / max(took, 0.01)


def turn(servers, commands):
    made = {}
    for pipeline in (1, 16):
        for name, (port, pid) in servers.items():
            made[f"{name}_p{pipeline}"], made[f"{name}_p{pipeline}_per_cpu_s"] = \
                measure(port, pid, pipeline, commands * (1 if pipeline == 1 else 5))
    made["p1_ratio"] = made["deja_p1"] / made["valkey_p1"]
    made["p16_per_cpu_ratio"] = made["deja_p16_per_cpu_s"] / made["valkey_p16_per_cpu_s"]
    return made


def pid_of_listener(server):
    """The server's own process, which a launcher may have become."""
    return int(server.call("INFO", "server").decode().split("process_id:")[1].split()[0])


def main():
    from daemon import free_port
    from valkey import Client, Server

    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--commands", type=int, default=200000, help="at -P 1; five times as many at -P 16")
    options = parser.parse_args()
    port = free_port()
    daemon = make_daemon(env={"DEJA_RESP__LISTEN": f"127.0.0.1:{port}", "DEJA_SERVER__LOOPS": "1",
                              "DEJA_SEMANTIC__ENABLED": "false"}).start()
    turns = []
    with tempfile.TemporaryDirectory(prefix="deja-bench-") as folder:
        valkey = Server(Path(folder) / "valkey").start()
        servers = {"valkey": (valkey.port, pid_of_listener(valkey)), "deja": (port, daemon.process.pid)}
        for server_port, _ in servers.values():
            with Client(server_port) as client:
                client("SET", KEY, b"x" * VALUE_BYTES)
        for number in range(options.turns + 1):
            made = turn(servers, options.commands if number else options.commands // 10)
            if number == 0:
                continue  # the first warms up
            turns.append(made)
            print(f"  turn {number}: -P 1 Deja {made['deja_p1']:9,.0f}/s  Valkey {made['valkey_p1']:9,.0f}/s  "
                  f"{made['p1_ratio']:.2f}    -P 16 per processor second Deja {made['deja_p16_per_cpu_s']:11,.0f}  "
                  f"Valkey {made['valkey_p16_per_cpu_s']:11,.0f}  {made['p16_per_cpu_ratio']:.2f}", flush=True)
        valkey.stop()
    daemon.stop()
    for name, text in (("p1_ratio", "GET of 1 KB at -P 1, Deja / Valkey"),
                       ("p16_per_cpu_ratio", "at -P 16, per processor second, Deja / Valkey")):
        ratio = spread([made[name] for made in turns])
        print(f"{text}: {ratio['median']:.2f} (middle half {ratio['quartiles'][0]:.2f} to "
              f"{ratio['quartiles'][1]:.2f}, all {ratio['min']:.2f} to {ratio['max']:.2f})")
    write_result("resp", {"value_bytes": VALUE_BYTES, "clients": CLIENTS,
                          "p1_ratio": spread([made["p1_ratio"] for made in turns]),
                          "p16_per_cpu_ratio": spread([made["p16_per_cpu_ratio"] for made in turns]),
                          "turns": turns})


if __name__ == "__main__":
    main()
