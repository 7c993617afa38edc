"""Hit rates, spend and response times of Deja on generated traffic: python3 bench/traffic.py [--requests N] [--seed S]
[--delay-ms MS] [--reworded PART] [--json FILE].

The traffic and all it assumes: tests/support/traffic.py. A fake model answers after --delay-ms (real ones take
longer, which favours the cache more). With --reworded 0.3, three of ten repetitions are worded otherwise, and the
model all-minilm-l6-v2 has to find them; answers of another question are counted as wrong. Ends with 1 unless: hit rates
are above 60 % in all, 80 % of repeated questions and 90 % of templates; answers and scores cost at least 60 % less; a
cached answer takes at most a tenth of an uncached one's time. Wrong answers are told, and without --reworded are a fault.
"""
import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from common import ROOT, pulled_models

sys.path.insert(0, str(ROOT / "tests" / "integration"))
import httpx  # noqa: E402
import redis  # noqa: E402
import traffic as generated  # noqa: E402
from fake_upstream import FakeUpstream  # noqa: E402
from resp import RespDaemon  # noqa: E402

GOALS = {"overall": 0.6, "repeated": 0.8, "template": 0.9}


def run(options):
    traffic = generated.Traffic(options.requests, options.seed, options.reworded)
    upstream = FakeUpstream().start()
    upstream.delay_s = options.delay_ms / 1000
    with tempfile.TemporaryDirectory() as folder:
        models = None
        if options.reworded:
            models = pulled_models()
        searched = {"DEJA_SEMANTIC__ENABLED": "true" if options.reworded else "false"}
        daemon = RespDaemon(Path(folder), upstream=upstream.url, models=models,
                            env={**generated.SETTINGS, **searched}).start()
        try:
            with (httpx.Client(base_url=daemon.url, headers={"Authorization": "Bearer sk-bench"}, timeout=60,
                               trust_env=False) as client,
                  redis.Redis(port=daemon.resp_port, password="sk-bench") as resp):
                player = generated.Player(client, resp, traffic, options.delay_ms / 1000)
                played = [result for step in traffic.steps if (result := player.play(step))]
                stats = client.get("/api/v1/stats").json()
        finally:
            daemon.stop()
            upstream.stop()
    return traffic, played, stats


def report(options, traffic, played, stats):
    hits = [one.is_hit for one in played]
    rates = generated.rates(traffic.asked, hits)
    ai_spent, ai_all = generated.without_documents(traffic.asked, hits)
    all_spent, everything = generated.spent(traffic.asked, hits)
    ms = {state: [one.seconds * 1e3 for one, asked in zip(played, traffic.asked, strict=True)
                  if asked.is_ai and one.is_hit is state] for state in (True, False)}
    kind = stats["period"]["kinds"]["response"]
    told = kind["saved"]["cost_usd"]
    total = stats["period"]["total"]
    return {
        "requests": len(played), "seed": options.seed, "delay_ms": options.delay_ms, "reworded": options.reworded,
        "hit_rate": rates, "wrong": sum(one.is_wrong for one in played),
        "less_spend": 1 - ai_spent / ai_all, "less_spend_with_documents": 1 - all_spent / everything,
        "daemon": {"saved_usd": told, "spent_usd": kind["spent_usd"],
                   "less_spend": told / (told + kind["spent_usd"]), "hit_rate": kind["hit_rate"],
                   "all_saved_usd": total["saved"]["cost_usd"], "all_hit_rate": total["hit_rate"]},
        "ms": {"cached": statistics.median(ms[True]), "uncached": statistics.median(ms[False])},
        "less_time": 1 - statistics.median(ms[True]) / statistics.median(ms[False]),
    }


def print_report(made):
    print(f"{made['requests']} requests, seed {made['seed']}, {made['reworded']:.0%} of repetitions reworded\n")
    for name, rate in sorted(made["hit_rate"].items(), key=lambda item: -item[1]):
        goal = f"  (goal > {GOALS[name]:.0%})" if name in GOALS else ""
        print(f"  hit rate   {name:<10} {rate:7.1%}{goal}")
    print(f"  spend      answers and scores {made['less_spend']:.1%} less (goal >= 60 %), with documents "
          f"{made['less_spend_with_documents']:.1%}; of proxied answers the daemon says {made['daemon']['less_spend']:.1%}")
    print(f"  time       cached {made['ms']['cached']:.2f} ms, uncached {made['ms']['uncached']:.1f} ms: "
          f"{made['less_time']:.1%} less (goal >= 90 %)")
    print(f"  wrong      {made['wrong']} answers of another question")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--delay-ms", type=float, default=50)
    parser.add_argument("--reworded", type=float, default=0.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    made = report(options, *run(options))
    print_report(made)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(made, indent=1) + "\n")
    is_good = (all(made["hit_rate"][name] > goal for name, goal in GOALS.items()) and made["less_spend"] >= 0.6
               and made["less_time"] >= 0.9 and (options.reworded or not made["wrong"]))
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
