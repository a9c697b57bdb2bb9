"""Kills servers and roles of a whole cluster under load, and accounts for what was acknowledged."""

import json
import os
import random
import signal
import sys
import time

from cluster import Cluster, running
from failures import KINDS
from ledger import compare, positions_of_stream, wait_until_caught_up, wait_until_done
from load import Load
from processes import wait_for

# A killed process is started again after so long, as a supervisor does.
RESTART_AFTER = 2


def fail_once(cluster, load, kind):
    """Provokes one failure and waits until everything is back. Returns its figures."""
    begun = time.monotonic()
    name, start_again = KINDS[kind](cluster)
    time.sleep(RESTART_AFTER)
    start_again()
    wait_for(f"all is back after {kind}", cluster.is_whole, 240, every=0.5)
    since = time.monotonic()
    for direction in ("write", "read"):
        wait_for(f"a {direction} succeeds after {kind}",
                 lambda: load.succeeded_since(direction, since), 60)
    ended = time.monotonic()
    figures = {"kind": kind, "what": name, "seconds": ended - begun}
    for direction in ("write", "read"):
        figures[direction] = load.outage(direction, begun, ended)
    print(f"{kind:32} {name:10} {figures['seconds']:6.1f} s  write {figures['write']}"
          f"  read {figures['read']}", flush=True)
    return figures


def table(rows):
    print("\n| failure | without writes (s) | without reads (s) | requests failed (writes, reads) |")
    print("|---|---|---|---|")
    for row in rows:
        (writes, failed_writes, _), (reads, failed_reads, _) = row["write"], row["read"]
        print(f"| {row['kind']} ({row['what']}) | {writes:.1f} | {reads:.1f} |"
              f" {failed_writes}, {failed_reads} |")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    seed = int(os.environ.get("HA_SEED", random.randrange(10_000)))
    rounds = int(os.environ.get("HA_ROUNDS", 1))
    random.seed(seed)
    kinds = [kind for kind in KINDS if os.environ.get("HA_ONLY", "") in kind] * rounds
    random.shuffle(kinds)
    with running(Cluster, "tributary-ha-") as cluster:
        print(f"seed {seed}: the cluster runs in {cluster.folder}", flush=True)
        load = Load(cluster.port("http"), cluster.port("mosquitto"), cluster.token)
        load.start()
        wait_for("the stream has three replicas", cluster.is_whole, 60)
        wait_for("the first read", lambda: load.succeeded_since("read", 0), 60)
        calm = time.monotonic()
        time.sleep(3)
        print(f"without a failure: write {load.outage('write', calm, time.monotonic())}"
              f"  read {load.outage('read', calm, time.monotonic())}", flush=True)
        rows = [fail_once(cluster, load, kind) for kind in kinds]
        load.stop()
        wait_until_done(cluster)
        lag = wait_until_caught_up(cluster)
        result = compare(cluster, load)
        positions = positions_of_stream(cluster)
        in_order = positions == list(range(1, result["head"] + 1))
        verified = cluster.tributary("verify").strip()
        parked = sum(each["parked"] for each in lag)
        attempts = {kind: len(each) for kind, each in load.attempts.items()}
        table(rows)
        print(f"\n{len(rows)} failures, seed {seed}. Requests: {attempts['write']} writes,"
              f" {attempts['read']} reads. Acknowledged: {result['works']} works and"
              f" {result['readings']} readings over HTTP, {result['published']} readings over MQTT."
              f"\nAcknowledged and lost: {len(result['lost'])}. Stored twice:"
              f" {len(result['doubled'])}. Works not done: {result['undone']}."
              f" Events: {result['head']}; in EVENTS, each once and in order: {in_order}."
              f" Parked: {parked}.\n{verified}", flush=True)
        wrong = [outcome for each in load.attempts.values() for *_, outcome in each
                 if outcome[:1] == "4" or outcome[:3] == "500"]
        if wrong:
            print(f"unexpected responses: {json.dumps(wrong[:5])}")
        if result["lost"] or result["doubled"] or result["undone"] or parked or wrong or not in_order:
            raise SystemExit(f"FAILED; lost {result['lost'][:10]}, twice {result['doubled'][:10]}")
        print("ok")


main()
