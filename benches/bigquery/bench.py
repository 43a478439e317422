#!/usr/bin/env python3
"""A 200,000-row result in BigQuery's wire format to a document, beside the bare JSON parse of its pages.

Serves the pages from this process and runs, in turn: `phase6 run` (its whole process: start, HTTP, pages, shape, contract, hash,
document on disk) and `parse_pages` (serde_json::from_slice::<Value> of the same bytes). Prints the processor time of each.
"""
import argparse
import http.server
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from urllib.parse import parse_qs, urlsplit

TYPES = {
    "game_date": "DATE", "game_id": "STRING", "player_lookup": "STRING", "team": "STRING", "predicted": "NUMERIC",
    "line": "NUMERIC", "confidence": "FLOAT", "actual": "INTEGER", "minutes": "NUMERIC", "correct": "BOOLEAN",
    "reason": "STRING", "graded_at": "TIMESTAMP",
}
TEAMS = ["HAV", "KEN", "ORM", "PEL", "TAV", "WIN"]


def row(i):
    day = 1 + i // 40 % 28
    date = f"2025-{1 + i // 1200 % 12:02d}-{day:02d}"
    home, away = TEAMS[i % 6], TEAMS[(i + 1) % 6]
    played = i % 17 != 0
    values = [
        date, f"{date.replace('-', '')}_{home}_{away}", f"player{i % 521:04d}lookup", home, f"{i % 350 / 10:g}",
        f"{i % 60 / 2:g}" if i % 9 else None, repr((i * 7919 % 10000) / 10000), str(i % 51),
        f"{i % 480 / 10:g}" if played else None, ["true", "false"][i % 2] if played else None,
        None if played else "DNP - Coach's \"Decision\"", str(1_735_689_600_000_000 + i * 61_000_123),
    ]
    return {"f": [{"v": value} for value in values]}


def pages(rows, size):
    schema = {"fields": [{"name": n, "type": t, "mode": "NULLABLE"} for n, t in TYPES.items()]}
    made = []
    for start in range(0, rows, size):
        end = min(start + size, rows)
        page = {"kind": "bigquery#getQueryResultsResponse", "etag": "e", "schema": schema,
                "jobReference": {"projectId": "bench", "jobId": "j", "location": "us-west2"}, "totalRows": str(rows)}
        if end < rows:
            page["pageToken"] = str(len(made) + 1)
        page |= {"rows": [row(i) for i in range(start, end)], "totalBytesProcessed": "1000", "jobComplete": True, "cacheHit": False}
        made.append(json.dumps(page, separators=(",", ":")).encode())
    return made


def serve(made):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, body):
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.answer(b'{"jobReference":{"projectId":"bench","jobId":"j","location":"us-west2"},"status":{"state":"RUNNING"}}')

        def do_GET(self):
            url = urlsplit(self.path)
            if "/queries/" in url.path:
                self.answer(made[int(parse_qs(url.query).get("pageToken", ["0"])[0])])
            else:
                self.answer(b'{"status":{"state":"DONE"},"statistics":{"query":{"totalBytesProcessed":"1000"}}}')

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


# A child's peak counts what its parent held when it was forked, and this process holds the pages: a small one stands between.
BETWEEN = """
import json, os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
said = child.stdout.read().decode()
_, status, usage = os.wait4(child.pid, 0)
print(json.dumps([status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said]))
"""


def measured(command, env=None):
    """Processor seconds and peak MB of a process, and what it said."""
    ran = subprocess.run([sys.executable, "-c", BETWEEN, *command], capture_output=True, env=env, check=True)
    status, cpu, peak, said = json.loads(ran.stdout)
    assert status == 0, said
    return cpu, peak, said


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--phase6", required=True)
    options.add_argument("--parse", required=True, help="the example parse_pages of phase6-test-servers, release build")
    options.add_argument("--rows", type=int, default=200_000)
    options.add_argument("--page", type=int, default=25_000)
    options.add_argument("--runs", type=int, default=5)
    given = options.parse_args()
    made = pages(given.rows, given.page)
    port = serve(made)
    here = os.path.dirname(os.path.abspath(__file__))
    parsed, whole, peaks = [], [], []
    with tempfile.TemporaryDirectory(dir="/dev/shm") as work:
        files = []
        for i, page in enumerate(made):
            files.append(os.path.join(work, f"page{i}.json"))
            with open(files[-1], "wb") as file:
                file.write(page)
        env = os.environ | {"BIGQUERY_EMULATOR_HOST": f"127.0.0.1:{port}"}
        for i in range(given.runs):
            parsed.append(float(measured([given.parse, *files])[2]))
            out = os.path.join(work, f"out{i}")
            command = [given.phase6, "run", "--config", os.path.join(here, "project"), "--out", out, "--date", "2025-12-31"]
            cpu, peak, _ = measured(command, env)
            whole.append(cpu)
            peaks.append(peak)
            with open(os.path.join(out, "wide", "accuracy.json"), "rb") as file:
                document = json.load(file)
            assert document["total"] == given.rows == len(document["rows"])
    size = sum(map(len, made))
    print(f"{given.rows} rows, {len(TYPES)} columns, {len(made)} pages, {size / 1e6:.1f} MB; {given.runs} runs, median (least) CPU seconds")
    print(f"from_slice::<Value> of the pages   {statistics.median(parsed):.2f} ({min(parsed):.2f})")
    print(f"phase6 run, whole process          {statistics.median(whole):.2f} ({min(whole):.2f}), peak {max(peaks):.0f} MB")
    print(f"ratio                              {statistics.median(whole) / statistics.median(parsed):.2f} (of the least: {min(whole) / min(parsed):.2f})")


if __name__ == "__main__":
    main()
