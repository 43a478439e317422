#!/usr/bin/env python3
"""Measures `phase6 deploy --dry-run` of the shipped project where everything is as it has to be and every call takes a while (--delay),
on the strict server of the services that it calls (tests/servers/examples/cloud.rs); and `--emit`, which calls nobody."""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APIS = ["BIGQUERY", "STORAGE", "PUBSUB", "MONITORING", "LOGGING", "CLOUD_SCHEDULER", "CLOUD_RUN", "IAM", "RESOURCE_MANAGER", "SERVICE_USAGE",
        "SECRET_MANAGER"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--phase6", required=True, type=Path, help="the program, a release build with the feature gcp")
    p.add_argument("--cloud", required=True, type=Path, help="the example `cloud` of tests/servers")
    p.add_argument("--delay", type=int, default=100, help="before each answer, in milliseconds")
    p.add_argument("--rounds", type=int, default=9)
    args = p.parse_args()
    server = subprocess.Popen([args.cloud], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    url = server.stdout.readline().strip()
    env = dict(os.environ, **{f"{api}_EMULATOR_HOST": url for api in APIS})

    def tell(line):
        server.stdin.write(line + "\n")
        server.stdin.flush()
        return int(server.stdout.readline().split()[1])

    def deploy(*words):
        command = [args.phase6, "deploy", "--config", ROOT, *words]
        return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout

    for step in json.loads(deploy("--dry-run", "--format", "json"))["steps"]:
        if step["name"].startswith("table "):
            project, table = step["name"][6:].split(":")
            dataset, name = table.split(".")
            tell(f"table projects/{project}/datasets/{dataset}/tables/{name}")
    deploy("--yes", "--image", "image:1")
    assert "create 0 (+), change 0 (~)" in deploy("--dry-run"), "it is not all there"
    for delay in (0, args.delay):
        before = tell(f"delay {delay}")
        took = []
        for _ in range(args.rounds):
            begun = time.perf_counter()
            deploy("--dry-run")
            took.append(time.perf_counter() - begun)
        calls = (tell(f"delay {delay}") - before) // args.rounds
        print(f"--dry-run, {calls} calls of {delay} ms: median {statistics.median(took):.2f} s, longest {max(took):.2f} s")
    tell("delay 0")
    for kind in ("gcloud", "terraform"):
        took = []
        for _ in range(args.rounds):
            begun = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                deploy("--emit", kind, "--image", "image:1", "--to", folder)
            took.append(time.perf_counter() - begun)
        print(f"--emit {kind}: median {statistics.median(took):.2f} s")
    server.kill()


main()
