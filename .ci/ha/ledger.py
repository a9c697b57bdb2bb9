"""Compares what was acknowledged with what the log, the read models and the stream hold."""

import asyncio
import json
import time

import nats
import psycopg

from processes import wait_for


def wait_until_caught_up(cluster, seconds=120):
    """Waits until every consumer is at the head of a log that no longer grows."""
    end = time.monotonic() + seconds
    lag = []
    while time.monotonic() < end:
        lag = json.loads(cluster.tributary("lag", "--json"))
        lag = lag.get("projections", lag) if isinstance(lag, dict) else lag
        if all(each["events_behind"] == 0 for each in lag):
            return lag
        time.sleep(1)
    behind = {each["name"]: each["events_behind"] for each in lag if each["events_behind"]}
    raise SystemExit(f"consumers are behind after {seconds} s: {behind}")


def wait_until_done(cluster, seconds=120):
    """Waits until every work is done: the lease of a worker that was killed has to expire first."""
    with psycopg.connect(cluster.admin_url, autocommit=True) as connection:
        wait_for("every work is done", lambda: connection.execute(
            "select count(*) from works.work where not done").fetchone()[0] == 0, seconds)


def count(connection, sql, *values):
    return connection.execute(sql, values).fetchall()


def compare(cluster, load):
    """Returns the numbers of what was acknowledged and is lost, and of what is stored twice."""
    with psycopg.connect(cluster.admin_url) as connection:
        works = {}
        for (n,) in count(connection, "select (data->>'add_up_to')::bigint from log.event"
                                      " where event_type = 'work_demanded'"):
            works[n] = works.get(n, 0) + 1
        readings = {}
        rows = count(connection, "select data->>'user_id', data->>'device_id',"
                                 " (data->>'sequence_id')::bigint from log.event"
                                 " where event_type = 'reading_recorded'")
        for user, device, number in rows:
            readings[user, device, number] = readings.get((user, device, number), 0) + 1
        head = connection.execute("select position from log.head").fetchone()[0]
        undone = count(connection, "select count(*) from works.work where not done")[0][0]
    acknowledged = {("ha3", *each) for each in load.readings} | load.published
    lost = [n for n in load.works if n not in works]
    lost += [each for each in acknowledged if each not in readings]
    doubled = [n for n, times in works.items() if times > 1]
    doubled += [each for each, times in readings.items() if times > 1]
    return {
        "works": len(load.works), "readings": len(load.readings), "published": len(load.published),
        "lost": lost, "doubled": doubled, "head": head, "undone": undone,
    }


async def stream_positions(cluster):
    """The position of each message in EVENTS, in order."""
    client = await nats.connect(cluster.nats_url("admin").split(","))
    subscription = await client.jetstream().subscribe("events.>", ordered_consumer=True)
    positions = []
    try:
        while True:
            message = await subscription.next_msg(timeout=5)
            positions.append(int(message.headers["Tributary-Position"]))
            if message.metadata.num_pending == 0:
                return positions
    finally:
        await client.close()


def positions_of_stream(cluster):
    return asyncio.run(stream_positions(cluster))
