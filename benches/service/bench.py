#!/usr/bin/env python3
"""Measures `phase6 serve` and prints a table: throughput beside the bare exports, latency beside `phase6 run`, and what it costs idle.

Every figure is of the real program in a process of its own. One run takes some three minutes."""

import argparse
import datetime
import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TICK = os.sysconf("SC_CLK_TCK")
FIRST_DAY = datetime.date(2010, 1, 1)


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--phase6", required=True, type=Path, help="the program, a release build")
    p.add_argument("--data", type=Path, help="the large sample (../shared/data); without it there is no latency")
    p.add_argument("--work", required=True, type=Path, help="scratch; syncs cost nothing on tmpfs, so name a real disk too")
    p.add_argument("--messages", type=int, default=5000, help="the backlog (default: 5000)")
    p.add_argument("--rounds", type=int, default=11, help="rounds of the latency and the start-up (default: 11)")
    p.add_argument("--idle", type=float, default=60, help="seconds of idling (default: 60)")
    p.add_argument("--only", default="throughput,latency,idle")
    p.add_argument("--results", type=Path, help="where the figures go as JSON")
    args = p.parse_args()
    args.phase6, args.work = args.phase6.resolve(), args.work.resolve()
    return args


class Measured:
    """A process that ended: wall and CPU seconds, peak memory in MB."""

    def __init__(self, command, **options):
        begun = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
        said = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        self.wall = time.perf_counter() - begun
        self.cpu = usage.ru_utime + usage.ru_stime
        self.rss = usage.ru_maxrss / 1024
        if status:
            sys.exit(f"{' '.join(map(str, command))} failed:\n{said.decode()}")


class Serve:
    """A running service."""

    def __init__(self, args, folder, *options):
        self.log = folder / "serve.log"
        command = [args.phase6, "serve", "--log-format", "json", *options]
        begun = time.perf_counter()
        with open(self.log, "wb") as sink:
            self.child = subprocess.Popen(command, cwd=folder, stdout=sink, stderr=sink)
        while b"started on target" not in self.log.read_bytes():
            if self.child.poll() is not None:
                sys.exit(f"serve ended: {self.log.read_text()}")
            time.sleep(0.002)
        self.startup = time.perf_counter() - begun

    def cpu(self):
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def rss(self):
        for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        if self.child.wait(60):
            sys.exit(f"serve ended with {self.child.returncode}: {self.log.read_text()[-2000:]}")


def fresh(folder, *sources):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for source in sources:
        if source.is_dir():
            shutil.copytree(source, folder / source.name)
        else:
            shutil.copy(source, folder)
    return folder


def trivial(args, name):
    return fresh(args.work / name, *(HERE / "project").iterdir())


def waiting(bus):
    sql = """SELECT count(*) FROM waiting JOIN subscription s ON s.id = subscription WHERE s.name = 'phase6-export'"""
    with sqlite3.connect(f"file:{bus}/bus.sqlite3?mode=ro", uri=True) as connection:
        return connection.execute(sql).fetchone()[0]


def throughput(args):
    """The backlog, each message with a cause and a day of its own, beside a backfill of the same days in one process."""
    days = [FIRST_DAY + datetime.timedelta(days=n) for n in range(args.messages)]
    bare = Measured([args.phase6, "backfill", "trivial", "--from", str(days[0]), "--to", str(days[-1]), "--jobs", "2", "-q",
                     "--update-latest"], cwd=trivial(args, "bare"))
    folder = trivial(args, "queue")
    with open(folder / "messages.jsonl", "w") as file:
        for n, day in enumerate(days):
            body = {"export_types": ["trivial"], "target_date": str(day), "update_latest": True, "correlation_id": f"cause-{n}"}
            print(json.dumps(body), file=file)
    with open(folder / "messages.jsonl") as file:
        publish = Measured([args.phase6, "publish", "export_trigger", "--jsonl", "-q"], cwd=folder, stdin=file)
    serve = Serve(args, folder)
    begun, samples, before = time.perf_counter(), [], serve.cpu()
    while True:
        left = waiting(folder / "bus")
        samples.append((left, serve.rss()))
        if left == 0:
            break
        time.sleep(0.1)
    wall, cpu = time.perf_counter() - begun + serve.startup, serve.cpu()
    serve.stop()
    made = len(list((folder / "public" / "trivial").iterdir())) - 1
    assert made == args.messages, f"{made} documents of {args.messages}"
    at = lambda part: next(rss for left, rss in samples if left <= args.messages * part)
    n = args.messages
    return {
        "messages": n, "publish s": publish.wall, "bare wall s": bare.wall, "bare cpu s": bare.cpu, "bare peak MB": bare.rss,
        "serve wall s": wall, "serve cpu s": cpu, "messages/s": n / wall, "overhead wall ms a run": (wall - bare.wall) / n * 1e3,
        "overhead cpu ms a run": (cpu - bare.cpu) / n * 1e3, "rss MB with 90 % waiting": at(0.9),
        "rss MB with 50 %": at(0.5), "rss MB with 10 %": at(0.1), "peak rss MB": max(rss for _, rss in samples),
    }


