#!/usr/bin/env python3
"""Exact hits per second on one core, beside nginx answering `return 200` to the same POST.

Both servers run on one core, wrk on another, 50 connections, in turns, so that what else the machine
does hits both. What counts is the ratio of a turn; it is printed with its spread.

    ./dev bench exact        or  python3 bench/exact_hits.py [--rounds 7] [--seconds 3]
"""
import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from common import TOOLS, cores, make_daemon, spread, write_result

DEBIAN = TOOLS / "debian"
ANSWER_BYTES = 1024


def tool(path):
    found = DEBIAN / path
    if not found.exists():
        sys.exit(f"{path} is not in build/tools: run it through ./dev bench")
    return str(found)


def tool_environment():
    paths = [str(DEBIAN / "usr/lib" / f"{os.uname().machine}-linux-gnu"), str(DEBIAN / "usr/lib")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(paths)}


def on_core(core, command):
    return ["taskset", "-c", str(core), *command]


def request_body():
    return json.dumps({"model": "long:75", "temperature": 0, "messages": [
        {"role": "system", "content": "You are a helpful assistant that answers briefly."},
        {"role": "user", "content": "How do I reset the password of my account?"}]})


def start_nginx(folder, core, port):
    conf = Path(folder) / "nginx.conf"
    conf.write_text(f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_temp_path {folder}/b;
  proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; default_type application/json;
    location / {{ return 200 "{"x" * ANSWER_BYTES}"; }} }}
}}
""")
    return subprocess.Popen(on_core(core, [tool("usr/sbin/nginx"), "-c", str(conf), "-p", folder]),
                            env=tool_environment(), stderr=subprocess.DEVNULL)


def wrk(core, url, script, seconds, connections):
    done = subprocess.run(
        on_core(core, [tool("usr/bin/wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, url]),
        env=tool_environment(), capture_output=True, text=True, check=True)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    if "Non-2xx" in done.stdout:
        sys.exit(done.stdout)
    return rate, float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]]


def write_script(folder):
    path = Path(folder) / "post.lua"
    path.write_text('wrk.method = "POST"\nwrk.body = ' + json.dumps(request_body()) + "\n"
                    'wrk.headers["Content-Type"] = "application/json"\n'
                    'wrk.headers["Authorization"] = "Bearer sk-bench"\n')
    return str(path)


def prime(daemon):
    """One request upstream, then one that must be a hit; the hit's size is told."""
    for turn in range(2):
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port)
        connection.request("POST", "/v1/chat/completions", request_body(), {
            "Content-Type": "application/json", "Authorization": "Bearer sk-bench"})
        answer = connection.getresponse()
        body = answer.read()
        if turn and answer.headers["X-Cache-Hit"] != "true":
            sys.exit(f"not a hit: {answer.headers}")
    return len(body)


def main():
    from daemon import free_port
    from fake_upstream import FakeUpstream

    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=50)
    options = parser.parse_args()
    if len(cores()) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    server_core, load_core = cores()[:2]

    upstream = FakeUpstream().start()
    daemon = make_daemon(upstream.url, env={"DEJA_SERVER__LOOPS": "1"})
    os.sched_setaffinity(0, {server_core})  # inherited by the daemon and all its threads
    daemon.start()
    os.sched_setaffinity(0, {server_core, load_core})
    size = prime(daemon)
    with tempfile.TemporaryDirectory(prefix="deja-bench-") as folder:
        port = free_port()
        nginx = start_nginx(folder, server_core, port)
        script = write_script(folder)
        wrk(load_core, daemon.v1 + "/chat/completions", script, 1, options.connections)
        wrk(load_core, f"http://127.0.0.1:{port}/v1/chat/completions", script, 1, options.connections)
        turns = []
        for number in range(options.rounds):
            ours, p99 = wrk(load_core, daemon.v1 + "/chat/completions", script, options.seconds, options.connections)
            theirs, theirs_p99 = wrk(load_core, f"http://127.0.0.1:{port}/v1/chat/completions", script,
                                     options.seconds, options.connections)
            turns.append({"deja": ours, "nginx": theirs, "ratio": ours / theirs, "deja_p99_ms": p99,
                          "nginx_p99_ms": theirs_p99})
            print(f"  turn {number + 1}: deja {ours:9.0f}/s (p99 {p99:.2f} ms)  nginx {theirs:9.0f}/s "
                  f"(p99 {theirs_p99:.2f} ms)  ratio {ours / theirs:.2f}")
        nginx.terminate()
        nginx.wait()
    daemon.stop()
    upstream.stop()
    ratio = spread([turn["ratio"] for turn in turns])
    print(f"exact hits on one core, {options.connections} connections, answer of {size} bytes: "
          f"ratio to nginx {ratio['median']:.2f} (middle half {ratio['quartiles'][0]:.2f} to "
          f"{ratio['quartiles'][1]:.2f}, all {ratio['min']:.2f} to {ratio['max']:.2f})")
    write_result("exact_hits", {"answer_bytes": size, "connections": options.connections, "ratio": ratio, "turns": turns})


if __name__ == "__main__":
    main()