def shipped(args, name):
    return fresh(args.work / name, ROOT / "phase6_publishing.yaml", ROOT / "exports", ROOT / "schemas")


def upstream(n):
    batch = f"batch_2022-03-18_{n}"
    return json.dumps({"processor_name": "PredictionCoordinator", "phase": "phase_5_predictions", "execution_id": batch,
                       "correlation_id": f"abc-{n}", "game_date": "2022-03-18", "output_table": "player_prop_predictions",
                       "status": "success", "record_count": 450,
                       "metadata": {"batch_id": batch, "expected_predictions": 450, "completed_predictions": 448,
                                    "failed_predictions": 2, "completion_pct": 99.55}})


def seen(path):
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def latency(args):
    """From the upstream message to `tonight`, beside `phase6 run --only tonight`; each round at a second of its own, so that
    the document changes."""
    folder, alone = shipped(args, "latency"), shipped(args, "alone")
    common = ["--data", args.data.resolve(), "--var", "champion_system=ensemble_v1"]
    serve = Serve(args, folder, *common, "--listen", "127.0.0.1:0")
    document = folder / ".phase6/public/v1/tonight/2022-03-18.json"
    runs, events, with_publish = [], [], []
    for n in range(args.rounds):
        now = f"2022-03-18T22:00:{n:02}Z"
        run = Measured([args.phase6, "run", "--only", "tonight", "--date", "2022-03-18", "--now", now, "-q", *common], cwd=alone)
        runs.append(run.wall)
        before, begun = seen(document), time.perf_counter()
        Measured([args.phase6, "publish", "nba-phase5-predictions-complete", "--now", now, "--message", upstream(n), "-q"],
                 cwd=folder)
        published = time.perf_counter()
        while seen(document) == before:
            if time.perf_counter() - begun > 60:
                sys.exit(f"no document: {serve.log.read_text()[-3000:]}")
            time.sleep(0.001)
        events.append(time.perf_counter() - published)
        with_publish.append(time.perf_counter() - begun)
        while waiting(folder / ".phase6/bus"):
            time.sleep(0.02)
    rss = serve.rss()
    serve.stop()
    run, event = statistics.median(runs), statistics.median(events)
    return {"run s": run, "message to document s": event, "the first s": events[0], "ratio": event / run,
            "with the publishing process s": statistics.median(with_publish), "rss MB after": rss}


def idle(args):
    """The shipped project with monitor and door, asked by nobody."""
    folder = fresh(args.work / "idle", ROOT / "phase6_publishing.yaml", ROOT / "exports", ROOT / "schemas", ROOT / "demo")
    startups = []
    for _ in range(args.rounds):
        serve = Serve(args, folder, "--listen", "127.0.0.1:0")
        startups.append(serve.startup)
        serve.stop()
    serve = Serve(args, folder, "--listen", "127.0.0.1:0")
    time.sleep(2)
    cpu, begun = serve.cpu(), time.perf_counter()
    time.sleep(args.idle)
    used = (serve.cpu() - cpu) / (time.perf_counter() - begun)
    rss = serve.rss()
    serve.stop()
    return {"start-up s median": statistics.median(startups), "start-up s longest": max(startups), "idle % of a core": used * 100,
            "idle rss MB": rss}


def main():
    args = arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in args.only.split(","):
        if name == "latency" and args.data is None:
            continue
        results[name] = {"throughput": throughput, "latency": latency, "idle": idle}[name](args)
        for what, value in results[name].items():
            print(f"| {name} | {what} | {value:.3f} |" if isinstance(value, float) else f"| {name} | {what} | {value} |", flush=True)
    if args.results:
        args.results.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
